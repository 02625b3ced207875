"""What StableNew keeps beside a text pack, in a `.json` of the same stem: a copy of its config, and a matrix.

{"txt2img": {...}, "pipeline": {"upscale_enabled": true, ...}, "randomization": {"matrix": {...}}, ...}
{"pack_data": {"matrix": {...}, ...}, "preset_data": {"txt2img": {...}, ...}}

Both shapes occur. Keys are those that packs of that program have; what has no counterpart here is in a
warning.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from stableflows.config.adetailer import ADetailerUnit
from stableflows.config.flat import STAGES, Path, set_in
from stableflows.config.layers import Layer, explain
from stableflows.errors import InputError, InvalidInputs, Where
from stableflows.packs.columns import stage_prompt_faults
from stableflows.packs.document import Document, FieldPath, read_document
from stableflows.packs.fields import gather
from stableflows.packs.model import Remark
from stableflows.prompts.model import Matrix

__all__ = ["Companion", "companion_of", "is_companion"]

MARKS = {*STAGES, "pipeline", "matrix", "randomization", "pack_data", "preset_data"}
"""A file with one of these keys at its top, and neither packs nor entries, is a companion."""

NOTHING: tuple[Any, ...] = (
    None,
    "",
    "None",
    "none",
    "Use base model",
    "Use same upscaler",
    "Use same sampler",
    [],
    {},
)
"""Values that say that nothing was chosen."""

GENERATION = {
    "steps": ("steps",),
    "cfg_scale": ("cfg_scale",),
    "sampler_name": ("sampler",),
    "scheduler": ("scheduler",),
    "seed": ("seed",),
    "clip_skip": ("clip_skip",),
    "model_name": ("checkpoint",),
    "model": ("checkpoint",),
    "vae_name": ("vae",),
    "vae": ("vae",),
    "subseed": ("subseed",),
    "subseed_strength": ("subseed_strength",),
    "tiling": ("tiling",),
}

COUNTERPARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "txt2img": {
        **GENERATION,
        "width": ("width",),
        "height": ("height",),
        "batch_size": ("batch_size",),
        "face_restoration_enabled": ("restore_faces",),
        "enable_hr": ("hires", "enabled"),
        "hr_scale": ("hires", "scale"),
        "hr_upscaler": ("hires", "upscaler"),
        "hr_second_pass_steps": ("hires", "steps"),
        "hires_steps": ("hires", "steps"),
        "hr_sampler_name": ("hires", "sampler"),
        "hr_checkpoint_name": ("hires", "checkpoint"),
        "denoising_strength": ("hires", "denoising_strength"),
        "use_refiner": ("refiner", "enabled"),
        "refiner_checkpoint": ("refiner", "checkpoint"),
        "refiner_model_name": ("refiner", "checkpoint"),
        "refiner_switch_at": ("refiner", "switch_at"),
    },
    "img2img": {**GENERATION, "denoising_strength": ("denoising_strength",)},
    "upscale": {
        "upscaler": ("upscaler",),
        "upscaling_resize": ("factor",),
        "tile_size": ("tile_size",),
        "gfpgan_visibility": ("gfpgan_visibility",),
        "codeformer_visibility": ("codeformer_visibility",),
        "codeformer_weight": ("codeformer_weight",),
    },
    "adetailer": {
        **{name: (name,) for name in ADetailerUnit.model_fields},
        "adetailer_model": ("ad_model",),
        "adetailer_confidence": ("ad_confidence",),
        "adetailer_steps": ("ad_steps",),
        "adetailer_cfg": ("ad_cfg_scale",),
        "adetailer_sampler": ("ad_sampler",),
        "adetailer_denoise": ("ad_denoising_strength",),
        "adetailer_prompt": ("ad_prompt",),
        "adetailer_negative_prompt": ("ad_negative_prompt",),
        "adetailer_enabled": ("enabled",),
    },
}
"""A key of one of its stages, and the setting of ours. Where two keys are one setting, the first of the file
that says something counts."""

PIPELINE: dict[str, tuple[str, ...]] = {
    **{f"{stage}_enabled": (stage, "enabled") for stage in STAGES},
    "images_per_prompt": ("count",),
}

IDLE_THERE = {f"upscale.{key}" for key in ("steps", "sampler_name", "scheduler", "denoising_strength")}
"""What has no effect there either: its upscale is that of extras, which mode it calls single."""

WITHOUT_COUNTERPART_SHOWN = 6


@dataclass(frozen=True)
class Companion:
    """What a companion says.

    Attributes:
        layer: its config; None if it has none.
        matrix: its slots, and its search and replace rules; both empty if it has none, or they are off.
    """

    layer: Layer | None
    matrix: Matrix
    remarks: tuple[Remark, ...]


def is_companion(document: Document) -> bool:
    """Whether a JSON file is one of StableNew's."""
    return bool(MARKS & set(document.data)) and not {"packs", "entries"} & set(document.data)


