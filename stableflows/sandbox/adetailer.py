"""The ADetailer extension, version 25.3.0: strict arguments, and units that vanish without a word."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError, confloat, conint

from stableflows.sandbox.recorded import recorded

VERSION = "25.3.0"
_Share = confloat(ge=0.0, le=1.0)


class Unit(BaseModel):
    """One unit's arguments; an unknown key or a value out of range drops the unit."""

    model_config = ConfigDict(extra="forbid")

    ad_model: str = "None"
    ad_model_classes: str = ""
    ad_tab_enable: bool = True
    ad_prompt: str = ""
    ad_negative_prompt: str = ""
    ad_confidence: _Share = 0.3  # type: ignore[valid-type]
    ad_mask_filter_method: Literal["Area", "Confidence"] = "Area"
    ad_mask_k: NonNegativeInt = 0
    ad_mask_min_ratio: _Share = 0.0  # type: ignore[valid-type]
    ad_mask_max_ratio: _Share = 1.0  # type: ignore[valid-type]
    ad_dilate_erode: int = 4
    ad_x_offset: int = 0
    ad_y_offset: int = 0
    ad_mask_merge_invert: Literal["None", "Merge", "Merge and Invert"] = "None"
    ad_mask_blur: NonNegativeInt = 4
    ad_denoising_strength: _Share = 0.4  # type: ignore[valid-type]
    ad_inpaint_only_masked: bool = True
    ad_inpaint_only_masked_padding: NonNegativeInt = 32
    ad_use_inpaint_width_height: bool = False
    ad_inpaint_width: PositiveInt = 512
    ad_inpaint_height: PositiveInt = 512
    ad_use_steps: bool = False
    ad_steps: PositiveInt = 28
    ad_use_cfg_scale: bool = False
    ad_cfg_scale: confloat(ge=0.0) = 7.0  # type: ignore[valid-type]
    ad_use_checkpoint: bool = False
    ad_checkpoint: str | None = None
    ad_use_vae: bool = False
    ad_vae: str | None = None
    ad_use_sampler: bool = False
    ad_sampler: str = "DPM++ 2M Karras"
    ad_scheduler: str = "Use same scheduler"
    ad_use_noise_multiplier: bool = False
    ad_noise_multiplier: confloat(ge=0.5, le=1.5) = 1.0  # type: ignore[valid-type]
    ad_use_clip_skip: bool = False
    ad_clip_skip: conint(ge=1, le=12) = 1  # type: ignore[valid-type]
    ad_restore_face: bool = False
    ad_controlnet_model: str = "None"
    ad_controlnet_module: str = "None"
    ad_controlnet_weight: _Share = 1.0  # type: ignore[valid-type]
    ad_controlnet_guidance_start: _Share = 0.0  # type: ignore[valid-type]
    ad_controlnet_guidance_end: _Share = 1.0  # type: ignore[valid-type]
    is_api: bool = True

    @property
    def is_idle(self) -> bool:
        return self.ad_model == "None" or not self.ad_tab_enable


_LABELS: dict[str, str] = {
    "ad_model": "ADetailer model",
    "ad_model_classes": "ADetailer model classes",
    "ad_prompt": "ADetailer prompt",
    "ad_negative_prompt": "ADetailer negative prompt",
    "ad_confidence": "ADetailer confidence",
    "ad_mask_filter_method": "ADetailer method to decide top k masks",
    "ad_mask_k": "ADetailer mask only top k",
    "ad_mask_min_ratio": "ADetailer mask min ratio",
    "ad_mask_max_ratio": "ADetailer mask max ratio",
    "ad_x_offset": "ADetailer x offset",
    "ad_y_offset": "ADetailer y offset",
    "ad_dilate_erode": "ADetailer dilate erode",
    "ad_mask_merge_invert": "ADetailer mask merge invert",
    "ad_mask_blur": "ADetailer mask blur",
    "ad_denoising_strength": "ADetailer denoising strength",
    "ad_inpaint_only_masked": "ADetailer inpaint only masked",
    "ad_inpaint_only_masked_padding": "ADetailer inpaint padding",
    "ad_use_inpaint_width_height": "ADetailer use inpaint width height",
    "ad_inpaint_width": "ADetailer inpaint width",
    "ad_inpaint_height": "ADetailer inpaint height",
    "ad_use_steps": "ADetailer use separate steps",
    "ad_steps": "ADetailer steps",
    "ad_use_cfg_scale": "ADetailer use separate CFG scale",
    "ad_cfg_scale": "ADetailer CFG scale",
    "ad_use_checkpoint": "ADetailer use separate checkpoint",
    "ad_checkpoint": "ADetailer checkpoint",
    "ad_use_vae": "ADetailer use separate VAE",
    "ad_vae": "ADetailer VAE",
    "ad_use_sampler": "ADetailer use separate sampler",
    "ad_sampler": "ADetailer sampler",
    "ad_scheduler": "ADetailer scheduler",
    "ad_use_noise_multiplier": "ADetailer use separate noise multiplier",
    "ad_noise_multiplier": "ADetailer noise multiplier",
    "ad_use_clip_skip": "ADetailer use separate CLIP skip",
    "ad_clip_skip": "ADetailer CLIP skip",
    "ad_restore_face": "ADetailer restore face",
    "ad_controlnet_model": "ADetailer ControlNet model",
    "ad_controlnet_module": "ADetailer ControlNet module",
    "ad_controlnet_weight": "ADetailer ControlNet weight",
    "ad_controlnet_guidance_start": "ADetailer ControlNet guidance start",
    "ad_controlnet_guidance_end": "ADetailer ControlNet guidance end",
}
_SILENT_DEFAULTS: dict[str, Any] = {
    "ad_model_classes": "",
    "ad_prompt": "",
    "ad_negative_prompt": "",
    "ad_mask_min_ratio": 0.0,
    "ad_mask_max_ratio": 1.0,
    "ad_x_offset": 0,
    "ad_y_offset": 0,
    "ad_mask_merge_invert": "None",
    "ad_restore_face": False,
    "ad_controlnet_module": "None",
    "ad_controlnet_weight": 1.0,
    "ad_controlnet_guidance_start": 0.0,
    "ad_controlnet_guidance_end": 1.0,
}
_SWITCHED: dict[str, tuple[str, ...]] = {
    # A switch that is off takes what belongs to it out of the infotext, and out of the pixels.
    "ad_inpaint_only_masked": ("ad_inpaint_only_masked_padding",),
    "ad_use_inpaint_width_height": ("ad_inpaint_width", "ad_inpaint_height"),
    "ad_use_steps": ("ad_steps",),
    "ad_use_cfg_scale": ("ad_cfg_scale",),
    "ad_use_checkpoint": ("ad_checkpoint",),
    "ad_use_vae": ("ad_vae",),
    "ad_use_sampler": ("ad_sampler", "ad_scheduler"),
    "ad_use_noise_multiplier": ("ad_noise_multiplier",),
    "ad_use_clip_skip": ("ad_clip_skip",),
}
_OFF_AT: dict[str, tuple[Any, tuple[str, ...]]] = {
    "ad_mask_k": (0, ("ad_mask_filter_method",)),
    "ad_controlnet_model": (
        "None",
        (
            "ad_controlnet_module",
            "ad_controlnet_weight",
            "ad_controlnet_guidance_start",
            "ad_controlnet_guidance_end",
        ),
    ),
}


