"""ComfyUI's graph (`prompt`): read where it is the plain one of a picture from a prompt, else refused.

A graph maps node ids to {"class_type", "inputs"}; an input is a value, or [node id, output number].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stableflows.images.foreign import Common, lora_tags, model_name, recipe_from, validated
from stableflows.images.metadata import Program
from stableflows.images.recipe import Recipe, Unreadable
from stableflows.images.samplers import comfy_scheduler, sampler_of

__all__ = ["recipe_of_graph"]

SAMPLERS = {"KSampler": "seed", "KSamplerAdvanced": "noise_seed"}
"""Nodes that sample, and what they call the seed."""
CHECKPOINTS = ("CheckpointLoaderSimple", "CheckpointLoader")
LATENTS = ("EmptyLatentImage", "EmptySD3LatentImage")
TEXT_INPUTS = ("text", "string", "value", "text_g")
MAX_LINKS = 50
"""Nodes on the way from a sampler to a loader; a graph may be a ring."""


def recipe_of_graph(graph: Mapping[str, Any]) -> Recipe:
    """The recipe of a graph with one sampler.

    Raises:
        Unreadable: it has none, or several; or a part of it that a WebUI has no counterpart for.
    """
    if not graph:
        raise Unreadable(
            "ComfyUI kept its editor's layout in it (workflow), but not the graph that ran (prompt)"
        )
    nodes = _Nodes(graph)
    samplers = [node for node in nodes.all() if nodes.kind(node) in SAMPLERS]
    if len(samplers) != 1:
        known = (
            "no sampler that is known here"
            if not samplers
            else f"{len(samplers)} samplers, one after another"
        )
        raise Unreadable(f"its ComfyUI graph has {known}; only graphs with one KSampler are read")
    [sampler] = samplers
    inputs = sampler["inputs"]
    size = nodes.linked(inputs.get("latent_image"))
    obstacles = []
    sides: dict[str, Any] = {}
    if size is not None and nodes.kind(size) in LATENTS and inputs.get("denoise", 1) == 1:
        sides = size["inputs"]
    else:
        obstacles.append("it was made from another image, which its metadata does not hold")
    models, loras = nodes.models(inputs.get("model"))
    clip = nodes.clip_skip(inputs.get("positive"))
    common = {
        "seed": inputs.get(SAMPLERS[nodes.kind(sampler)]),
        "steps": inputs.get("steps"),
        "width": sides.get("width"),
        "height": sides.get("height"),
    }
    named = {"sampler": inputs.get("sampler_name"), "scheduler": inputs.get("scheduler")}
    sampling: dict[str, Any] = {"cfg_scale": _number(inputs.get("cfg"))}
    if isinstance(named["sampler"], str):
        sampling |= sampler_of(named["sampler"])
    if isinstance(named["scheduler"], str):
        sampling |= comfy_scheduler(named["scheduler"])
    return recipe_from(
        Program.COMFYUI,
        validated(Common, common, Program.COMFYUI),
        prompt=nodes.text(inputs.get("positive")) + lora_tags(loras),
        negative_prompt=nodes.text(inputs.get("negative")),
        sampling=sampling,
        models={**models, **clip},
        obstacles=tuple(obstacles),
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


class _Nodes:
    def __init__(self, graph: Mapping[str, Any]) -> None:
        self._nodes = {
            key: node
            for key, node in graph.items()
            if isinstance(node, dict) and isinstance(node.get("class_type"), str)
            if isinstance(node.get("inputs"), dict)
        }

    def all(self) -> list[dict[str, Any]]:
        return list(self._nodes.values())

    def kind(self, node: Mapping[str, Any] | None) -> str:
        return str(node["class_type"]) if node and "class_type" in node else ""

    def linked(self, link: Any) -> dict[str, Any] | None:
        """The node that an input leads to."""
        if isinstance(link, list) and link and isinstance(link[0], str | int):
            return self._nodes.get(str(link[0]))
        return None

    def models(self, link: Any) -> tuple[dict[str, str], dict[str, float]]:
        """The checkpoint and the LoRAs on the way to it."""
        loras: dict[str, float] = {}
        for _ in range(MAX_LINKS):
            node = self.linked(link)
            if node is None:
                break
            inputs, kind = node["inputs"], self.kind(node)
            if kind in CHECKPOINTS:
                return model_name(str(inputs.get("ckpt_name") or "")), loras
            if kind in ("LoraLoader", "LoraLoaderModelOnly") and isinstance(inputs.get("lora_name"), str):
                weight = _number(inputs.get("strength_model"))
                loras[inputs["lora_name"]] = 1.0 if weight is None else weight
            link = inputs.get("model")
        raise Unreadable("its ComfyUI graph takes the model from a node that is not known here")

    def clip_skip(self, link: Any) -> dict[str, int]:
        for _ in range(MAX_LINKS):
            node = self.linked(link)
            if node is None:
                break
            layer = node["inputs"].get("stop_at_clip_layer")
            if isinstance(layer, int) and -12 <= layer <= -1:
                return {"clip_skip": -layer}
            link = node["inputs"].get("clip")
        return {}

    def text(self, link: Any) -> str:
        """The prompt behind a conditioning.

        Raises:
            Unreadable: it is put together by nodes that are not known here.
        """
        for _ in range(MAX_LINKS):
            node = self.linked(link)
            if node is None:
                break
            found = [node["inputs"][name] for name in TEXT_INPUTS if name in node["inputs"]]
            if found and isinstance(found[0], str):
                return found[0]
            link = found[0] if found else node["inputs"].get("conditioning")
        raise Unreadable("its ComfyUI graph puts the prompt together by nodes that are not known here")
