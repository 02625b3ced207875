"""Settings in one word: the columns of a table, and the keys of an entry that is one of a list.

A name is a field of the pipeline config, dotted (`txt2img.steps`, `upscale.factor`), one of its flat
spellings (`hires_scale_factor`), or a field of txt2img without that word (`steps`, `hires.scale`). Case,
blanks and hyphens do not count: `CFG Scale` is `cfg_scale`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from stableflows.config import PipelineConfig
from stableflows.config.adetailer import ADetailerUnit
from stableflows.config.base import PROMPT_FIELDS
from stableflows.config.flat import FLAT, IN_STAGE, SECTIONS, STAGES, Path, set_in
from stableflows.config.layers import Layer
from stableflows.errors import InputError, Where
from stableflows.packs.fields import input_files, label
from stableflows.packs.model import PackEntry
from stableflows.packs.prompts import faults

__all__ = ["ENTRY_FIELDS", "Cell", "column", "entry_of", "known_columns", "stage_prompt_faults", "typed"]

ENTRY_FIELDS = {
    "prompt": "prompt",
    "positive": "prompt",
    "positive_prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "negative": "negative_prompt",
    "neg": "negative_prompt",
    "name": "name",
    "inputs": "inputs",
    "input": "inputs",
    "styles": "styles",
}
"""What an entry has beside its settings, under the names that people give it."""

Cell = tuple[Path, Any]
"""Where a value belongs, and the value."""

MASK = ("img2img", "mask")

TRUE, FALSE = ("true", "yes", "on"), ("false", "no", "off")


def column(name: str, where: Where) -> Path:
    """Where the values under `name` belong: ("prompt",), ("txt2img", "steps"), ...

    Raises:
        InputError: there is no such setting; the nearest names are told.
    """
    plain = re.sub(r"[\s-]+", "_", name.strip().casefold())
    if plain in ENTRY_FIELDS:
        return (ENTRY_FIELDS[plain],)
    found = _columns().get(plain)
    if found is None:
        raise InputError(f"there is no setting {name!r}.", where=where, allowed=known_columns(), value=plain)
    return found


def known_columns() -> list[str]:
    """Every name that `column` knows."""
    return [*ENTRY_FIELDS, *_columns()]


def typed(text: str, path: Path) -> Any:
    """A cell's text as its setting has it: a number, true or false, JSON for a list or a mapping.

    What cannot be read so stays text, and is refused with its place when the layers are merged.
    """
    types = _leaves()[path]
    reads: list[Callable[[str], Any]] = [each for each in (int, float) if each in types]
    if types & {tuple, dict}:
        if not text.startswith(("[", "{")):
            return [text] if tuple in types else text
        reads = [json.loads]
    elif str in types:
        return text
    elif bool in types and text.casefold() in (*TRUE, *FALSE):
        return text.casefold() in TRUE
    for read in reads:
        try:
            return read(text)
        except (ValueError, RecursionError):
            continue
    return text


def entry_of(
    cells: list[Cell],
    *,
    where: Where,
    lines: Mapping[tuple[str | int, ...], int],
    prefix: tuple[str | int, ...] = (),
    errors: list[InputError],
) -> PackEntry:
    """The entry that these values make.

    Args:
        where: the place of the entry; its file is what relative paths start from.
        lines: of each setting, for messages.
        errors: what is wrong with prompts, name and inputs is added.
    """
    assert where.file is not None  # noqa: S101 (what calls this reads a file)

    def at(field: str) -> Where:
        return Where(where.file, where.line, field)

    own = {path[0]: value for path, value in cells if path[0] in ENTRY_FIELDS.values()}
    settings: dict[str, Any] = {}
    for path, value in cells:
        if path[0] in own:
            continue
        errors += stage_prompt_faults(path, value, at(".".join(path)))
        if path == MASK:
            # A setting has no folder of its own once it is in a job.
            masks = input_files([value], where.file.parent, at("img2img.mask"), errors)
            set_in(settings, path, str(masks[0]) if masks else value)
        else:
            set_in(settings, path, value)

    prompts = {}
    for field in ("prompt", "negative_prompt"):
        prompts[field] = own.get(field, "").strip()
        errors += faults(prompts[field], at(field))
    try:
        name = label(own["name"]) if own.get("name") else None
    except ValueError as error:
        name = None
        errors.append(InputError(f"{error}.", where=at("name")))
    names = _several(own.get("inputs", ""))
    if not prompts["prompt"] and not names:
        errors.append(InputError("has neither a prompt nor inputs.", where=where))
    return PackEntry(
        **prompts,
        name=name,
        layers=(Layer(settings, file=where.file, lines=lines, prefix=prefix),) if settings else (),
        inputs=input_files(names, where.file.parent, at("inputs"), errors),
        where=where,
        styles=tuple(_several(own.get("styles", ""))),
    )


def stage_prompt_faults(path: Path, value: Any, where: Where) -> list[InputError]:
    """What is wrong with a stage's own prompt; nothing, if the setting at `path` is none."""
    if path[-1] not in PROMPT_FIELDS or not isinstance(value, str):
        return []
    return list(faults(value, where))


def _several(text: str) -> list[str]:
    """The names in a cell, which semicolons part."""
    return [part.strip() for part in text.split(";") if part.strip()]


@cache
def _columns() -> dict[str, Path]:
    """Every name of a setting and where it belongs; the first that has a name keeps it."""
    leaves = _leaves()
    found: dict[str, Path] = {path[0]: path for path in leaves if len(path) == 1}
    found |= {flat: path for flat, path in FLAT.items() if path not in SECTIONS}
    found |= {".".join(path[1:]): path for path in leaves if len(path) == 3}
    found |= {".".join(path): path for path in leaves}
    for stage in STAGES:
        found |= {
            f"{stage}.{flat}": (stage, *rest) for flat, rest in IN_STAGE.items() if (stage, *rest) in leaves
        }
    bare: dict[str, Path] = {path[1]: path for path in leaves if path[:1] == ("txt2img",) and len(path) == 2}
    bare |= {flat: ("txt2img", *rest) for flat, rest in IN_STAGE.items() if ("txt2img", *rest) in leaves}
    bare |= {path[1]: path for path in leaves if path[0] == "adetailer" and path[1].startswith("ad_")}
    for known in ("enabled", *ENTRY_FIELDS):
        bare.pop(known, None)
    return {**bare, **found}


@cache
def _leaves() -> dict[Path, frozenset[Any]]:
    """Every setting and the types that it may have."""
    # A unit of ADetailer may stand alone in its stage.
    return dict([*_walk(PipelineConfig, ()), *_walk(ADetailerUnit, ("adetailer",))])


def _walk(model: type[BaseModel], at: Path) -> list[tuple[Path, frozenset[Any]]]:
    found: dict[Path, frozenset[Any]] = {}
    for name, field in model.model_fields.items():
        path = (*at, name)
        parts = _parts(field.annotation)
        if path not in SECTIONS:
            found[path] = found.get(path, frozenset()) | {_kind(part) for part in parts}
            continue
        for part in parts:
            if isinstance(part, type) and issubclass(part, BaseModel):
                for inner, kinds in _walk(part, path):
                    found[inner] = found.get(inner, frozenset()) | kinds
    return list(found.items())


def _kind(part: Any) -> Any:
    """What a part of an annotation takes; a value of a Literal takes its like."""
    return type(part) if isinstance(part, str | int) else get_origin(part) or part


def _parts(annotation: Any) -> list[Any]:
    return [annotation, *(part for inner in get_args(annotation) for part in _parts(inner))]