def companion_of(pack: FilePath) -> Companion | None:
    """What the `.json` beside a text pack says; None if there is none, or it is something else.

    Raises:
        InputError: it cannot be read: its settings would be missing without a word.
    """
    file = pack.with_suffix(".json")
    if not file.is_file():
        return None
    document = read_document(file)
    return _read(document) if is_companion(document) else None


def _read(document: Document) -> Companion:
    at: FieldPath = ("preset_data",) if isinstance(document.data.get("preset_data"), dict) else ()
    values: dict[str, Any] = {}
    lines: dict[FieldPath, int] = {}
    without: list[str] = []
    errors: list[InputError] = []
    for section in (*STAGES, "pipeline"):
        for key, value in _mapping(document, (*at, section)).items():
            path: Path | None = PIPELINE.get(key) if section == "pipeline" else _counterpart(section, key)
            if path is None:
                if value not in (*NOTHING, 0, False, "single") and f"{section}.{key}" not in IDLE_THERE:
                    without.append(f"{section}.{key}")
            elif value not in NOTHING and path not in lines:
                errors += stage_prompt_faults(path, value, document.where(*at, section, key))
                set_in(values, path, value)
                lines[*path] = document.where(*at, section, key).line or 1
    if errors:
        raise gather(errors)
    _leave_out_what_is_off(values)
    for key in ("base_prompt", "wildcards"):
        without += [f"randomization.{key}"] * _is_used(document, at, key)
    layer = Layer(values, file=document.file, lines=lines) if values else None
    return Companion(layer, _matrix(document, at), _remarks(document, without))


def _counterpart(section: str, key: str) -> Path | None:
    path = COUNTERPARTS[section].get(key)
    return (section, *path) if path else None


def _leave_out_what_is_off(values: dict[str, Any]) -> None:
    """A full copy also says what nobody chose; of that, what would be refused here."""
    upscale = values.get("upscale", {})
    if not upscale.get("codeformer_visibility"):
        upscale.pop("codeformer_weight", None)
    refiner = values.get("txt2img", {}).get("refiner")
    if refiner is not None:
        refiner.setdefault("enabled", "checkpoint" in refiner)
        if not refiner["enabled"]:
            del values["txt2img"]["refiner"]
    adetailer = values.get("adetailer", {})
    for name in ("ad_mask_filter_method", "ad_mask_merge_invert"):
        # StableNew has words of its own there, which the extension does not know.
        if adetailer.get(name) not in ("Area", "Confidence", "Merge", "Merge and Invert"):
            adetailer.pop(name, None)


def _matrix(document: Document, at: FieldPath) -> Matrix:
    """The first matrix that is on, and the rules of search and replace if they are.

    Raises:
        InvalidInputs: it cannot be read so.
    """
    drawing = _mapping(document, (*at, "randomization"))
    found: dict[str, Any] = {}
    origin: FieldPath = ()
    for place in (("pack_data", "matrix"), ("matrix",), (*at, "randomization", "matrix")):
        matrix = _mapping(document, place)
        is_on = matrix.get("enabled", True) and (drawing.get("enabled", True) or "randomization" not in place)
        if is_on and matrix.get("slots"):
            found = {key: matrix[key] for key in ("mode", "slots") if key in matrix}
            found["limit"] = matrix.get("limit") or None
            origin = place
            break
    rules = _mapping(document, (*at, "randomization", "prompt_sr"))
    if drawing.get("enabled", True) and rules.get("enabled") and isinstance(rules.get("raw_text"), str):
        lines = [line.strip() for line in rules["raw_text"].splitlines()]
        found["replace"] = [line for line in lines if line and not line.startswith("#")]
    try:
        return Matrix.model_validate(found)
    except ValidationError as error:
        layer = Layer({}, file=document.file, lines=document.lines, prefix=origin)
        raise InvalidInputs(explain(error, Matrix, layer=layer)) from None


def _is_used(document: Document, at: FieldPath, key: str) -> bool:
    """Whether a part of the drawing that is not read here is on."""
    drawing = _mapping(document, (*at, "randomization"))
    if not drawing.get("enabled", True):
        return False
    if key == "wildcards":
        wildcards = _mapping(document, (*at, "randomization", "wildcards"))
        return bool(wildcards.get("enabled") and wildcards.get("tokens"))
    matrix = _mapping(document, (*at, "randomization", "matrix"))
    return bool(matrix.get("enabled", True) and matrix.get(key))


def _mapping(document: Document, path: FieldPath) -> dict[str, Any]:
    """The mapping at `path`; empty if there is none."""
    value: Any = document.data
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError("must be a mapping.", where=document.where(*path))
    return value


def _remarks(document: Document, without: list[str]) -> tuple[Remark, ...]:
    if not without:
        return ()
    more = ", ..." if len(without) > WITHOUT_COUNTERPART_SHOWN else ""
    named = ", ".join(without[:WITHOUT_COUNTERPART_SHOWN])
    message = f"{len(without)} settings have no counterpart here: {named}{more}"
    return (Remark(message, "no-effect", Where(document.file)),)