def _ordinal(number: int) -> str:
    return f"{number}{ {2: 'nd', 3: 'rd'}.get(number, 'th') }"


@cache
def _default_units(first_model: str, count: int) -> tuple[dict[str, Any], ...]:
    """What stands in the slots that a request leaves out: the UI's defaults, the first with a model."""
    shown = next(item for item in recorded("a1111_script_info") if item["name"] == "adetailer")
    base = dict(shown["args"][2]["value"])
    return tuple({**base, "ad_model": first_model if number == 0 else "None"} for number in range(count))


def arguments(given: list[Any], first_model: str, slots: int) -> list[Any]:
    """The script's arguments: those of the request over the defaults of all slots."""
    everything: list[Any] = [False, False, *_default_units(first_model, slots)]
    everything[: len(given)] = given[: len(everything)]
    return everything


class Detailer:
    """What ADetailer does in one request.

    Attributes:
        units: the units that validate, idle ones included: their position decides the "2nd" of their keys.
        active: whether anything runs.
        skip_img2img: the second argument, where it is a boolean.
    """

    def __init__(self, args: list[Any]) -> None:
        dictionaries = [item for item in args if isinstance(item, dict)]
        self.units = [unit for unit in map(_parse, dictionaries) if unit is not None]
        enabled = args[0] if args and isinstance(args[0], bool) else True
        self.active = enabled and any(not unit.is_idle for unit in self.units)
        self.skip_img2img = self.active and len(args) >= 2 and args[1] is True

    def infotext(self) -> dict[str, Any]:
        """The keys of the infotext: also for a model that does not exist, also where nothing was found."""
        keys: dict[str, Any] = {}
        for number, unit in enumerate(self.units, start=1):
            suffix = "" if number == 1 else f" {_ordinal(number)}"
            keys |= {label + suffix: value for label, value in _labelled(unit).items()}
        return {**keys, "ADetailer version": VERSION}

    def working(self, known: tuple[str, ...]) -> list[Unit]:
        """The units that change the picture: those with a model that exists."""
        return [unit for unit in self.units if not unit.is_idle and unit.ad_model in known]


def _parse(item: Mapping[str, Any]) -> Unit | None:
    try:
        return Unit.model_validate(item)
    except ValidationError:
        return None


def effective(unit: Unit) -> dict[str, Any]:
    """The arguments that matter for the picture: what is switched off is left out."""
    values = unit.model_dump()
    for switch, belongings in _SWITCHED.items():
        if not values[switch]:
            for name in (switch, *belongings):
                values.pop(name, None)
    for name, (off, belongings) in _OFF_AT.items():
        if values.get(name) == off:
            for gone in (name, *belongings):
                values.pop(gone, None)
    return values


def _labelled(unit: Unit) -> dict[str, Any]:
    if unit.is_idle:
        return {}
    values = effective(unit)
    return {
        label: values[name]
        for name, label in _LABELS.items()
        if name in values and not (name in _SILENT_DEFAULTS and values[name] == _SILENT_DEFAULTS[name])
    }
