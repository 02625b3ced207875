"""Options that change pixels, and options that are in the way."""

from __future__ import annotations

from typing import Any

import pytest

from stableflows.webui.capabilities import Family
from stableflows.webui.serverstate import pixel_options, troubling_options

from . import recorded_servers as recorded

OPTIONS: dict[str, Any] = recorded.lists("a1111")["/sdapi/v1/options"]


@pytest.mark.parametrize(
    "name",
    [
        "randn_source",
        "eta_noise_seed_delta",
        "emphasis",
        "face_restoration_model",
        "img2img_color_correction",
        "ESRGAN_tile",
        "DAT_tile",
        "token_merging_ratio",
        "s_noise",
    ],
)
@pytest.mark.parametrize("family", ["a1111", "forge"])
def test_what_changes_pixels_is_taken(family: str, name: str) -> None:
    options = recorded.lists(family)["/sdapi/v1/options"]
    assert pixel_options(options, Family(family))[name] == options[name]


@pytest.mark.parametrize(
    "name", ["sd_model_checkpoint", "sd_vae", "CLIP_stop_at_last_layers", "samples_save", "jpeg_quality"]
)
def test_what_stands_in_requests_or_changes_nothing_is_not(name: str) -> None:
    assert name in OPTIONS
    assert name not in pixel_options(OPTIONS, Family.A1111)


def test_only_what_is_there_and_in_one_order() -> None:
    found = pixel_options({"s_noise": 1.0, "emphasis": "Original", "other": 1}, Family.A1111)
    assert list(found.items()) == [("emphasis", "Original"), ("s_noise", 1.0)]


def test_sdnext_names_its_own() -> None:
    options = {"schedulers_beta_schedule": "default", "diffusers_offload_mode": "none"}
    assert set(pixel_options(options, Family.SDNEXT)) == set(options)
    assert pixel_options(options, Family.A1111) == {}


@pytest.mark.parametrize("family", ["a1111", "forge"])
def test_the_recorded_servers_have_no_trouble(family: str) -> None:
    assert troubling_options(recorded.lists(family)["/sdapi/v1/options"]) == []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("enable_pnginfo", False),
        ("samples_format", "jpg"),
        ("lora_add_hashes_to_infotext", False),
        ("add_model_hash_to_info", False),
        ("face_restoration", True),
        ("img2img_color_correction", True),
    ],
)
def test_each_trouble_says_what_to_set(option: str, value: Any) -> None:
    [trouble] = troubling_options(OPTIONS | {option: value})
    assert trouble.option == option
    assert troubling_options(OPTIONS | {option: trouble.better}) == []
    assert f"option {option} is {value!r}" in str(trouble)
    assert f"set it to {trouble.better!r}" in str(trouble)
