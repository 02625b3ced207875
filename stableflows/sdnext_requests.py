"""Requests in SD.Next's terms, from those of AUTOMATIC1111. What has no counterpart there is refused at
preflight (`stableflows.sdnext_faults`), so that nothing is dropped or done differently without a word.

Facts: SD.Next's source, see `stableflows.webui.sdnext`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stableflows.webui.kinds import NameKind
from stableflows.webui.models import WebUIRequest
from stableflows.webui.names import ServerNames
from stableflows.webui.sdnext import DETAIL, SCHEDULES, own_name, sigma_of

__all__ = ["DETAILER_FIELDS", "Spoken", "detailer_settings", "in_sdnext", "units_of"]

MOST_FOUND = 30
"""ADetailer repaints all that it finds; SD.Next at most so many a model (its own default is 2)."""

DETAILER_FIELDS: Mapping[str, tuple[str, Any]] = {
    "ad_confidence": ("detailer_conf", 0.3),
    "ad_denoising_strength": ("detailer_strength", 0.4),
    "ad_mask_blur": ("detailer_blur", 4),
    "ad_inpaint_only_masked_padding": ("detailer_padding", 32),
    "ad_steps": ("detailer_steps", None),
    "ad_cfg_scale": ("detailer_cfg_scale", None),
}
"""An argument of ADetailer, SD.Next's field for the same, and ADetailer's default, which is sent, so that a
pack means the same on both. None: as the stage says."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A request as a server of some family needs it.

    Attributes:
        options: options of the server to set before it, for what the request itself cannot say.
    """

    request: WebUIRequest
    options: Mapping[str, Any]


def in_sdnext(request: WebUIRequest, names: ServerNames) -> Spoken:
    """`request` in SD.Next's terms.

    Args:
        names: what this server has, for what it calls them.
    """
    body = dict(request.body)
    if request.path.endswith("/extra-single-image"):
        for field in ("upscaler_1", "upscaler_2"):
            _rename(body, field, NameKind.UPSCALER, names)
        return Spoken(_with(request, body), {})
    _split_sampler(body)
    units = units_of(body)
    if units:
        return _detail(request, body, units, names)
    overrides = dict(body.get("override_settings") or {})
    # Sent always: an override stays, and must not decide how the next request looks.
    overrides["schedulers_sigma"] = sigma_of(body.pop("scheduler", None) or "Automatic")
    if "CLIP_stop_at_last_layers" in overrides:
        body["clip_skip"] = overrides.pop("CLIP_stop_at_last_layers")
    body["override_settings"] = overrides
    options: dict[str, Any] = {}
    if request.path.endswith("/txt2img"):
        _hires(body, names)
        options = _refiner(body)
    else:
        _img2img(body, names)
    return Spoken(_with(request, body), options)


def _with(request: WebUIRequest, body: Mapping[str, Any]) -> WebUIRequest:
    return WebUIRequest(request.path, body, request.n_images, request.size)


def _rename(body: dict[str, Any], field: str, kind: NameKind, names: ServerNames) -> None:
    if body.get(field):
        body[field] = own_name(kind, body[field], names.existing(kind))


def _split_sampler(body: dict[str, Any]) -> None:
    """ "DPM++ 2M Karras" is a sampler and a schedule; SD.Next has no sampler of that name."""
    name = str(body.get("sampler_name") or "")
    for schedule in SCHEDULES:
        if name.casefold().endswith(f" {schedule.label}".casefold()):
            body["sampler_name"] = name[: -len(schedule.label) - 1]
            body["scheduler"] = schedule.label


def _hires(body: dict[str, Any], names: ServerNames) -> None:
    """`hr_resize_mode` 0, its default, would leave the size as it is; without `hr_force` only a latent
    upscaler is followed by sampling. The second pass has its own strength."""
    if not body.get("enable_hr"):
        return
    _rename(body, "hr_upscaler", NameKind.HIRES_UPSCALER, names)
    body |= {"hr_resize_mode": 1, "hr_force": True}
    body["hr_denoising_strength"] = body.get("denoising_strength", 0.7)
    for field, own in (("hr_prompt", "refiner_prompt"), ("hr_negative_prompt", "refiner_negative")):
        if body.get(field):
            body[own] = body.pop(field)


def _refiner(body: dict[str, Any]) -> dict[str, Any]:
    """The refiner is an option of the server, loaded when it is set; `enable_hr` lets it take part.

    `refiner_checkpoint` stays in the body: SD.Next ignores it, verification reads it.
    """
    name = body.get("refiner_checkpoint")
    if not name:
        return {}
    start = body.get("refiner_switch_at", 0.8)
    body |= {
        "enable_hr": True,
        "hr_upscaler": "None",
        "hr_resize_mode": 0,
        "refiner_start": start,
        # It runs about half of them: what is left of the stage's steps.
        "refiner_steps": max(1, round(2 * body.get("steps", 20) * (1 - start))),
    }
    return {"sd_model_refiner": name}


def _img2img(body: dict[str, Any], names: ServerNames) -> None:
    """Its resize modes begin with "None", which keeps the input's size; AUTOMATIC1111's with stretching."""
    body["resize_mode"] = body.get("resize_mode", 0) + 1
    if body.get("mask"):
        body.setdefault("inpaint_full_res", True)
    if arguments := body.get("script_args"):
        script = list(arguments)
        script[2] = own_name(NameKind.UPSCALER, script[2], names.existing(NameKind.UPSCALER))
        body["script_args"] = script


def units_of(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The ADetailer units of a body that are switched on."""
    arguments = (body.get("alwayson_scripts") or {}).get("ADetailer", {}).get("args", ())
    return [unit for unit in arguments if isinstance(unit, Mapping) and unit.get("ad_tab_enable", True)]


