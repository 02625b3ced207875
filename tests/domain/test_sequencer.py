"""Which stages run, in what order, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from stableflows.config import ADetailerConfig, Img2ImgConfig, Txt2ImgConfig
from stableflows.errors import InputError, InvalidInputs, InvalidStagePlanError
from stableflows.sequencer import StageSequencer
from stableflows.stages import StageExecutionPlan, StageType

ALL_ON: dict[str, Any] = {
    "txt2img_enabled": True,
    "img2img_enabled": True,
    "upscale_enabled": True,
    "adetailer_enabled": True,
    "refiner_enabled": True,
    "refiner_model_name": "refiner_xl",
    "refiner_switch_step": 12,
    "hires_enabled": True,
    "hires_upscaler_name": "Latent",
    "hires_denoise_strength": 0.4,
    "hires_scale_factor": 1.5,
}


def plan(config: dict[str, Any]) -> StageExecutionPlan:
    return StageSequencer().build_plan(config)


def test_txt2img_alone() -> None:
    only = plan({"txt2img_enabled": True, "txt2img_config": {"steps": 12}})
    assert only.get_stage_types() == [StageType.TXT2IMG]
    assert only.mode == "txt2img_only"
    assert only.has_generation_stage()
    assert not only.needs_input_images
    config = only.stages[0].config
    assert isinstance(config, Txt2ImgConfig)
    assert config.steps == 12


def test_all_on_keeps_the_order_and_metadata_stay_on_txt2img() -> None:
    full = plan(dict(reversed(ALL_ON.items())))
    assert [stage.stage_type for stage in full] == list(StageType)
    assert full.mode == "txt2img_then_img2img_then_upscale_then_adetailer"
    first, *rest = full
    assert (first.refiner_enabled, first.refiner_model_name, first.refiner_switch_step) == (
        True,
        "refiner_xl",
        12,
    )
    assert (first.hires_enabled, first.hires_upscaler_name) == (True, "Latent")
    assert (first.hires_denoise_strength, first.hires_scale_factor) == (0.4, 1.5)
    for stage in rest:
        assert not stage.refiner_enabled
        assert stage.refiner_model_name is None
        assert stage.refiner_switch_step is None
        assert not stage.hires_enabled
        assert stage.hires_upscaler_name is None
    assert [stage.adetailer_enabled for stage in full] == [False, False, False, True]


def test_metadata_that_is_off_is_absent() -> None:
    off = plan({**ALL_ON, "refiner_enabled": False, "hires_enabled": False}).stages[0]
    assert (off.refiner_model_name, off.refiner_switch_step) == (None, None)
    assert (off.hires_upscaler_name, off.hires_denoise_strength, off.hires_scale_factor) == (None, None, None)


def test_img2img_and_upscale_without_txt2img() -> None:
    chain = plan({"img2img_enabled": True, "upscale_enabled": True})
    assert chain.mode == "img2img_then_upscale"
    assert chain.has_generation_stage()
    assert chain.needs_input_images


def test_upscale_alone() -> None:
    alone = plan({"upscale_enabled": True})
    assert alone.mode == "upscale_only"
    assert not alone.has_generation_stage()
    assert alone.needs_input_images


@pytest.mark.parametrize("others", [{}, {"upscale_enabled": True}])
def test_adetailer_without_generation_is_refused(others: dict[str, bool]) -> None:
    with pytest.raises(InvalidStagePlanError, match="at least one generation stage") as refused:
        plan({"adetailer_enabled": True, **others})
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize("config", [{}, {"txt2img_enabled": False}, {"txt2img_config": {"steps": 5}}])
def test_all_off_is_an_empty_plan(config: dict[str, Any]) -> None:
    empty = plan(config)
    assert empty.is_empty()
    assert list(empty) == []


@pytest.mark.parametrize("part", ["hires", "refiner"])
def test_hires_or_refiner_without_txt2img_is_refused(part: str) -> None:
    config = {"img2img_enabled": True, f"{part}_enabled": True, "refiner_model_name": "x"}
    with pytest.raises(InvalidStagePlanError, match=f"txt2img.{part} is on while txt2img is off"):
        plan(config)


def test_flat_and_nested_forms_say_the_same() -> None:
    flat = {
        "txt2img_enabled": True,
        "txt2img_config": {"sampler_name": "Euler a", "model_name": "base", "vae_name": "v.safetensors"},
        "hires_enabled": True,
        "hires_upscale_factor": 1.5,
        "hires_denoise": 0.3,
        "hires_steps": 7,
        "refiner_enabled": True,
        "refiner_model_name": "r",
        "refiner_switch_at": 0.6,
        "adetailer_config": None,
    }
    nested = {
        "txt2img": {
            "enabled": True,
            "sampler": "Euler a",
            "checkpoint": "base",
            "vae": "v.safetensors",
            "hires": {"enabled": True, "scale": 1.5, "denoising_strength": 0.3, "steps": 7},
            "refiner": {"enabled": True, "checkpoint": "r", "switch_at": 0.6},
        }
    }
    assert plan(flat) == plan(nested)


def test_one_setting_under_two_names_with_two_values_is_refused() -> None:
    with pytest.raises(InputError, match="hires_upscale_factor: says 3.*hires_scale_factor.*says 2"):
        plan({"hires_scale_factor": 2, "hires_upscale_factor": 3})
    assert plan({"hires_scale_factor": 2, "hires_upscale_factor": 2}).is_empty()


def test_later_stages_take_the_sampling_that_they_leave_open() -> None:
    chain = plan(
        {
            "checkpoint": "top",
            "txt2img": {"enabled": True, "sampler": "Heun", "steps": 31, "cfg_scale": 4.5, "clip_skip": 2},
            "img2img": {"enabled": True, "steps": 9, "checkpoint": "second"},
            "upscale": {"enabled": True},
            "adetailer": {"enabled": True},
        }
    )
    txt2img, img2img, _, adetailer = (stage.config for stage in chain)
    assert isinstance(txt2img, Txt2ImgConfig)
    assert isinstance(img2img, Img2ImgConfig)
    assert isinstance(adetailer, ADetailerConfig)
    assert txt2img.checkpoint == "top"
    assert (img2img.sampler, img2img.steps, img2img.cfg_scale, img2img.checkpoint) == (
        "Heun",
        9,
        4.5,
        "second",
    )
    assert (adetailer.sampler, adetailer.steps, adetailer.checkpoint) == ("Heun", 9, "second")
    assert adetailer.clip_skip == 2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"txt2img": {"step": 3}}, "txt2img.step: there is no setting 'step' here. Did you mean 'steps'"),
        ({"upscale": {"factr": 2}}, "upscale.factr: .*Did you mean 'factor'"),
        ({"adetailer": {"units": [{"ad_confidnce": 1}]}}, "ad_confidnce.*Did you mean 'ad_confidence'"),
        ({"txt2img": {"steps": 0}}, "txt2img.steps: should be greater than or equal to 1"),
        ({"txt2img": {"steps": 2.5}}, "txt2img.steps: .*integer"),
        ({"txt2img": True}, "txt2img: must be a mapping"),
        ({"upscale": {"mode": "magic"}}, "mode must be extras, img2img or sd_upscale"),
        ({"txt2img": {"hires": {"enabled": True, "width": 512}}}, "width and height go together"),
        ({"txt2img": {"refiner": {"enabled": True}}}, "names no checkpoint"),
        ({"upscale": {"upscaler_2": "Lanczos"}}, "upscaler_2 is invisible"),
        ({"img2img": {"mask_blur": 3}}, "mask_blur without a mask"),
        ({"txt2img": {"override_settings": {"sd_vae": "x"}}}, "through the field `vae`"),
        ({"txt2img": {"alwayson_scripts": {"ControlNet": [1]}}}, "'ControlNet' must be"),
        ({"img2img_config": {"denoising_strength": 1.5}}, "less than or equal to 1"),
        ({"txt2img_enabled": "maybe"}, "boolean"),
    ],
)
def test_bad_config_is_told_with_its_place(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(config)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(InvalidInputs) as refused:
        plan({"txt2img": {"steps": 0, "width": 4, "hires": {"scale": 99}}})
    assert len(refused.value.errors) == 3


def test_identical_upscales_are_refused() -> None:
    with pytest.raises(InvalidStagePlanError, match="gives the same image each time"):
        plan({"upscale_enabled": True, "count": 2})
