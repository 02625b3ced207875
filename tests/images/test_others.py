"""SwarmUI, ComfyUI and InvokeAI: read as far as a WebUI has settings for it, or refused with a clear word."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stableflows.config import PipelineConfig
from stableflows.errors import InputError
from stableflows.images import read_images
from stableflows.images.metadata import Metadata, Program
from stableflows.images.others import recipe_of_other
from stableflows.images.recipe import Recipe, Unreadable

SWARM = {
    "prompt": "a mill", "negativeprompt": "fog", "model": "XL/base_v1.safetensors", "seed": 4, "steps": 22,
    "cfgscale": 6.5, "width": 832, "height": 1216, "sampler": "dpmpp_2m", "scheduler": "karras",
    "loras": ["ink"], "loraweights": [0.7], "swarm_version": "0.9.5",
}  # fmt: skip
INVOKE = {
    "generation_mode": "sdxl_txt2img", "positive_prompt": "a mill", "negative_prompt": "fog", "seed": 4,
    "width": 832, "height": 1216, "steps": 22, "cfg_scale": 6.5, "scheduler": "dpmpp_2m_k", "clip_skip": 1,
    "model": {"name": "base_v1", "base": "sdxl"}, "loras": [{"model": {"name": "ink"}, "weight": 0.7}],
}  # fmt: skip
INVOKE_2 = {
    "model_weights": "base_v1",
    "image": {
        "type": "txt2img", "prompt": [{"prompt": "a mill [fog]", "weight": 1.0}], "seed": 4, "steps": 22,
        "cfg_scale": 6.5, "width": 832, "height": 1216, "sampler": "k_dpmpp_2",
    },
}  # fmt: skip
COMFY = {
    "3": {"class_type": "KSampler", "inputs": {
        "seed": 4, "steps": 22, "cfg": 6.5, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1.0,
        "model": ["10", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "xl\\base_v1.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 832, "height": 1216, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": ["12", 0], "clip": ["11", 0]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "fog", "clip": ["11", 0]}},
    "10": {"class_type": "LoraLoader", "inputs": {
        "lora_name": "ink.safetensors", "strength_model": 0.7, "model": ["4", 0], "clip": ["4", 1]}},
    "11": {"class_type": "CLIPSetLastLayer", "inputs": {"stop_at_clip_layer": -2, "clip": ["10", 1]}},
    "12": {"class_type": "PrimitiveString", "inputs": {"value": "a mill"}},
}  # fmt: skip


def swarm(**changes: Any) -> Recipe:
    return recipe_of_other(Metadata(Program.SWARMUI, data={"sui_image_params": {**SWARM, **changes}}))


def invoke(**changes: Any) -> Recipe:
    return recipe_of_other(Metadata(Program.INVOKEAI, data={**INVOKE, **changes}))


def comfy(**changes: Any) -> Recipe:
    return recipe_of_other(Metadata(Program.COMFYUI, data={**COMFY, **changes}))


@pytest.mark.parametrize("found", [swarm(), invoke(), comfy()], ids=["SwarmUI", "InvokeAI", "ComfyUI"])
def test_prompt_and_settings(found: Recipe) -> None:
    assert (found.prompt, found.negative_prompt) == ("a mill <lora:ink:0.7>", "fog")
    assert found.txt2img == {
        "seed": 4, "steps": 22, "width": 832, "height": 1216, "cfg_scale": 6.5,
        "sampler": "DPM++ 2M", "scheduler": "Karras",
    }  # fmt: skip
    assert found.config["checkpoint"] == "base_v1"
    assert (found.obstacles, found.foreign) == ((), True)
    PipelineConfig.model_validate(dict(found.config))


def test_clip_skip() -> None:
    assert comfy().config["clip_skip"] == 2
    assert invoke().config["clip_skip"] == 2


def test_invokeai_before_version_3() -> None:
    found = recipe_of_other(Metadata(Program.INVOKEAI, data=INVOKE_2))
    assert (found.prompt, found.negative_prompt) == ("a mill", "fog")
    assert (found.txt2img["sampler"], found.config["checkpoint"]) == ("DPM++ 2M", "base_v1")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (lambda: swarm(initimage="x"), "another image"),
        (lambda: swarm(refinermodel="fine"), "by SwarmUI"),
        (lambda: swarm(prompt=" ", loras=[]), "it holds no prompt"),
        (lambda: invoke(generation_mode="img2img"), "another image (img2img)"),
        (lambda: invoke(hrf_enabled=True), "InvokeAI's own"),
        (lambda: comfy(**{"5": {"class_type": "VAEEncode", "inputs": {}}}), "another image"),
    ],
)
def test_what_stands_in_the_way(found: Any, said: str) -> None:
    assert said in found().obstacles[0]


def sampler(**inputs: Any) -> dict[str, Any]:
    return {"3": {"class_type": "KSampler", "inputs": {**COMFY["3"]["inputs"], **inputs}}}  # type: ignore[dict-item]


RING = {"10": {"class_type": "LoraLoader", "inputs": {"model": ["10", 0]}}}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (lambda: swarm(sampler="warp"), "its sampler 'warp' has no counterpart in a WebUI"),
        (lambda: swarm(scheduler="kerras"), "has no counterpart in a WebUI (like it are Karras)"),
        (lambda: swarm(steps="many"), "its SwarmUI metadata cannot be read: steps: "),
        (lambda: swarm(seed=2**40), "is larger than those of a WebUI"),
        (lambda: recipe_of_other(Metadata(Program.SWARMUI, data={})), "its SwarmUI metadata cannot be read"),
        (lambda: recipe_of_other(Metadata(Program.UNKNOWN, data={"fooocus": 1})), "not known here (fooocus)"),
        (lambda: recipe_of_other(Metadata(Program.COMFYUI, data={})), "not the graph that ran"),
        (lambda: comfy(**{"3": {"class_type": "Odd", "inputs": {}}}), "no sampler that is known here"),
        (lambda: comfy(**{"33": COMFY["3"]}), "2 samplers, one after another"),
        (lambda: comfy(**sampler(seed=["9", 0])), "its ComfyUI metadata cannot be read: seed"),
        (lambda: comfy(**sampler(positive=["99", 0])), "puts the prompt together"),
        (lambda: comfy(**sampler(model=["99", 0])), "takes the model from a node"),
        (lambda: comfy(**RING), "takes the model from a node"),
    ],
)
def test_what_is_refused(found: Any, said: str) -> None:
    with pytest.raises(Unreadable, match=re.escape(said)):
        found()


def test_of_a_folder_of_them_one_line_is_said(tmp_path: Path) -> None:
    for number in range(3):
        info = PngInfo()
        info.add_text("parameters", json.dumps({"sui_image_params": {**SWARM, "seed": number}}))
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png", pnginfo=info)
    source = read_images([tmp_path / "*.png"])
    assert len(source.packs) == 3
    [line] = source.warnings
    said = "was made by SwarmUI; a WebUI makes another picture of the same settings (and 2 more)."
    assert line == f"{tmp_path / '0.png'}: {said}"


def test_every_image_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    for number in range(2):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    with pytest.raises(InputError) as error:
        read_images([tmp_path / "*.png"])
    assert len(str(error.value).splitlines()) == 2


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(sorted(SWARM)), st.sampled_from(sorted(INVOKE)), st.sampled_from(sorted(COMFY)), JSON)
def test_any_data_is_read_or_refused(one: str, two: str, three: str, value: Any) -> None:
    readers: list[Callable[[], Recipe]] = [
        lambda: swarm(**{one: value}),
        lambda: invoke(**{two: value}),
        lambda: comfy(**{three: value}),
        lambda: comfy(**sampler(positive=value, latent_image=value, model=value)),
    ]
    for read in readers:
        try:
            read()
        except Unreadable as problem:
            assert str(problem)
