"""What a right answer to a request must look like, read from the request itself."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image, UnidentifiedImageError

from .models import WebUIRequest

__all__ = ["ADetailerAsked", "adetailer_asked", "expected_seeds", "expected_size", "refiner_is_reached"]

_LATENT_CELL = 8
"""Pixels of a picture that one cell of the latent stands for: sizes are floored to it."""
_SD_UPSCALE = "sd upscale"


def _floored(width: float, height: float) -> tuple[int, int]:
    return int(width) // _LATENT_CELL * _LATENT_CELL, int(height) // _LATENT_CELL * _LATENT_CELL


def _number(body: Mapping[str, Any], key: str, default: float) -> float:
    value = body.get(key)
    return float(value) if value is not None else default


def _size_of(picture: Any) -> tuple[int, int] | None:
    """Width and height from the header of a base64 picture, or None."""
    if not isinstance(picture, str):
        return None
    try:
        with Image.open(BytesIO(base64.b64decode(picture.rpartition("base64,")[2]))) as image:
            return image.size
    except (binascii.Error, UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None


def expected_size(request: WebUIRequest) -> tuple[int, int] | None:
    """The pixels that the pictures must have: the request's ``size``, else derived; None if it cannot be
    said.
    """
    body = request.body
    if request.size is not None:
        return request.size
    if request.path.endswith(("/extra-single-image", "/detail")):
        return _extras_size(body)
    script = str(body.get("script_name") or "").casefold()
    if script == _SD_UPSCALE:
        return _sd_upscale_size(body)
    if script:
        return None  # a script may make anything
    if body.get("mask") and body.get("inpaint_full_res", True):
        return _size_of((body.get("init_images") or [None])[0])  # "only masked": pasted back into the input
    width, height = _number(body, "width", 512), _number(body, "height", 512)
    return _hires_size(body, width, height) if body.get("enable_hr") else _floored(width, height)


def _hires_size(body: Mapping[str, Any], width: float, height: float) -> tuple[int, int]:
    to_width, to_height = _number(body, "hr_resize_x", 0), _number(body, "hr_resize_y", 0)
    if not to_width and not to_height:
        scale = _number(body, "hr_scale", 2.0)
        return _floored(int(width * scale), int(height * scale))
    return _floored(to_width or to_height * width // height, to_height or to_width * height // width)


def _extras_size(body: Mapping[str, Any]) -> tuple[int, int] | None:
    size = _size_of(body.get("image"))
    if size is None or body.get("upscaler_1") in (None, "", "None"):
        return size
    if body.get("resize_mode", 0) == 0:
        scale = _number(body, "upscaling_resize", 2)
        return _floored(size[0] * scale, size[1] * scale)
    width, height = (
        int(_number(body, "upscaling_resize_w", 512)),
        int(_number(body, "upscaling_resize_h", 512)),
    )
    if body.get("upscaling_crop", True):
        return width, height
    scale = max(width / size[0], height / size[1])
    return _floored(size[0] * scale, size[1] * scale)


def _sd_upscale_size(body: Mapping[str, Any]) -> tuple[int, int] | None:
    size = _size_of((body.get("init_images") or [None])[0])
    arguments = body.get("script_args") or []
    if size is None or not arguments:
        return None
    return _floored(size[0] * float(arguments[-1]), size[1] * float(arguments[-1]))


def expected_seeds(request: WebUIRequest) -> tuple[int | None, ...]:
    """The seed of each picture: seed, seed+1, ...; the same for all with a variation.

    None where it is drawn.
    """
    body = request.body
    seed = body.get("seed")
    count = request.n_images
    if seed is None or int(seed) < 0:
        return (None,) * count
    script = str(body.get("script_name") or "").casefold()
    if script and script != _SD_UPSCALE:
        return (int(seed), *(None,) * (count - 1))  # a script gives its pictures what seeds it likes
    step = 0 if _number(body, "subseed_strength", 0) > 0 else 1
    return tuple(int(seed) + step * place for place in range(count))


def expected_subseeds(request: WebUIRequest) -> tuple[int | None, ...]:
    """The variation seed of each picture, where the request gives one and its strength is not 0."""
    body = request.body
    subseed = body.get("subseed")
    if (
        _number(body, "subseed_strength", 0) <= 0
        or subseed is None
        or int(subseed) < 0
        or body.get("script_name")
    ):
        return (None,) * request.n_images
    return tuple(int(subseed) + place for place in range(request.n_images))


def refiner_is_reached(body: Mapping[str, Any]) -> bool:
    """Whether sampling surely comes to the refiner's switch.

    By noise level every schedule ends near 1; by steps the last of n stands at (n - 1) / n. Below that it is
    reached either way; above it depends on server and schedule.
    """
    switch = body.get("refiner_switch_at")
    if switch is None:
        return True  # from the start
    steps = _number(body, "steps", 50)
    if body.get("enable_hr"):
        steps = _number(body, "hr_second_pass_steps", 0) or steps
    if body.get("enable_hr") or body.get("init_images"):
        steps = int(min(_number(body, "denoising_strength", 0.75), 0.999) * steps) + 1
    return float(switch) <= (steps - 1) / steps


@dataclass(frozen=True, slots=True)
class ADetailerAsked:
    """The units that a request switches on: their models, in order; empty if none."""

    models: tuple[str, ...] = ()


def adetailer_asked(body: Mapping[str, Any]) -> ADetailerAsked:
    """Reads ADetailer's arguments as the extension does: two booleans, then a dictionary for each unit."""
    scripts = body.get("alwayson_scripts") or {}
    entry = next((value for name, value in scripts.items() if name.casefold() == "adetailer"), None)
    arguments = entry.get("args") if isinstance(entry, Mapping) else None
    if not isinstance(arguments, list) or (arguments and arguments[0] is False):
        return ADetailerAsked()
    units = [unit for unit in arguments if isinstance(unit, Mapping)]
    models = [str(unit.get("ad_model", "None")) for unit in units if unit.get("ad_tab_enable", True)]
    return ADetailerAsked(tuple(model for model in models if model != "None"))
