"""Infotexts as settings: what absence means, old and other spellings, and what is written is read."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stableflows.config import PipelineConfig
from stableflows.images.recipe import Recipe, Unreadable
from stableflows.images.webui import recipe_of_infotext
from stableflows.sandbox import infotext

BASE = {"Steps": 20, "Sampler": "Euler", "CFG scale": 7.0, "Seed": 5, "Size": "512x768", "Model": "base"}


def recipe(postprocessing: str = "", /, **changes: Any) -> Recipe:
    values = {**BASE, **{key.replace("_", " "): value for key, value in changes.items()}}
    return recipe_of_infotext(infotext.write("a cat", "dog", values), postprocessing)


def test_a_plain_one() -> None:
    found = recipe()
    assert (found.prompt, found.negative_prompt, found.seed) == ("a cat", "dog", 5)
    assert found.config == {
        "txt2img": {
            "steps": 20, "sampler": "Euler", "cfg_scale": 7.0, "seed": 5, "width": 512, "height": 768,
        },
        "checkpoint": "base",
        "vae": "Automatic",
        "clip_skip": 1,
    }  # fmt: skip
    assert (found.left_out, found.obstacles) == ((), ())


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"Sampler": "DPM++ 2M Karras"}, {"sampler": "DPM++ 2M", "scheduler": "Karras"}),
        ({"Sampler": "DPM++ SDE Exponential"}, {"sampler": "DPM++ SDE", "scheduler": "Exponential"}),
        ({"Sampler": "DPM++ 2M", "Schedule type": "Karras"}, {"sampler": "DPM++ 2M", "scheduler": "Karras"}),
        ({"Sampler": "DPM++ 2M", "Schedule type": "Automatic"}, {"sampler": "DPM++ 2M"}),
        ({"Variation seed": 3, "Variation seed strength": 0.2}, {"subseed": 3, "subseed_strength": 0.2}),
        ({"Seed resize from": "64x80"}, {"seed_resize_from_w": 64, "seed_resize_from_h": 80}),
        ({"Tiling": True}, {"tiling": True}),
        (
            {"ENSD": 31337, "RNG": "CPU"},
            {"override_settings": {"eta_noise_seed_delta": 31337, "randn_source": "CPU"}},
        ),
        (
            {"Face restoration": "GFPGAN"},
            {"restore_faces": True, "override_settings": {"face_restoration_model": "GFPGAN"}},
        ),
        (
            {"Refiner": "fine [0123456789]", "Refiner switch at": 0.8},
            {"refiner": {"enabled": True, "checkpoint": "fine [0123456789]", "switch_at": 0.8}},
        ),
        (
            {"Refiner": "fine [01234567]", "Refiner switch at": 0.8},
            {"refiner": {"enabled": True, "checkpoint": "fine", "switch_at": 0.8}},
        ),
        (
            {"Refiner": "fine", "Refiner switch at": 0.75, "Refiner switch by sampling steps": True},
            {"refiner": {"enabled": True, "checkpoint": "fine", "switch_step": 15}},
        ),
        (
            {"Hires upscale": 2, "Hires upscaler": "Latent", "Denoising strength": 0.5, "Hires steps": 9},
            {
                "hires": {
                    "enabled": True,
                    "scale": 2.0,
                    "upscaler": "Latent",
                    "steps": 9,
                    "denoising_strength": 0.5,
                }
            },
        ),
        (
            {"Hires resize": "1024x0", "Hires upscaler": "Latent", "Denoising strength": 0.5},
            {
                "hires": {
                    "enabled": True,
                    "width": 1024,
                    "height": 1536,
                    "upscaler": "Latent",
                    "denoising_strength": 0.5,
                }
            },
        ),
        (
            {
                "Hires upscale": 2,
                "Hires checkpoint": "Use same checkpoint",
                "Hires sampler": "Use same sampler",
            },
            {"hires": {"enabled": True, "scale": 2.0}},
        ),
    ],
)
def test_a_setting(keys: dict[str, Any], expected: dict[str, Any]) -> None:
    found = recipe(**keys)
    plain = recipe().txt2img
    assert {
        key: value for key, value in found.txt2img.items() if plain.get(key) != value or key in expected
    } == expected
    assert found.left_out == ()
    PipelineConfig.model_validate(dict(found.config))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"Clip skip": 2, "VAE": "soft.safetensors"}, {"clip_skip": 2, "vae": "soft.safetensors"}),
        ({"Model": "base", "Model hash": "0123456789"}, {"checkpoint": "base [0123456789]"}),
        ({"Model": None, "Model hash": "0123456789"}, {"checkpoint": "0123456789"}),
        ({"Model": None}, {"checkpoint": None}),
        ({"Version": "f2.0.1v1.10.1"}, {"vae": None}),
        ({"App": "SD.Next"}, {"vae": None}),
    ],
)
def test_a_model(keys: dict[str, Any], expected: dict[str, Any]) -> None:
    config = recipe(**keys).config
    assert {key: config.get(key) for key in expected} == expected


def test_sd_next_has_words_of_its_own() -> None:
    found = recipe(
        App="SD.Next", Operations="txt2img; hires", Batch="1x2", **{
            "Sampler sigma": "karras", "Hires scale": 1.5, "Hires strength": 0.3, "Variation seed": 4,
            "Variation strength": 0.1, "Refiner": "fine", "Refiner start": 0.5,
        },
    )  # fmt: skip
    assert found.txt2img["scheduler"] == "karras"
    assert found.txt2img["hires"] == {"enabled": True, "scale": 1.5, "denoising_strength": 0.3}
    assert found.txt2img["refiner"]["switch_at"] == 0.5
    assert found.txt2img["subseed_strength"] == 0.1
    assert (found.left_out, found.obstacles) == ((), ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Postprocess upscale by: 1.5, Postprocess upscaler: A", {"factor": 1.5, "upscaler": "A"}),
        (
            "Postprocess upscale to: 100x50, Postprocess crop to: 100x50, Postprocess upscaler: Nearest",
            {"width": 100, "height": 50, "crop": True, "upscaler": "Nearest"},
        ),
        (
            "Postprocess upscale to: 100x50, Postprocess upscaler: Nearest",
            {"width": 100, "height": 50, "crop": False, "upscaler": "Nearest"},
        ),
        ("GFPGAN visibility: 1.0", {"upscaler": "None", "gfpgan_visibility": 1.0}),
    ],
)
def test_what_extras_did_is_the_upscale_stage(text: str, expected: dict[str, Any]) -> None:
    found = recipe(text)
    assert found.config["upscale"] == expected
    assert found.obstacles == ()
    PipelineConfig.model_validate(dict(found.config))


@pytest.mark.parametrize(
    ("postprocessing", "keys", "said"),
    [
        ("", {"Denoising strength": 0.5}, "another image"),
        ("", {"Mask mode": "Inpaint masked"}, "another image"),
        ("", {"Init image size": "64x64"}, "another image"),
        ("", {"Script": "X/Y/Z plot"}, "'X/Y/Z plot'"),
        ("", {"Refiner": "fine", "Refiner switch at": 1.0}, "from the first step"),
        (
            "",
            {"Refiner": "f", "Refiner switch at": 0.33, "Refiner switch by sampling steps": True},
            "no whole step",
        ),
        ("", {"First pass size": "0x0"}, "old WebUI"),
        ("", {"Seed": None}, "half there: without Seed"),
        ("Postprocess upscaler: A, Postprocess upscaler 2: B", {}, "by B too"),
        ("Postprocess upscaler: A, Wonder: 1", {}, "Wonder"),
    ],
)
def test_what_stands_in_the_way(postprocessing: str, keys: dict[str, Any], said: str) -> None:
    obstacles = recipe(postprocessing, **keys).obstacles
    assert len(obstacles) == 1
    assert said in obstacles[0]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"Steps": "2.5"}, "'Steps' is '2.5', which is not a whole number"),
        ({"Seed": -1}, "'Seed' is '-1', which is not a seed from 0 to 4294967295"),
        ({"CFG scale": "inf"}, "'CFG scale' is 'inf', which is not a number"),
        ({"Tiling": "yes"}, "'Tiling' is 'yes', which is not True or False"),
        ({"ADetailer prompt": "a"}, "ADetailer's unit 1 has settings, but no model"),
        ({"ADetailer model": "face.pt", "ADetailer confidence": 7}, "ADetailer's ad_confidence is '7'"),
    ],
)
def test_a_value_that_is_none(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(Unreadable, match=re.escape(said)):
        recipe(**keys)


def test_units_of_adetailer_keep_their_places() -> None:
    """The seed of a unit is the image's plus its place."""
    found = recipe(**{
        "ADetailer model 2nd": "hand.pt", "ADetailer mask only top k largest 2nd": 2,
        "ADetailer model 3rd": "face.pt", "ADetailer CFG scale 3rd": 4.5, "ADetailer version": "23.11",
        "ADetailer wonder": 1,
    })  # fmt: skip
    args = found.txt2img["alwayson_scripts"]["ADetailer"]["args"]
    assert args == [
        True,
        False,
        {"ad_model": "None"},
        {"ad_model": "hand.pt", "ad_mask_k": 2},
        {"ad_model": "face.pt", "ad_cfg_scale": 4.5, "ad_use_cfg_scale": True},
    ]
    assert found.left_out == ("ADetailer wonder",)


