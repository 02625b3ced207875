"""What SD.Next has no counterpart for: refused before anything is rendered, not dropped in silence."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from stableflows.config import ADetailerConfig, ExtrasUpscale, GenerationConfig, Img2ImgConfig, Txt2ImgConfig
from stableflows.config.adetailer import TOGGLES, ADetailerUnit
from stableflows.config.base import request_fields
from stableflows.sdnext_requests import DETAILER_FIELDS, detailer_settings
from stableflows.stages import StageExecution
from stableflows.webui.names import ServerNames
from stableflows.webui.sdnext import sigma_of

__all__ = ["schedule_faults", "sdnext_faults"]

Fault = tuple[str, str]

NEUTRAL = {
    "ad_tab_enable": (True, False),
    "ad_mask_filter_method": ("Area", "Confidence"),
    "ad_mask_k": (0,),
    "ad_mask_min_ratio": (0,),
    "ad_mask_max_ratio": (1,),
    "ad_dilate_erode": (0,),
    "ad_x_offset": (0,),
    "ad_y_offset": (0,),
    "ad_mask_merge_invert": ("None", "Merge"),
    "ad_inpaint_only_masked": (True,),
    "ad_restore_face": (False,),
    "ad_controlnet_model": ("None",),
    "ad_noise_multiplier": (1,),
    "ad_clip_skip": (1,),
}
"""Arguments of ADetailer that SD.Next lacks, and the values at which they ask for nothing that it would not
do; of `ad_mask_merge_invert` the ones that it has."""

TAKEN = {
    *DETAILER_FIELDS,
    *TOGGLES,
    "ad_model",
    "ad_prompt",
    "ad_negative_prompt",
    "ad_inpaint_width",
    "ad_inpaint_height",
}

OF_SAMPLING = ("restore_faces", "s_min_uncond", "s_churn", "s_tmin", "s_tmax", "s_noise")
OF_IMG2IMG = ("image_cfg_scale", "mask_blur_x", "mask_blur_y", "mask_round")
OF_HIRES = ("checkpoint", "scheduler")
OF_EXTRAS = ("gfpgan_visibility", "codeformer_visibility", "upscale_first")
OF_DETAILER = ("styles", "tiling", "eta", "subseed_strength", "seed_resize_from_w", "seed_resize_from_h")
"""Fields of ours that its API does not have."""


def sdnext_faults(stage: StageExecution) -> Iterator[Fault]:
    """(field, what is wrong) for everything of a stage that SD.Next cannot do as asked."""
    config, key = stage.config, stage.config_key
    if isinstance(config, GenerationConfig):
        yield from _lacking(config, OF_SAMPLING, key)
    if isinstance(config, Txt2ImgConfig):
        if config.hires.enabled:
            yield from _lacking(config.hires, OF_HIRES, f"{key}.hires")
        if config.hires.enabled and config.refiner.enabled:
            yield f"{key}.refiner", "SD.Next's refiner works on what the hires pass made; use one of the two."
    elif isinstance(config, Img2ImgConfig):
        yield from _lacking(config, OF_IMG2IMG, key)
        if config.resize_mode == 3:
            yield f"{key}.resize_mode", "SD.Next has no latent upscale there; use 0, 1 or 2."
        if config.inpainting_fill not in (None, 1):
            yield f"{key}.inpainting_fill", "SD.Next always starts from the original; use 1."
    elif isinstance(config, ExtrasUpscale):
        yield from _lacking(config, OF_EXTRAS, key)
    elif isinstance(config, ADetailerConfig):
        yield from _detailer(config, key)


def _lacking(config: object, fields: tuple[str, ...], place: str) -> Iterator[Fault]:
    for field in fields:
        if getattr(config, field):
            yield f"{place}.{field}", "SD.Next's API does not have it and would leave it out silently."


def _detailer(config: ADetailerConfig, key: str) -> Iterator[Fault]:
    """ADetailer there is SD.Next's own detailer, which takes less, and once for all its models."""
    yield from _lacking(config, OF_DETAILER, key)
    if config.clip_skip not in (None, 1):
        yield f"{key}.clip_skip", "SD.Next's detailer has no clip skip; set it to 1 for this stage."
    for field in ("override_settings", "alwayson_scripts"):
        if getattr(config, field):
            yield f"{key}.{field}", "SD.Next's detailer takes none."
    units = [
        (f"{key}.units.{number}", unit)
        for number, unit in enumerate(config.units)
        if unit.ad_tab_enable is not False
    ]
    if not units:
        yield f"{key}.units", "all units are switched off."
    for place, unit in units:
        for argument, message in _unit(unit):
            yield f"{place}.{argument}", f"unit {int(place.rpartition('.')[2]) + 1}, {argument}: {message}"
    for (_, one), (place, other) in pairwise(units):
        yield from _differing(one, other, place)


def _unit(unit: ADetailerUnit) -> Iterator[Fault]:
    """(argument, what is wrong)."""
    given = request_fields(unit)
    for argument, value in given.items():
        if argument not in TAKEN and value not in NEUTRAL.get(argument, ()):
            yield argument, f"SD.Next's own detailer has nothing like {value!r} here; leave it out."
    if unit.ad_model == "None":
        yield "ad_model", "SD.Next's detailer needs a model; leave the unit out."
    if unit.ad_inpaint_width != unit.ad_inpaint_height:
        yield "ad_inpaint_width", "SD.Next's detailer renders squares; give ad_inpaint_height the same value."
    for argument in ("ad_prompt", "ad_negative_prompt"):
        for word in ("[SEP]", "[SKIP]"):
            if word in given.get(argument, ""):
                yield argument, f"SD.Next's detailer does not know {word}."


def _differing(one: ADetailerUnit, other: ADetailerUnit, place: str) -> Iterator[Fault]:
    first, second = detailer_settings(request_fields(one)), detailer_settings(request_fields(other))
    differing = [
        f"{field.removeprefix('detailer_')} ({first[field]!r} and {second[field]!r})"
        for field in first
        if first[field] != second[field]
    ]
    if differing:
        message = "SD.Next's detailer takes one set of settings for all its models, and the units differ in"
        yield place, f"{message} {', '.join(differing)}. Give them the same."


def schedule_faults(stage: StageExecution, names: ServerNames) -> Iterator[Fault]:
    """A schedule that the sampler does not take: SD.Next says which each one does, and ignores the rest."""
    config = stage.generation
    choice = names.sampler(config.sampler) if config and config.sampler else None
    if config is None or choice is None:
        return
    asked = choice.scheduler.name if choice.scheduler else config.scheduler
    known = names.scheduler(asked) if asked else None
    if known is None or (sigma := sigma_of(known.name)) == "default":
        return
    if f"use_{sigma}_sigmas" not in choice.sampler.options:
        message = f"SD.Next's sampler {choice.sampler.name!r} takes no schedule {asked!r}; leave it open."
        yield f"{stage.config_key}.scheduler", message