def detailer_settings(unit: Mapping[str, Any]) -> dict[str, Any]:
    """All of a unit but its model, in SD.Next's fields: what its models have in common."""
    settings = {own: unit.get(argument, default) for argument, (own, default) in DETAILER_FIELDS.items()}
    settings["detailer_prompt"] = unit.get("ad_prompt") or ""
    settings["detailer_negative"] = unit.get("ad_negative_prompt") or ""
    settings["detailer_merge"] = unit.get("ad_mask_merge_invert") == "Merge"
    settings["detailer_resolution"] = unit.get("ad_inpaint_width")
    return settings


def _detail(
    request: WebUIRequest, body: Mapping[str, Any], units: Sequence[Mapping[str, Any]], names: ServerNames
) -> Spoken:
    """All units as one call of its detailer: their settings are the same, which preflight saw to.

    Checkpoint, VAE and schedule are those of the server then, so that they are set before.
    """
    settings = detailer_settings(units[0])
    defaults = {
        "detailer_steps": body.get("steps"),
        "detailer_cfg_scale": body.get("cfg_scale"),
        # It renders a square; ADetailer what it found in the size of the image.
        "detailer_resolution": max(body.get("width", 512), body.get("height", 512)),
    }
    settings |= {field: value for field, value in defaults.items() if settings[field] is None}
    for field, own in (("detailer_prompt", "prompt"), ("detailer_negative", "negative_prompt")):
        settings[field] = _one_line(settings[field], str(body.get(own) or ""))
    detectors = names.existing(NameKind.AD_MODEL)
    detail = {
        "image": body["init_images"][0],
        "seed": body.get("seed", -1),
        "detailer_models": [own_name(NameKind.AD_MODEL, str(unit["ad_model"]), detectors) for unit in units],
        "detailer_sampler": body.get("sampler_name"),
        "detailer_classes": "",
        "detailer_max": MOST_FOUND,
        "detailer_min_size": 0.0,
        "detailer_max_size": 1.0,
        "detailer_segmentation": True,  # ADetailer takes a model's own outline where it has one
        "detailer_sort": False,
        "detailer_include_detections": False,
        **settings,
    }
    overrides = body.get("override_settings") or {}
    options = {name: overrides[name] for name in ("sd_model_checkpoint", "sd_vae") if name in overrides}
    options["schedulers_sigma"] = sigma_of(body.get("scheduler") or "Automatic")
    if names.options.get("detailer_args"):  # would win over the models of the request
        options["detailer_args"] = ""
    given = {field: value for field, value in detail.items() if value is not None}
    return Spoken(WebUIRequest(DETAIL, given, request.n_images), options)


def _one_line(text: str, whole: str) -> str:
    """A prompt for the detailer, which takes each line for another of the things that it found."""
    return " ".join((text.replace("[PROMPT]", whole) if text else whole).split())
