"""How an image was sampled, for the stages that sample it further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stableflows.config.flat import nested
from stableflows.config.generation import Sampling
from stableflows.stages import StageType

__all__ = ["sampled_stages", "sampling_of"]


def sampling_of(txt2img: Mapping[str, Any]) -> dict[str, Any]:
    """What a later stage would inherit of a generation stage's settings."""
    return {field: value for field, value in txt2img.items() if field in Sampling.model_fields}


def sampled_stages(stages: Sequence[StageType], *layers: Mapping[str, Any]) -> list[str]:
    """Those of `stages` that sample: all but an upscale through extras.

    Args:
        layers: settings, lowest first, which may say how the upscale stage works.
    """
    mode = "extras"
    for layer in layers:
        values, _ = nested(layer)
        mode = values.get("upscale", {}).get("mode", mode)
    return [stage.value for stage in stages if stage is not StageType.UPSCALE or mode != "extras"]
