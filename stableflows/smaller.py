"""What the server has no memory for, made smaller: other pixels than asked, which the result says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stableflows.calls import StageCall
from stableflows.config import ExtrasUpscale, SDUpscale
from stableflows.config.base import Strict
from stableflows.results import StageOutput

__all__ = ["one_after_the_other", "said_of_tiles", "singly", "with_smaller_tiles"]

USUAL_TILE = 192
"""Pixels: what a WebUI's upscalers begin with."""
SMALLEST_TILE = 64
"""Pixels; below it the seams show."""


def singly(call: StageCall) -> list[StageCall]:
    """A batch as calls of one image each, with the same seeds."""
    return [call.model_copy(update={"index": call.index + place, "n": 1}) for place in range(call.n)]


def one_after_the_other(outputs: Sequence[StageOutput]) -> StageOutput:
    """What the single calls of a batch brought, as the batch's output."""
    said = f"out of memory with {len(outputs)} images at once; made one by one, whose pixels are others"
    return outputs[0].model_copy(
        update={
            "images": tuple(image for output in outputs for image in output.images),
            "duration": round(sum(output.duration for output in outputs), 3),
            "cached": all(output.cached for output in outputs),
            "warnings": (*dict.fromkeys(text for output in outputs for text in output.warnings), said),
        }
    )


def with_smaller_tiles(config: Strict, options: Mapping[str, Any]) -> Strict | None:
    """An upscale's settings with tiles of half the size; None where there are no tiles, or none smaller.

    Args:
        options: the server's, whose tile size counts where the settings have none.
    """
    if not isinstance(config, ExtrasUpscale | SDUpscale):
        return None
    now = config.tile_size
    if now is None and isinstance(config, ExtrasUpscale):
        now = int(options.get("ESRGAN_tile") or 0)
    smaller = now // 2 if now else USUAL_TILE
    return config.model_copy(update={"tile_size": smaller}) if smaller >= SMALLEST_TILE else None


def said_of_tiles(config: Strict) -> str:
    """What the result says."""
    tile = config.tile_size if isinstance(config, ExtrasUpscale | SDUpscale) else None
    return f"out of memory; made with tiles of {tile} pixels, whose pixels are others"
