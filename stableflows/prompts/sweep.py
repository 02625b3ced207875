"""Sweeps: config fields over lists of values, zipped within a group, the product between groups."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from pydantic import JsonValue, ValidationError

from stableflows.config.flat import nested, set_in
from stableflows.config.layers import Layer, explain
from stableflows.errors import InputError, InvalidInputs, Where
from stableflows.packs.document import read_value
from stableflows.prompts.model import Sweep

__all__ = ["STYLES", "Point", "as_settings", "parse_sweeps", "points", "together"]

STYLES = "styles"
"""The one axis that is no config field: names of the pack's styles."""

Point = tuple[dict[str, JsonValue], ...]
"""One combination: of each axis its fields and their values."""

_COSTLY = ("checkpoint", "vae")
"""Changing them takes seconds: they change least often, the first least of all."""


def together(sweeps: Sequence[Sweep], where: Where) -> Sweep:
    """Several sweeps as one, costly axes first.

    Raises:
        InputError: a field is swept twice.
    """
    groups = [group for sweep in sweeps for group in sweep.groups]
    try:
        return Sweep(groups=tuple(sorted(groups, key=_cost)))
    except ValidationError as error:
        raise InvalidInputs(explain(error, Sweep, layer=Layer({}, "sweep"))) from None


def _cost(group: Mapping[str, object]) -> int:
    """Its place among others: lower is further out."""
    last = {path[-1] for path in map(path_of, group)}
    return next((place for place, field in enumerate(_COSTLY) if field in last), len(_COSTLY))


def path_of(field: str) -> tuple[str, ...]:
    """Where a field belongs, by a dotted name in the nested or the flat form."""
    if field == STYLES:
        return (STYLES,)
    written: dict[str, Any] = {}
    set_in(written, tuple(field.split(".")), 0)
    _, origin = nested(written)
    return next(iter(origin), tuple(field.split(".")))


def size(sweep: Sweep) -> int:
    """Points of a sweep: 1, if nothing is swept."""
    return math.prod(len(next(iter(group.values()))) for group in sweep.groups)


def points(sweep: Sweep) -> Iterator[Point]:
    """Every combination; the first axis varies least often."""
    axes = [
        [dict(zip(group, values, strict=True)) for values in zip(*group.values(), strict=True)]
        for group in sweep.groups
    ]
    yield from product(*axes)


def as_settings(point: Point) -> dict[str, Any]:
    """What a point sets, in the nested form; whether there are such fields shows when it is merged."""
    settings: dict[str, Any] = {}
    for field, value in ((field, value) for axis in point for field, value in axis.items()):
        if field != STYLES:
            set_in(settings, path_of(field), value)
    return settings


def parse_sweeps(arguments: Sequence[str]) -> Sweep:
    """What a command line says: an axis an argument, `txt2img.steps=20,30`.

    Fields that move together are joined by `;`: `txt2img.steps=20,30; txt2img.cfg_scale=5,7`. A value with a
    comma in it stands in quotes, or all of them in a YAML list: `txt2img.steps=[20, 30]`.

    Raises:
        InputError: an argument is no axis.
    """
    groups = []
    for argument in arguments:
        group: dict[str, Any] = {}
        for part in argument.split(";"):
            field, equals, text = part.partition("=")
            where = Where(field="--sweep")
            if not equals or not field.strip() or not text.strip():
                raise InputError(
                    f"{part.strip()!r} is no axis; write FIELD=VALUE,VALUE, such as txt2img.steps=20,30.",
                    where=where,
                )
            text = text.strip()
            listed = read_value(text if text.startswith("[") else f"[{text}]", where=where)
            group[field.strip()] = listed if isinstance(listed, list) else text.split(",")
        groups.append(group)
    try:
        return Sweep.model_validate({"groups": groups})
    except ValidationError as error:
        raise InvalidInputs(explain(error, Sweep, layer=Layer({}, "--sweep"))) from None
