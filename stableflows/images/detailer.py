"""ADetailer's keys in an infotext as the arguments of its units.

Keys and what is left out of them: `adetailer/args.py` of Bing-su/adetailer, 23.x to 25.3.0.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from stableflows.config import ADetailerUnit
from stableflows.config.base import request_fields
from stableflows.images.recipe import Unreadable
from stableflows.images.values import Params, text

__all__ = ["IDLE", "detailer_units"]

PREFIX = "ADetailer "
IDLE: dict[str, Any] = {"ad_model": "None"}
"""A unit that does nothing. It keeps the place of a later one, for the place decides about the seed."""

ARGUMENTS = {
    "model": "ad_model",
    "model classes": "ad_model_classes",
    "prompt": "ad_prompt",
    "negative prompt": "ad_negative_prompt",
    "confidence": "ad_confidence",
    "method to decide top k masks": "ad_mask_filter_method",
    "mask only top k": "ad_mask_k",
    "mask only top k largest": "ad_mask_k",
    "mask min ratio": "ad_mask_min_ratio",
    "mask max ratio": "ad_mask_max_ratio",
    "mask min area ratio": "ad_mask_min_ratio",
    "mask max area ratio": "ad_mask_max_ratio",
    "dilate erode": "ad_dilate_erode",
    "dilate/erode": "ad_dilate_erode",
    "x offset": "ad_x_offset",
    "y offset": "ad_y_offset",
    "mask merge invert": "ad_mask_merge_invert",
    "mask merge/invert": "ad_mask_merge_invert",
    "mask blur": "ad_mask_blur",
    "denoising strength": "ad_denoising_strength",
    "inpaint only masked": "ad_inpaint_only_masked",
    "inpaint padding": "ad_inpaint_only_masked_padding",
    "use inpaint width height": "ad_use_inpaint_width_height",
    "use inpaint width/height": "ad_use_inpaint_width_height",
    "inpaint width": "ad_inpaint_width",
    "inpaint height": "ad_inpaint_height",
    "use separate steps": "ad_use_steps",
    "steps": "ad_steps",
    "use separate CFG scale": "ad_use_cfg_scale",
    "CFG scale": "ad_cfg_scale",
    "use separate checkpoint": "ad_use_checkpoint",
    "checkpoint": "ad_checkpoint",
    "use separate VAE": "ad_use_vae",
    "VAE": "ad_vae",
    "use separate sampler": "ad_use_sampler",
    "sampler": "ad_sampler",
    "scheduler": "ad_scheduler",
    "use separate noise multiplier": "ad_use_noise_multiplier",
    "noise multiplier": "ad_noise_multiplier",
    "use separate CLIP skip": "ad_use_clip_skip",
    "CLIP skip": "ad_clip_skip",
    "restore face": "ad_restore_face",
    "ControlNet model": "ad_controlnet_model",
    "ControlNet module": "ad_controlnet_module",
    "ControlNet weight": "ad_controlnet_weight",
    "ControlNet guidance start": "ad_controlnet_guidance_start",
    "ControlNet guidance end": "ad_controlnet_guidance_end",
}
"""Key behind the prefix -> argument."""

KEY = re.compile(rf"{PREFIX}(?P<label>.+?)(?: (?P<number>\d{{1,2}})(?:st|nd|rd|th))?")
MAX_UNITS = 10
"""The largest value of its option ad_max_models."""


def detailer_units(params: Params) -> list[dict[str, Any]]:
    """The units, in order, as they are sent to the extension; none, if it did not run.

    Raises:
        Unreadable: a value is none that the extension takes, or a unit names no model.
    """
    params.drop(f"{PREFIX}version")
    units: dict[int, dict[str, str]] = {}
    for key in params.left:
        found = KEY.fullmatch(key)
        argument = ARGUMENTS.get(found["label"]) if found else None
        place = int(found["number"] or 1) if found else 0
        if argument and 1 <= place <= MAX_UNITS:
            units.setdefault(place, {})[argument] = params.take(key, text) or ""
    return [
        _unit(place, units[place]) if place in units else IDLE
        for place in range(1, max(units, default=0) + 1)
    ]


def _unit(place: int, values: dict[str, str]) -> dict[str, Any]:
    if "ad_model" not in values:
        raise Unreadable(f"ADetailer's unit {place} has settings, but no model")
    try:
        return request_fields(ADetailerUnit.model_validate(values))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise Unreadable(f"ADetailer's {field} is {str(first['input'])[:60]!r}: {first['msg']}") from None
