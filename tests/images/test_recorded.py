"""The infotexts that real servers wrote say the settings that were sent to them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from stableflows.images.recipe import Recipe
from stableflows.images.webui import recipe_of_infotext
from tests.webui import recorded_servers as recorded

ANSWERS = {
    key: record
    for key, record in sorted(recorded.answers().items())
    if record["info"] and record["info"]["infotexts"]
}
PLAIN = [
    key
    for key, record in ANSWERS.items()
    if record["path"].endswith("txt2img") and not record["body"].get("script_name")
    # No seed that a WebUI draws, and none that a config takes; a body whose settings stand in an infotext.
    if key not in ("a1111/t2i_seed_big", "a1111/t2i_infotext")
]
IMG2IMG = [key for key, record in ANSWERS.items() if record["path"].endswith("img2img")]
SCRIPTS = [
    key
    for key, record in ANSWERS.items()
    if record["path"].endswith("txt2img") and record["body"].get("script_name")
]

SAME = {
    "steps": "steps",
    "cfg_scale": "cfg_scale",
    "width": "width",
    "height": "height",
    "eta": "eta",
    "tiling": "tiling",
    "restore_faces": "restore_faces",
    "subseed": "subseed",
    "subseed_strength": "subseed_strength",
    "seed_resize_from_w": "seed_resize_from_w",
    "seed_resize_from_h": "seed_resize_from_h",
}
HIRES = {
    "hr_scale": "scale",
    "hr_upscaler": "upscaler",
    "hr_second_pass_steps": "steps",
    "hr_resize_x": "width",
    "hr_resize_y": "height",
    "hr_sampler_name": "sampler",
    "denoising_strength": "denoising_strength",
    "hr_prompt": "prompt",
    "hr_negative_prompt": "negative_prompt",
    "hr_checkpoint_name": "checkpoint",
}
OPTIONS = ("eta_noise_seed_delta", "randn_source", "token_merging_ratio", "token_merging_ratio_hr")
WITHOUT_EFFECT: dict[str, set[str]] = {
    "a1111/t2i_extra_noise_subseed": {"eta"},
    # What the server took without doing it, or echoes otherwise; see the facts that the names stand for.
    "networks/misc_05_ensd_euler": {"eta_noise_seed_delta"},
    "networks/misc_06c_ensd_ddim_eta0": {"eta_noise_seed_delta", "eta"},
    "networks/misc_06d_ensd_ddim_eta1": {"eta_noise_seed_delta"},
}


def recipe(key: str, at: int = 0) -> Recipe:
    return recipe_of_infotext(ANSWERS[key]["info"]["infotexts"][at])


def number(value: Any) -> Any:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def family_of(key: str) -> str:
    return "forge" if key.startswith("forge") or "/forge_" in key else "a1111"


@pytest.mark.parametrize("key", PLAIN)
def test_it_says_what_was_sent(key: str) -> None:
    record, found = ANSWERS[key], recipe(key)
    body, txt2img = record["body"], found.txt2img
    skipped = WITHOUT_EFFECT.get(key, set())
    assert found.prompt == record["info"]["prompt"].strip()
    if not body.get("styles"):
        assert found.negative_prompt == (body.get("negative_prompt") or "")
    assert found.left_out == ()
    for sent, field in SAME.items():
        if body.get(sent) not in (None, 0, False, -1) and sent not in skipped:
            # The body is read as loosely as the server read it: "2" and 2.7 are 2.
            expected = record["info"].get(sent, body[sent])
            assert number(txt2img.get(field)) == number(expected), sent
    if isinstance(body.get("seed"), int) and body["seed"] >= 0:
        assert txt2img["seed"] == body["seed"]
    names = recorded.names(family_of(key))
    choice = names.sampler(str(body.get("sampler_name") or body.get("sampler_index") or "Euler"))
    if choice:
        assert txt2img["sampler"] == choice.sampler.name
        named = choice.scheduler or names.scheduler(str(body.get("scheduler") or ""))
        if named and named.label != "Automatic":
            assert txt2img["scheduler"] == named.label
    for option in OPTIONS:
        value = (body.get("override_settings") or {}).get(option)
        if value and option not in skipped:
            assert txt2img["override_settings"][option] == value


@pytest.mark.parametrize("key", [key for key in PLAIN if ANSWERS[key]["body"].get("enable_hr")])
def test_it_says_the_second_pass(key: str) -> None:
    body, hires = ANSWERS[key]["body"], recipe(key).txt2img["hires"]
    assert hires["enabled"]
    for sent, field in HIRES.items():
        value = body.get(sent)
        if value and not str(value).startswith("Use same"):
            if sent == "hr_scale" and body.get("hr_resize_x"):
                assert "scale" not in hires
            elif sent == "hr_checkpoint_name":
                assert re.fullmatch(rf"{re.escape(value)} \[[0-9a-f]{{10}}\]", hires[field])
            else:
                assert number(hires[field]) == number(value), sent
    assert recipe(key).obstacles == ()


@pytest.mark.parametrize("key", PLAIN)
def test_it_says_the_models_that_rendered(key: str) -> None:
    info, config = ANSWERS[key]["info"], recipe(key).config
    assert config["checkpoint"] == f"{info['sd_model_name']} [{info['sd_model_hash']}]"
    assert config["clip_skip"] == max(1, info["clip_skip"])
    if family_of(key) == "a1111":
        assert config["vae"] == (info["sd_vae_name"] or "Automatic")


REFINED = [key for key in PLAIN if "Refiner: " in ANSWERS[key]["info"]["infotexts"][0]]


@pytest.mark.parametrize("key", REFINED)
def test_it_says_the_refiner(key: str) -> None:
    body, found = ANSWERS[key]["body"], recipe(key)
    if body.get("refiner_switch_at") is None:
        assert "refiner" not in found.txt2img
        assert "from the first step" in found.obstacles[0]
        return
    refiner = found.txt2img["refiner"]
    name, _, short_hash = refiner["checkpoint"].partition(" [")
    assert str(body["refiner_checkpoint"]).startswith(name)
    assert len(short_hash) == len("0123456789]")
    by_steps = (body.get("override_settings") or {}).get("refiner_switch_by_sample_steps")
    if by_steps:
        assert refiner["switch_step"] / found.txt2img["steps"] == body["refiner_switch_at"]
    else:
        assert refiner["switch_at"] == body["refiner_switch_at"]


DETAILED = [key for key in ANSWERS if "ADetailer model" in ANSWERS[key]["info"]["infotexts"][0]]


@pytest.mark.parametrize("key", DETAILED)
def test_it_says_the_units_of_adetailer(key: str) -> None:
    found = recipe(key)
    args = found.txt2img["alwayson_scripts"]["ADetailer"]["args"]
    script = next(
        value
        for name, value in ANSWERS[key]["body"]["alwayson_scripts"].items()
        if name.lower() == "adetailer"
    )
    sent = [unit for unit in script["args"] if isinstance(unit, dict)]
    assert args[:2] == [True, False]
    for unit, said in zip(sent, args[2:], strict=False):
        assert {name: said[name] for name in unit} == unit
    if "no_leading_bools" not in key:  # there a second unit ran that nobody asked for; the infotext says so
        assert len(sent) == len(args[2:])
    assert found.left_out == ()


@pytest.mark.parametrize("key", IMG2IMG)
def test_what_another_image_was_needed_for_is_not_made_again(key: str) -> None:
    found = recipe(key)
    assert found.obstacles
    assert "img2img" in found.obstacles[0]
    assert found.left_out == ()


@pytest.mark.parametrize("key", SCRIPTS)
def test_a_grid_is_not_made_again(key: str) -> None:
    texts = ANSWERS[key]["info"]["infotexts"]
    first = recipe_of_infotext(texts[0])
    assert "Script: " not in texts[0] or "from several pictures" in first.obstacles[0]


@pytest.mark.parametrize("key", [key for key in PLAIN if len(ANSWERS[key]["info"]["infotexts"]) > 1])
def test_each_image_of_a_batch_has_its_own_seed(key: str) -> None:
    info = ANSWERS[key]["info"]
    texts = info["infotexts"][info["index_of_first_image"] :]
    seeds = [recipe_of_infotext(text).seed for text in texts]
    assert seeds == info["all_seeds"][: len(seeds)]


def test_there_are_enough_of_each() -> None:
    assert len(PLAIN) > 150
    assert min(map(len, (IMG2IMG, DETAILED, REFINED, SCRIPTS))) >= 5
