"""Every config field: on, it stands in the request under its API name; off, it is absent.

The API's names and types come from tests/fixtures/webui_fields.json, which was written from the servers' own
documents; the pairing of our fields with them is written out here, not taken from the builders.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stableflows.config import ADetailerUnit
from stableflows.payload import SourceImage, StageRequest, Texts, build_request, output_size
from stableflows.sequencer import StageSequencer

FIELDS = json.loads((Path(__file__).parent.parent / "fixtures" / "webui_fields.json").read_text())
SOURCE = SourceImage("sha256:" + "0" * 64, (512, 640), seed=7)
TEXTS = Texts("a globe, a cat", "blurry, global", "a cat", "blurry")
JSON_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}


def request(stage: str, settings: dict[str, Any], **more: Any) -> StageRequest:
    needs_generation = {"txt2img": {"enabled": True}} if stage == "adetailer" else {}
    plan = StageSequencer().build_plan({**needs_generation, stage: {"enabled": True, **settings}})
    source = None if stage == "txt2img" else SOURCE
    return build_request(plan.stages[-1], TEXTS, seed=5, subseed=6, source=source, **more)


SAMPLING = [
    ("sampler", "Heun", "sampler_name"),
    ("scheduler", "Karras", "scheduler"),
    ("steps", 33, "steps"),
    ("cfg_scale", 3.5, "cfg_scale"),
    ("styles", ["film"], "styles"),
    ("tiling", True, "tiling"),
    ("eta", 0.5, "eta"),
    ("s_min_uncond", 0.1, "s_min_uncond"),
    ("s_churn", 0.2, "s_churn"),
    ("s_tmin", 0.3, "s_tmin"),
    ("s_tmax", 0.4, "s_tmax"),
    ("s_noise", 1.1, "s_noise"),
    ("prompt", "another", "prompt"),
    ("negative_prompt", "other", "negative_prompt"),
    ("subseed_strength", 0.25, "subseed_strength"),
    ("seed_resize_from_w", 640, "seed_resize_from_w"),
    ("seed_resize_from_h", 648, "seed_resize_from_h"),
    ("restore_faces", True, "restore_faces"),
]
IMG2IMG = [
    ("denoising_strength", 0.33, "denoising_strength"),
    ("resize_mode", 2, "resize_mode"),
    ("image_cfg_scale", 1.5, "image_cfg_scale"),
    ("initial_noise_multiplier", 0.9, "initial_noise_multiplier"),
]
MASKED = [
    ("mask_blur", 3, "mask_blur"),
    ("mask_blur_x", 5, "mask_blur_x"),
    ("mask_blur_y", 6, "mask_blur_y"),
    ("mask_round", False, "mask_round"),
    ("inpainting_fill", 2, "inpainting_fill"),
    ("inpaint_full_res", False, "inpaint_full_res"),
    ("inpaint_full_res_padding", 16, "inpaint_full_res_padding"),
    ("inpainting_mask_invert", 1, "inpainting_mask_invert"),
]
HIRES = [
    ("upscaler", "Lanczos", "hr_upscaler"),
    ("scale", 1.75, "hr_scale"),
    ("steps", 11, "hr_second_pass_steps"),
    ("denoising_strength", 0.22, "denoising_strength"),
    ("sampler", "DDIM", "hr_sampler_name"),
    ("scheduler", "Uniform", "hr_scheduler"),
    ("checkpoint", "big", "hr_checkpoint_name"),
    ("prompt", "closer", "hr_prompt"),
    ("negative_prompt", "far", "hr_negative_prompt"),
]
EXTRAS = [
    ("upscaler", "Lanczos", "upscaler_1"),
    ("factor", 3.0, "upscaling_resize"),
    ("gfpgan_visibility", 0.5, "gfpgan_visibility"),
    ("codeformer_visibility", 0.6, "codeformer_visibility"),
    ("upscale_first", True, "upscale_first"),
]


def check(sent: StageRequest, api_name: str, value: Any) -> None:
    endpoint = sent.path.rpartition("/")[2]
    assert api_name in FIELDS[endpoint], f"{endpoint} knows no {api_name}"
    assert sent.body[api_name] == value
    expected = FIELDS[endpoint][api_name]
    if expected != "any":
        assert isinstance(sent.body[api_name], JSON_TYPES[expected])


@pytest.mark.parametrize("stage", ["txt2img", "img2img", "adetailer"])
@pytest.mark.parametrize(("field", "value", "api_name"), SAMPLING)
def test_sampling_field(stage: str, field: str, value: Any, api_name: str) -> None:
    check(request(stage, {field: value}), api_name, value)


OPTIONAL = [
    row for row in SAMPLING if row[0] not in {"sampler", "steps", "cfg_scale", "prompt", "negative_prompt"}
]


@pytest.mark.parametrize("stage", ["txt2img", "img2img", "adetailer"])
@pytest.mark.parametrize(("field", "value", "api_name"), OPTIONAL)
def test_sampling_field_off_is_absent(stage: str, field: str, value: Any, api_name: str) -> None:
    assert api_name not in request(stage, {}).body


@pytest.mark.parametrize(("field", "value", "api_name"), IMG2IMG)
def test_img2img_field(field: str, value: Any, api_name: str) -> None:
    check(request("img2img", {field: value}), api_name, value)


@pytest.mark.parametrize(("field", "value", "api_name"), MASKED)
def test_mask_field(field: str, value: Any, api_name: str) -> None:
    mask = "sha256:" + "1" * 64
    sent = request("img2img", {"mask": mask, field: value})
    check(sent, api_name, value)
    check(sent, "mask", mask)
    assert not {"mask", api_name} & set(request("img2img", {}).body)


@pytest.mark.parametrize(("field", "value", "api_name"), HIRES)
def test_hires_field(field: str, value: Any, api_name: str) -> None:
    sent = request("txt2img", {"hires": {"enabled": True, field: value}})
    check(sent, api_name, value)
    check(sent, "enable_hr", True)
    off = request("txt2img", {"hires": {"enabled": False, field: value}}).body
    assert not [name for name in off if name.startswith("hr_") or name in {"enable_hr", "denoising_strength"}]


def test_hires_to_a_size() -> None:
    sent = request("txt2img", {"hires": {"enabled": True, "width": 777, "height": 1024}})
    check(sent, "hr_resize_x", 777)
    check(sent, "hr_resize_y", 1024)
    assert "hr_scale" not in sent.body
    assert sent.size == (776, 1024)


def test_refiner() -> None:
    sent = request("txt2img", {"refiner": {"enabled": True, "checkpoint": "r", "switch_at": 0.6}})
    check(sent, "refiner_checkpoint", "r")
    check(sent, "refiner_switch_at", 0.6)
    stepped = request(
        "txt2img", {"steps": 40, "refiner": {"enabled": True, "checkpoint": "r", "switch_step": 30}}
    )
    check(stepped, "refiner_switch_at", 0.75)
    assert stepped.body["override_settings"] == {"refiner_switch_by_sample_steps": True}
    left_open = request("txt2img", {"refiner": {"enabled": True, "checkpoint": "r"}})
    check(left_open, "refiner_switch_at", 0.8)
    off = request("txt2img", {"refiner": {"enabled": False, "checkpoint": "r", "switch_at": 0.6}}).body
    assert not [name for name in off if name.startswith("refiner")]


@pytest.mark.parametrize("stage", ["txt2img", "img2img", "adetailer"])
def test_models_go_into_override_settings(stage: str) -> None:
    sent = request(stage, {"checkpoint": "c", "vae": "v.pt", "clip_skip": 2, "override_settings": {"x": 1}})
    assert sent.body["override_settings"] == {
        "x": 1,
        "sd_model_checkpoint": "c",
        "sd_vae": "v.pt",
        "CLIP_stop_at_last_layers": 2,
    }
    check(sent, "override_settings_restore_afterwards", False)
    assert "override_settings" not in request(stage, {}).body
    assert not {"checkpoint", "vae", "clip_skip", "sd_model", "enabled"} & set(sent.body)


@pytest.mark.parametrize(("field", "value", "api_name"), EXTRAS)
def test_extras_field(field: str, value: Any, api_name: str) -> None:
    check(request("upscale", {field: value}), api_name, value)


def test_extras_parts_that_go_together() -> None:
    two = request("upscale", {"upscaler_2": "Nearest", "upscaler_2_visibility": 0.4})
    check(two, "upscaler_2", "Nearest")
    check(two, "extras_upscaler_2_visibility", 0.4)
    faces = request("upscale", {"codeformer_visibility": 0.5, "codeformer_weight": 0.3})
    check(faces, "codeformer_weight", 0.3)
    sized = request("upscale", {"width": 700, "height": 900, "crop": False})
    check(sized, "resize_mode", 1)
    check(sized, "upscaling_resize_w", 700)
    check(sized, "upscaling_resize_h", 900)
    check(sized, "upscaling_crop", False)
    assert "upscaling_resize" not in sized.body
    plain = set(request("upscale", {}).body)
    assert plain == {"image", "resize_mode", "upscaler_1", "upscaling_resize"}


def test_upscale_through_img2img() -> None:
    sent = request("upscale", {"mode": "img2img", "factor": 1.5, "denoising_strength": 0.3, "steps": 12})
    assert sent.path == "/sdapi/v1/img2img"
    assert (sent.body["width"], sent.body["height"]) == (768, 960) == sent.size
    assert sent.body["denoising_strength"] == 0.3
    assert "script_name" not in sent.body


def test_upscale_through_the_sd_upscale_script() -> None:
    sent = request(
        "upscale", {"mode": "sd_upscale", "upscaler": "Lanczos", "tile_size": 768, "tile_overlap": 32}
    )
    assert sent.body["script_name"] == "SD upscale"
    assert sent.body["script_args"] == ["", 32, "Lanczos", 2.0]
    assert (sent.body["width"], sent.body["height"]) == (768, 768)
    assert sent.size == (1024, 1280)


UNIT_VALUES: dict[str, Any] = {
    "string": "x",
    "integer": 2,
    "number": 0.75,
    "boolean": True,
}
UNIT_CHOICES = {"ad_mask_filter_method": "Confidence", "ad_mask_merge_invert": "Merge"}
NEEDS = {"ad_use_checkpoint": {"ad_checkpoint": "c"}, "ad_use_vae": {"ad_vae": "v"}}


@pytest.mark.parametrize("argument", sorted(set(FIELDS["adetailer"]) - {"is_api"}))
def test_adetailer_argument(argument: str) -> None:
    value = UNIT_CHOICES.get(argument, UNIT_VALUES[FIELDS["adetailer"][argument]])
    unit = {"ad_model": "hand_yolov8n.pt", argument: value, **NEEDS.get(argument, {})}
    enable, skip, sent = request("adetailer", {"units": [unit]}).body["alwayson_scripts"]["ADetailer"]["args"]
    assert (enable, skip) == (True, True)
    assert sent[argument] == value
    assert isinstance(sent[argument], JSON_TYPES[FIELDS["adetailer"][argument]])
    if argument != "ad_model":
        bare = request("adetailer", {}).body["alwayson_scripts"]["ADetailer"]["args"][2]
        assert argument not in bare


def test_every_adetailer_argument_of_the_contract_is_a_field() -> None:
    assert set(ADetailerUnit.model_fields) == set(FIELDS["adetailer"]) - {"is_api"}


def test_adetailer_values_and_their_toggles() -> None:
    def unit(**settings: Any) -> dict[str, Any]:
        sent = request("adetailer", {"units": [settings]}).body["alwayson_scripts"]["ADetailer"]["args"][2]
        assert isinstance(sent, dict)
        return sent

    assert unit(ad_steps=12) == {"ad_model": "face_yolov8n.pt", "ad_use_steps": True, "ad_steps": 12}
    assert unit(ad_steps=12, ad_use_steps=False) == {"ad_model": "face_yolov8n.pt", "ad_use_steps": False}


def test_adetailer_takes_the_entrys_own_prompt_without_globals() -> None:
    sent = request("adetailer", {})
    assert (sent.body["prompt"], sent.body["negative_prompt"]) == ("a cat", "blurry")
    assert request("img2img", {}).body["prompt"] == "a globe, a cat"


def test_embedding_tags_reach_the_server_as_bare_names() -> None:
    """AUTOMATIC1111 takes the tag out without a word."""
    tag = "(<embedding:sharp_sb>:0.8)"
    hires = request(
        "txt2img", {"prompt": tag, "hires": {"enabled": True, "prompt": tag, "negative_prompt": tag}}
    )
    for field in ("prompt", "hr_prompt", "hr_negative_prompt"):
        assert hires.body[field] == "(sharp_sb:0.8)"
    sent = request("adetailer", {"negative_prompt": tag, "units": [{"ad_prompt": tag}]}).body
    assert sent["negative_prompt"] == "(sharp_sb:0.8)"
    assert sent["alwayson_scripts"]["ADetailer"]["args"][2]["ad_prompt"] == "(sharp_sb:0.8)"


def test_any_number_of_units() -> None:
    units = [{"ad_model": f"m{n}.pt"} for n in range(5)]
    args = request("adetailer", {"units": units}).body["alwayson_scripts"]["ADetailer"]["args"]
    assert [unit["ad_model"] for unit in args[2:]] == [f"m{n}.pt" for n in range(5)]


def test_adetailer_stands_beside_other_scripts() -> None:
    scripts = request("adetailer", {"alwayson_scripts": {"ControlNet": {"args": [1]}}}).body[
        "alwayson_scripts"
    ]
    assert set(scripts) == {"ControlNet", "ADetailer"}


def test_batch_and_seed() -> None:
    body = request("txt2img", {"batch_size": 4}, n=3).body
    assert (body["batch_size"], body["n_iter"], body["seed"]) == (3, 1, 5)
    assert "subseed" not in body
    assert request("txt2img", {"subseed_strength": 0.1}).body["subseed"] == 6


def test_img2img_takes_the_inputs_own_size() -> None:
    assert request("img2img", {}).size == (512, 640)
    sent = request("img2img", {"width": 300, "height": 300})
    assert (sent.body["width"], sent.body["height"]) == (296, 296) == sent.size


def odd(stage: str, settings: dict[str, Any]) -> StageRequest:
    """A request that continues an image whose sides are no multiples of 8."""
    needs = {"txt2img": {"enabled": True}} if stage == "adetailer" else {}
    plan = StageSequencer().build_plan({**needs, stage: {"enabled": True, **settings}})
    return build_request(plan.stages[-1], TEXTS, seed=5, source=SourceImage("sha256:0", (700, 333), seed=7))


def test_an_input_of_odd_size() -> None:
    """Diffusion floors to 8; what is pasted back into the input keeps the input's own size."""
    assert odd("img2img", {}).size == (696, 328)
    adetailer = odd("adetailer", {})
    assert (adetailer.body["width"], adetailer.body["height"]) == (700, 333) == adetailer.size
    masked = odd("img2img", {"mask": "sha256:1"})
    assert (masked.body["width"], masked.body["height"], masked.size) == (696, 328, (700, 333))
    whole = odd("img2img", {"mask": "sha256:1", "inpaint_full_res": False})
    assert whole.size == (696, 328)
    sized = odd("img2img", {"mask": "sha256:1", "width": 512, "height": 512})
    assert (sized.body["width"], sized.size) == (512, (700, 333))


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"factor": 1.5}, (768, 960)),
        ({"factor": 1.1}, (560, 704)),
        ({"width": 700, "height": 900}, (700, 900)),
        ({"width": 700, "height": 900, "crop": False}, (720, 896)),
        ({"upscaler": "None"}, (512, 640)),
    ],
)
def test_extras_size(settings: dict[str, Any], size: tuple[int, int]) -> None:
    assert request("upscale", settings).size == size


def test_txt2img_size_is_floored_to_8() -> None:
    plan = StageSequencer().build_plan({"txt2img": {"enabled": True, "width": 65, "height": 70}})
    assert output_size(plan.stages[0], None) == (64, 64)
