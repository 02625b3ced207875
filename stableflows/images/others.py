"""Pictures of SwarmUI, ComfyUI and InvokeAI: as much of their recipe as a WebUI has settings for.

None of these gives the same picture on a WebUI, for their noise is another; it gives its prompt and settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from stableflows.images.comfy import recipe_of_graph
from stableflows.images.foreign import Common, Foreign, lora_tags, model_name, recipe_from, validated
from stableflows.images.metadata import Metadata, Program
from stableflows.images.recipe import Recipe, Unreadable
from stableflows.images.samplers import comfy_scheduler, sampler_of

__all__ = ["recipe_of_other"]


def recipe_of_other(metadata: Metadata) -> Recipe:
    """The recipe of a picture of SwarmUI, ComfyUI or InvokeAI.

    Raises:
        Unreadable: its data is not of the form that is known, or it has no counterpart in a WebUI.
    """
    data = metadata.data or {}
    if metadata.program is Program.SWARMUI:
        return _swarm(data)
    if metadata.program is Program.INVOKEAI:
        return _invoke_2(data) if "image" in data else _invoke(data)
    if metadata.program is Program.COMFYUI:
        return recipe_of_graph(data)
    raise Unreadable(
        f"its parameters are JSON of a program that is not known here ({', '.join(list(data)[:3])})"
    )


class _Swarm(Common):
    prompt: str = ""
    negativeprompt: str = ""
    model: str | None = None
    cfgscale: float | None = None
    sampler: str | None = None
    scheduler: str | None = None
    loras: tuple[str, ...] = ()
    loraweights: tuple[float, ...] = ()
    initimage: Any = None
    refinermodel: str | None = None


def _swarm(data: Mapping[str, Any]) -> Recipe:
    params = data.get("sui_image_params")
    read = validated(_Swarm, params, Program.SWARMUI)
    sampling: dict[str, Any] = {"cfg_scale": read.cfgscale}
    if read.sampler:
        sampling |= sampler_of(read.sampler)
    if read.scheduler:
        sampling |= comfy_scheduler(read.scheduler)
    weights = (*read.loraweights, *(1.0 for _ in read.loras))
    obstacles = []
    if read.initimage is not None:
        obstacles.append("it was made from another image, which its metadata does not hold")
    if read.refinermodel:
        obstacles.append("it was refined or enlarged by SwarmUI, which no setting here says")
    return recipe_from(
        Program.SWARMUI,
        Common(**read.model_dump(include=set(Common.model_fields))),
        prompt=read.prompt + lora_tags(dict(zip(read.loras, weights, strict=False))),
        negative_prompt=read.negativeprompt,
        sampling=sampling,
        models=model_name(read.model),
        obstacles=tuple(obstacles),
    )


class _InvokeModel(Foreign):
    name: str | None = None
    model_name: str | None = None


class _InvokeLora(Foreign):
    model: _InvokeModel | None = None
    lora: _InvokeModel | None = None
    weight: float = 1.0


class _Invoke(Common):
    generation_mode: str = "txt2img"
    positive_prompt: str = ""
    negative_prompt: str = ""
    cfg_scale: float | None = None
    scheduler: str | None = None
    clip_skip: int | None = None
    model: _InvokeModel | None = None
    loras: tuple[_InvokeLora, ...] = ()
    hrf_enabled: bool | None = None


def _invoke(data: Mapping[str, Any]) -> Recipe:
    read = validated(_Invoke, data, Program.INVOKEAI)
    loras = {_name(one.model or one.lora): one.weight for one in read.loras}
    models: dict[str, Any] = model_name(_name(read.model))
    if read.clip_skip:
        models["clip_skip"] = read.clip_skip + 1  # of layers left out; the WebUI counts from the last
    obstacles = []
    if not read.generation_mode.endswith("txt2img"):
        obstacles.append(f"it was made from another image ({read.generation_mode}), which it does not hold")
    if read.hrf_enabled:
        obstacles.append("its second pass (high resolution fix) is InvokeAI's own")
    return recipe_from(
        Program.INVOKEAI,
        Common(**read.model_dump(include=set(Common.model_fields))),
        prompt=read.positive_prompt + lora_tags({name: weight for name, weight in loras.items() if name}),
        negative_prompt=read.negative_prompt,
        sampling={"cfg_scale": read.cfg_scale, **(sampler_of(read.scheduler) if read.scheduler else {})},
        models=models,
        obstacles=tuple(obstacles),
    )


def _name(model: _InvokeModel | None) -> str:
    return (model.name or model.model_name or "") if model else ""


class _Invoke2Image(Common):
    type: str = "txt2img"
    prompt: Any = ""
    cfg_scale: float | None = None
    sampler: str | None = None


class _Invoke2(Foreign):
    model_weights: str | None = None
    image: _Invoke2Image


def _invoke_2(data: Mapping[str, Any]) -> Recipe:
    """Before version 3, `sd-metadata`: what stands in square brackets of the prompt is negative."""
    read = validated(_Invoke2, data, Program.INVOKEAI)
    text = ", ".join(_texts(read.image.prompt))
    image = read.image
    obstacles = () if image.type == "txt2img" else (f"it was made from another image ({image.type})",)
    return recipe_from(
        Program.INVOKEAI,
        Common(**image.model_dump(include=set(Common.model_fields))),
        prompt=re.sub(r"\s*\[[^\[\]]*\]", "", text),
        negative_prompt=", ".join(found.strip() for found in re.findall(r"\[([^\[\]]*)\]", text)),
        sampling={"cfg_scale": image.cfg_scale, **(sampler_of(image.sampler) if image.sampler else {})},
        models=model_name(read.model_weights),
        obstacles=obstacles,
    )


def _texts(prompt: Any) -> Iterator[str]:
    if isinstance(prompt, str):
        yield prompt
    elif isinstance(prompt, list):
        yield from (
            one["prompt"] for one in prompt if isinstance(one, dict) and isinstance(one.get("prompt"), str)
        )
    else:
        raise Unreadable("its InvokeAI metadata cannot be read: image.prompt: no text")