def test_keys_that_nobody_knows_are_named() -> None:
    assert recipe(Wonder=1, **{"ControlNet 0": "Module: canny, Model: x"}).left_out == (
        "Wonder",
        "ControlNet 0",
    )


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=40)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 _.,:+\-]{0,20}[A-Za-z0-9+]", fullmatch=True).filter(
    lambda name: not name.endswith(("Karras", "Exponential"))
)
SHARE = st.floats(0, 1).map(lambda one: round(one, 2))
WORDS = TEXTS.map(str.strip).filter(bool)
HIRES = st.fixed_dictionaries(
    {
        "Hires upscale": st.floats(1, 8).map(lambda one: round(one, 2)),
        "Hires upscaler": NAMES,
        "Denoising strength": SHARE,
    },
    optional={"Hires steps": st.integers(0, 150), "Hires sampler": NAMES, "Hires prompt": WORDS},
)


@settings(deadline=None, max_examples=300)
@given(
    prompt=TEXTS.map(str.strip).filter(lambda text: not text.startswith("Negative prompt:")),
    negative=TEXTS.map(str.strip),
    values=st.fixed_dictionaries(
        {
            "Steps": st.integers(1, 150),
            "Sampler": NAMES,
            "CFG scale": st.floats(0, 100).map(lambda one: round(one, 2)),
            "Seed": st.integers(0, 2**32 - 1),
            "Size": st.tuples(st.integers(8, 4096), st.integers(8, 4096)).map(lambda s: f"{s[0]}x{s[1]}"),
            "Model": NAMES,
        },
        optional={
            "Clip skip": st.integers(2, 12),
            "VAE": NAMES,
            "Schedule type": NAMES,
            "ENSD": st.integers(0, 99999),
        },
    ),
    hires=st.one_of(st.just({}), HIRES),
)
def test_what_a_webui_writes_is_read(
    prompt: str, negative: str, values: dict[str, Any], hires: dict[str, Any]
) -> None:
    """Written by the sandbox, which shares no code with the reader."""
    found = recipe_of_infotext(infotext.write(prompt, negative, {**values, **hires}))
    txt2img = found.txt2img
    assert (found.prompt, found.negative_prompt) == (prompt, negative)
    assert (txt2img["steps"], txt2img["sampler"], txt2img["cfg_scale"]) == (
        values["Steps"], values["Sampler"], values["CFG scale"],
    )  # fmt: skip
    assert f"{txt2img['width']}x{txt2img['height']}" == values["Size"]
    assert (found.seed, found.config["checkpoint"]) == (values["Seed"], values["Model"])
    assert found.config["clip_skip"] == values.get("Clip skip", 1)
    assert found.config["vae"] == values.get("VAE", "Automatic")
    assert txt2img.get("hires", {}).get("upscaler") == hires.get("Hires upscaler")
    assert txt2img.get("hires", {}).get("prompt") == hires.get("Hires prompt")
    assert (found.left_out, found.obstacles) == ((), ())


def test_a_hash_of_the_old_kind_is_told_to_be_left_out() -> None:
    """No server lists it, so nobody can say whether the file of that name is the same."""
    found = recipe(Model_hash="7460a6fa")
    assert (found.config["checkpoint"], found.left_out) == ("base", ("Model hash",))


SOME_KEYS = [*BASE, "Refiner", "Hires resize", "ADetailer model", "Script", "x y"]


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(st.sampled_from(SOME_KEYS), st.text(max_size=20)), max_size=8), st.text(max_size=60)
)
def test_any_line_is_read_or_told(pairs: list[tuple[str, str]], rest: str) -> None:
    text = "a\n" + ", ".join(f"{key}: {value}" for key, value in [*BASE.items(), *pairs]) + rest
    try:
        recipe_of_infotext(text, rest)
    except Unreadable as problem:
        assert str(problem)
