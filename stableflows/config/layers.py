"""Config layers: merged in one order, and traced back to where each setting was written.

    defaults < job < pack < entry < run config < command line

A layer holds only what differs. When the merged whole is refused, the message names the file, line and
field of the layer that the offending setting came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from stableflows.config.flat import Path as FieldPath
from stableflows.config.flat import nested, set_in
from stableflows.config.pipeline import PipelineConfig
from stableflows.errors import InputError, InvalidInputs, Where

__all__ = ["Layer", "explain", "merge", "merge_values", "written_at"]

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Layer:
    """Settings as somebody wrote them, and where.

    Attributes:
        values: nested or flat form.
        name: what to call the layer where there is no file, "--set" for instance.
        lines: 1-based line of each key, by its path as written.
        prefix: the path of `values` inside the file.
    """

    values: Mapping[str, Any]
    name: str = ""
    file: Path | None = None
    lines: Mapping[tuple[str | int, ...], int] = field(default_factory=dict)
    prefix: tuple[str | int, ...] = ()

    def where(self, written: tuple[str | int, ...]) -> Where:
        """The place of a setting; the nearest enclosing one whose line is known."""
        path = (*self.prefix, *written)
        line = next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), None)
        shown = ".".join(str(part) for part in (path if self.file else written))
        return Where(self.file, line, f"{self.name} {shown}".strip() if not self.file else shown)

    def with_values(self, values: Mapping[str, Any]) -> Layer:
        return replace(self, values=values)


def merge_values(layers: Sequence[Layer]) -> dict[str, Any]:
    """The layers as one diff in the nested form, not validated.

    Raises:
        InputError: a layer says one setting twice, differently.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        values, written = nested(layer.values, layer.where)
        for path in written:
            set_in(merged, path, _get(values, path))
    return merged


def written_at(layers: Sequence[Layer]) -> dict[str, Where]:
    """Where each setting was written, by its dotted field in the nested form; a later layer wins."""
    places: dict[str, Where] = {}
    for layer in layers:
        _, written = nested(layer.values, layer.where)
        places |= {".".join(path): layer.where(place) for path, place in written.items()}
    return places


def merge(layers: Sequence[Layer]) -> PipelineConfig:
    """The layers as one config; a later layer wins, setting by setting, a list as a whole.

    Raises:
        InvalidInputs: everything that is wrong, each with its file, line and field.
    """
    origin: dict[FieldPath, tuple[Layer, FieldPath]] = {}
    for layer in layers:
        _, written = nested(layer.values, layer.where)
        origin |= {path: (layer, place) for path, place in written.items()}
    try:
        return PipelineConfig.model_validate(merge_values(layers))
    except ValidationError as error:
        raise InvalidInputs(explain(error, PipelineConfig, origin)) from None


def _get(values: Mapping[str, Any], path: FieldPath) -> Any:
    for key in path:
        values = values[key]
    return values


def explain(
    error: ValidationError,
    model: type[BaseModel],
    origin: Mapping[FieldPath, tuple[Layer, FieldPath]] | None = None,
    layer: Layer | None = None,
) -> list[InputError]:
    """Each of pydantic's errors as one of ours, with its place, what is allowed and the nearest name."""
    found: list[dict[str, Any]] = [dict(one) for one in error.errors(include_url=False)]
    # A list whose items are wrong is also reported as too short.
    inner = {one["loc"][:n] for one in found for n in range(len(one["loc"]))}
    return [
        _explain_one(one, model, origin or {}, layer)
        for one in found
        if not (one["type"] == "too_short" and one["loc"] in inner)
    ]


def _explain_one(
    one: dict[str, Any],
    model: type[BaseModel],
    origin: Mapping[FieldPath, tuple[Layer, FieldPath]],
    layer: Layer | None,
) -> InputError:
    loc, siblings = _walk(model, one["loc"])
    where = _where(loc, origin, layer)
    if one["type"] == "extra_forbidden":
        return InputError(
            f"there is no setting {loc[-1]!r} here.", where=where, allowed=siblings, value=str(loc[-1])
        )
    if one["type"] == "literal_error":
        allowed = one["ctx"]["expected"]
        return InputError(f"is {one['input']!r}; allowed: {allowed}.", where=where)
    if one["type"] == "missing":
        return InputError("is missing.", where=where)
    if one["type"] == "value_error":
        return InputError(str(one["ctx"]["error"]) + ".", where=where)
    given = (
        f" (it is {one['input']!r})" if isinstance(one["input"], (str, int, float, bool, type(None))) else ""
    )
    message = one["msg"][0].lower() + one["msg"][1:]
    return InputError(f"{message.removeprefix('input ')}{given}.", where=where)


def _where(
    loc: tuple[str | int, ...], origin: Mapping[FieldPath, tuple[Layer, FieldPath]], layer: Layer | None
) -> Where:
    if layer is not None:
        return layer.where(loc)
    for length in range(len(loc), 0, -1):
        place = tuple(str(part) for part in loc[:length])
        if place in origin:
            source, written = origin[place]
            return source.where((*written, *loc[length:]))
    # A rule about a whole section: the last layer that wrote into it.
    start = tuple(str(part) for part in loc)
    for path, (source, _) in reversed(list(origin.items())):
        if path[: len(start)] == start:
            return source.where(loc) if source.prefix or source.file else Where(field=".".join(start))
    return Where(field=".".join(start) or None)


def _walk(model: type[BaseModel], loc: tuple[str | int, ...]) -> tuple[tuple[str | int, ...], list[str]]:
    """`loc` without the tags that pydantic adds for unions, and the field names that stand beside its end."""
    path: list[str | int] = []
    here: list[type[BaseModel]] = [model]
    siblings: list[str] = []
    for part in loc:
        if isinstance(part, str) and any(
            part == getattr(m.model_fields.get("mode"), "default", None) for m in here
        ):
            here = [m for m in here if m.model_fields["mode"].default == part]
            siblings = list(here[0].model_fields)
            continue
        siblings = [name for m in here for name in m.model_fields]
        path.append(part)
        if isinstance(part, str):
            here = [
                sub
                for m in here
                if part in m.model_fields
                for sub in _models(m.model_fields[part].annotation)
            ]
    return tuple(path), siblings


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in get_args(annotation) for model in _models(arg)]
