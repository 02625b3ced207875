"""Each row of verification by itself: an answer that is right but for one thing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stableflows.webui.calls import read_reply
from stableflows.webui.models import WebUIRequest

from .made_answers import BODY, HIRES, HIRES_PARAMS, REFINER, answer, check, fields
from .recorded_servers import SITE, base64_picture, names


def test_a_right_answer_is_clean_whatever_info_says_of_steps_and_size() -> None:
    verdict = check(BODY, answer(BODY))
    assert verdict.mismatches == ()
    assert verdict.unverified == ()
    assert verdict.warnings == ()
    assert (verdict.seeds, verdict.sampler, verdict.scheduler) == ((7,), "Euler", "Automatic")
    assert (verdict.checkpoint, verdict.checkpoint_hash, verdict.vae) == (
        "sandbox_tiny_a",
        "2961c70a87",
        None,
    )


# -- images, size
# -------------------------------------------------------------------------------------------------


def test_fewer_images_than_asked() -> None:
    body = BODY | {"batch_size": 2}
    assert fields(check(body, answer(body), n=2)) == ["images"]


def test_a_grid_before_them_is_not_one_of_them() -> None:
    body = BODY | {"batch_size": 2}
    sizes = ((128, 64), (64, 64), (64, 64))
    assert fields(check(body, answer(body, sizes=sizes, first=1), n=2)) == []
    assert fields(check(body, answer(body, sizes=sizes[:2], first=1), n=2)) == ["images"]


def test_a_grid_of_which_info_knows_nothing_is_stepped_over() -> None:
    reply = answer(BODY, sizes=((128, 64), (64, 64), (64, 64)), first=0)
    request = WebUIRequest("/sdapi/v1/txt2img", BODY, 2, (64, 64))
    assert [image.size for image in reply.wanted(request)] == [(64, 64), (64, 64)]


def test_control_maps_behind_them_do_not_count() -> None:
    assert fields(check(BODY, answer(BODY, sizes=((64, 64), (512, 8))))) == []


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"width": 65, "height": 71}, (64, 64)),
        ({"enable_hr": True, "hr_scale": 1.5}, (96, 96)),
        ({"width": 72, "enable_hr": True, "hr_scale": 1.25}, (88, 80)),
        ({"enable_hr": True, "hr_resize_x": 96, "hr_resize_y": 129}, (96, 128)),
        ({"enable_hr": True, "hr_resize_x": 128}, (128, 128)),
    ],
)
def test_the_size_is_that_of_the_decoded_pixels(changes: dict[str, Any], size: tuple[int, int]) -> None:
    body = BODY | changes
    second = {"Hires upscale": 2} if body.get("enable_hr") else None
    assert fields(check(body, answer(body, sizes=(size,), params=second))) == []
    assert fields(check(body, answer(body, sizes=((size[0], size[1] + 8),), params=second))) == ["size"]


def test_a_size_that_the_caller_knows_is_the_one_that_counts() -> None:
    assert fields(check(BODY, answer(BODY), size=(64, 72))) == ["size"]


def test_inpainting_only_the_masked_area_keeps_the_size_of_its_input() -> None:
    body = BODY | {"init_images": [base64_picture((96, 80))], "mask": base64_picture((96, 80))}
    path = "/sdapi/v1/img2img"
    assert fields(check(body, answer(body, sizes=((96, 80),)), path=path)) == []
    whole = body | {"inpaint_full_res": False}
    assert fields(check(whole, answer(whole, sizes=((96, 80),)), path=path)) == ["size"]


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"upscaler_1": "Lanczos", "upscaling_resize": 1.55}, (144, 96)),
        ({"upscaler_1": "None", "upscaling_resize": 4}, (96, 64)),
        (
            {"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 100, "upscaling_resize_h": 50},
            (100, 50),
        ),
    ],
)
def test_extras_are_checked_by_their_pixels(changes: dict[str, Any], size: tuple[int, int]) -> None:
    body = {"image": base64_picture((96, 64))} | changes
    for got, expected in ((size, []), ((size[0] + 8, size[1]), ["size"])):
        document = {"image": base64_picture(got), "html_info": "<p></p>"}
        reply = read_reply(document, SITE, max_pixels=10**7)
        assert fields(check(body, reply, path="/sdapi/v1/extra-single-image")) == expected


# -- seeds
# --------------------------------------------------------------------------------------------------------


def test_each_image_has_the_next_seed_in_its_own_infotext() -> None:
    body = BODY | {"batch_size": 2}
    sizes = ((64, 64), (64, 64))
    assert check(body, answer(body, sizes=sizes), n=2).seeds == (7, 8)
    wrong = check(body, answer(body, sizes=sizes, params={"Seed": 7}), n=2)
    assert fields(wrong) == ["seed of image 2"]


def test_without_one_in_the_picture_the_listed_infotext_counts() -> None:
    assert fields(check(BODY, answer(BODY, params={"Seed": 8}, own_infotext=False))) == ["seed of image 1"]


def test_a_seed_that_nobody_reports_is_unverified() -> None:
    verdict = check(BODY, answer(BODY, params={"Seed": None}))
    assert fields(verdict) == []
    assert verdict.seeds == (None,)
    assert any("seed of image 1" in text for text in verdict.unverified)


def test_a_drawn_seed_is_whatever_it_was() -> None:
    body = BODY | {"seed": -1}
    verdict = check(body, answer(body, params={"Seed": 4_123_456_789}))
    assert fields(verdict) == []
    assert verdict.seeds == (4_123_456_789,)


def test_the_variation_seed_counts_only_with_a_strength() -> None:
    body = BODY | {"subseed": 3, "subseed_strength": 0.0}
    assert fields(check(body, answer(body, params={"Variation seed": 5}))) == []
    body |= {"subseed_strength": 0.1}
    assert fields(check(body, answer(body, params={"Variation seed": 5}))) == ["variation seed of image 1"]
    assert fields(check(body, answer(body, params={"Variation seed": 3}))) == []


def test_with_a_variation_all_images_have_one_seed() -> None:
    body = BODY | {"subseed": 3, "subseed_strength": 0.1, "batch_size": 2}
    reply = answer(body, sizes=((64, 64), (64, 64)), params={"Seed": 7, "Variation seed": 3})
    assert fields(check(body, reply, n=2)) == ["variation seed of image 2"]


# -- sampler, scheduler
# -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "got", "wrong"),
    [
        ({"sampler_name": "Euler a"}, {"Sampler": "euler A"}, []),
        ({"sampler_name": "Euler a"}, {"Sampler": "DPM++ 2M", "Schedule type": "Karras"}, ["sampler"]),
        ({"sampler_name": "DPM++ 2M Karras"}, {"Sampler": "DPM++ 2M", "Schedule type": "Karras"}, []),
        (
            {"sampler_name": "DPM++ 2M Karras"},
            {"Sampler": "DPM++ 2M", "Schedule type": "Uniform"},
            ["scheduler"],
        ),
        ({"sampler_name": "", "sampler_index": "Heun"}, {"Sampler": "Euler"}, ["sampler"]),
        ({"scheduler": "karras"}, {"Schedule type": "Karras"}, []),
        ({"scheduler": "SGM Uniform"}, {"Schedule type": "sgm_uniform"}, []),
        ({"scheduler": "beta"}, {"Schedule type": "Automatic"}, ["scheduler"]),
        ({"scheduler": "Automatic"}, {"Schedule type": "Karras"}, []),
        ({"sampler_name": "DPM++ 2M", "scheduler": "Automatic"}, {"Schedule type": "Karras"}, []),
        ({"sampler_name": "DPM++ 2M", "scheduler": "Automatic"}, {"Schedule type": "Beta"}, ["scheduler"]),
    ],
)
def test_sampler_and_scheduler(asked: dict[str, Any], got: dict[str, Any], wrong: list[str]) -> None:
    body = BODY | asked
    assert fields(check(body, answer(body, params=got))) == wrong


def test_a_scheduler_that_is_not_reported_is_unverified() -> None:
    body = BODY | {"scheduler": "Karras"}
    verdict = check(body, answer(body, params={"Schedule type": None}))
    assert fields(verdict) == []
    assert any("scheduler" in text for text in verdict.unverified)


# -- checkpoint, refiner, hires, VAE
# ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        "sandbox_tiny_b",
        "sandbox_tiny_b.safetensors",
        "sandbox_tiny_b.safetensors [96b753969e]",
        "96b753969e",
        "nope",
    ],
)
def test_another_checkpoint_rendered(asked: str) -> None:
    body = BODY | {"override_settings": {"sd_model_checkpoint": asked}}
    assert fields(check(body, answer(body))) == ["checkpoint"]
    as_asked = {"sd_model_name": "sandbox_tiny_b", "sd_model_hash": "96b753969e"}
    assert fields(check(body, answer(body, info=as_asked))) == (["checkpoint"] if asked == "nope" else [])


def test_a_replaced_file_of_the_same_name_is_another_checkpoint() -> None:
    body = BODY | {"override_settings": {"sd_model_checkpoint": "sandbox_tiny_a"}}
    assert fields(check(body, answer(body, info={"sd_model_hash": "0123456789"}))) == ["checkpoint"]


def test_without_a_hash_the_name_decides() -> None:
    listed = tuple(model.model_copy(update={"hash": None}) for model in names("a1111").checkpoints)
    known = replace(names("a1111"), checkpoints=listed)
    body = BODY | {"override_settings": {"sd_model_checkpoint": "sandbox_tiny_a.safetensors"}}
    assert fields(check(body, answer(body, info={"sd_model_hash": "0123456789"}), known=known)) == []
    assert fields(check(body, answer(body, info={"sd_model_name": "other"}), known=known)) == ["checkpoint"]


@pytest.mark.parametrize(
    ("changes", "written", "wrong"),
    [
        ({}, "sandbox_tiny_b [96b753969e]", []),
        ({}, "other [0123456789]", ["refiner"]),
        ({}, None, ["refiner"]),
        ({"refiner_checkpoint": "sandbox_tiny_a"}, None, []),
        ({"refiner_switch_at": 1.0}, None, []),
        ({"steps": 2}, None, []),
        ({"refiner_checkpoint": None}, "sandbox_tiny_b [96b753969e]", ["refiner"]),
    ],
)
def test_the_refiner(changes: dict[str, Any], written: str | None, wrong: list[str]) -> None:
    body = BODY | REFINER | changes
    assert fields(check(body, answer(body, params={"Refiner": written}))) == wrong


def test_a_switch_that_few_steps_may_not_reach_is_unverified() -> None:
    body = BODY | REFINER | {"steps": 2}
    assert any("refiner" in text for text in check(body, answer(body)).unverified)


@pytest.mark.parametrize(
    ("changes", "params", "wrong"),
    [
        ({}, {}, []),
        ({}, {"Hires upscale": None}, ["hires"]),
        ({}, {"Hires upscaler": "Lanczos"}, ["hr_upscaler"]),
        ({"hr_sampler_name": "DDIM"}, {"Hires sampler": "DDIM"}, []),
        ({"hr_sampler_name": "DDIM"}, {}, ["hr_sampler_name"]),
        ({"hr_sampler_name": "Euler"}, {}, []),
        ({"hr_checkpoint_name": "sandbox_tiny_b"}, {"Hires checkpoint": "sandbox_tiny_b [96b753969e]"}, []),
        ({"hr_checkpoint_name": "sandbox_tiny_b"}, {}, ["hr_checkpoint_name"]),
        ({"hr_checkpoint_name": "Use same checkpoint"}, {}, []),
    ],
)
def test_hires(changes: dict[str, Any], params: dict[str, Any], wrong: list[str]) -> None:
    body = BODY | HIRES | changes
    assert fields(check(body, answer(body, params=HIRES_PARAMS | params))) == wrong


def test_clip_skip_is_absent_for_one() -> None:
    body = BODY | {"override_settings": {"CLIP_stop_at_last_layers": 2}}
    assert fields(check(body, answer(body))) == ["clip skip"]
    assert fields(check(body, answer(body, params={"Clip skip": 2}))) == []
    body = BODY | {"override_settings": {"CLIP_stop_at_last_layers": 1}}
    assert fields(check(body, answer(body))) == []
    assert fields(check(body, answer(body, params={"Clip skip": 2}))) == ["clip skip"]


@pytest.mark.parametrize(
    ("asked", "got", "wrong"),
    [
        ("rnd_vae.safetensors", "rnd_vae.safetensors", []),
        ("rnd_vae.safetensors", None, ["VAE"]),
        ("rnd_vae.safetensors", "rnd_vae2.safetensors", ["VAE"]),
        ("None", None, []),
        ("None", "rnd_vae.safetensors", ["VAE"]),
        ("Automatic", "rnd_vae.safetensors", []),
    ],
)
def test_the_vae_goes_by_name(asked: str, got: str | None, wrong: list[str]) -> None:
    body = BODY | {"override_settings": {"sd_vae": asked}}
    info = {"sd_vae_name": got, "sd_vae_hash": "0000000000"}
    assert fields(check(body, answer(body, info=info))) == wrong
