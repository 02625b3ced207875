"""Prompts of a stage's own: ADetailer's, those of a second pass, those in place of the entry's.

They stand in the settings, and are drawn together with the entry's prompts, so that a variable, slot or
wildcard that is chosen there is the same here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from stableflows.config.base import PROMPT_FIELDS
from stableflows.config.flat import nested, set_in
from stableflows.config.layers import Layer, merge_values
from stableflows.errors import Where
from stableflows.prompts.model import Sweep
from stableflows.prompts.sweep import path_of

__all__ = ["OwnPrompt", "Place", "as_layer", "dotted", "own_prompts", "texts_in"]

Place = tuple[str | int, ...]

OPAQUE = frozenset({"alwayson_scripts", "override_settings"})
"""Words of others: what looks like a prompt in them is none of ours."""


@dataclass(frozen=True)
class OwnPrompt:
    """A prompt in the settings of an entry, and where it was written."""

    place: Place
    text: str
    where: Where


def own_prompts(layers: Sequence[Layer], entry: Where, sweep: Sweep) -> tuple[OwnPrompt, ...]:
    """The prompts in settings, of parts that are on, or that a point of the sweep switches on.

    Args:
        layers: all that decide about an entry, lowest first.
    """
    if not any(_has_prompts(layer.values) for layer in layers):
        return ()
    switched_on: dict[str, Any] = {}
    for field in (field for group in sweep.groups for field in group):
        if (path := path_of(field))[-1] == "enabled":
            set_in(switched_on, path, True)
    return tuple(
        OwnPrompt(place, text, _written_at(layers, place) or entry)
        for place, text in texts_in(merge_values([*layers, Layer(switched_on)]))
    )


def _written_at(layers: Sequence[Layer], place: Place) -> Where | None:
    """Where the last layer that says a prompt does so, in a list, too."""
    for layer in reversed(layers):
        _, origin = nested(layer.values, layer.where)
        for length in range(len(place), 0, -1):
            if (written := origin.get(tuple(map(str, place[:length])))) is not None:
                return layer.where((*written, *place[length:]))
    return None


def texts_in(settings: Mapping[str, Any], *, on: bool = False) -> Iterator[tuple[Place, str]]:
    """(place, text) of every prompt in settings of the nested form, of parts that are on.

    Args:
        on: every part counts as on.
    """
    for stage, part in settings.items():
        if isinstance(part, Mapping):
            yield from _texts(part, (stage,), on=on)


def dotted(place: Place) -> str:
    """The name of a setting in messages."""
    return ".".join(map(str, place))


def as_layer(settings: Mapping[str, Any], texts: Mapping[Place, str]) -> Layer:
    """The texts as a layer above those that `settings` came from. A list is replaced as a whole."""
    values: dict[str, Any] = {}
    for place, text in texts.items():
        source: Any = settings
        target: Any = values
        for key in place[:-1]:
            source = source[key]
            if isinstance(source, list | tuple):
                target = target.setdefault(key, list(deepcopy(source)))
            elif isinstance(key, int):
                target = target[key]
            else:
                target = target.setdefault(key, {})
        target[place[-1]] = text
    return Layer(values, "prompts")


def _texts(part: Mapping[str, Any], at: Place, *, on: bool) -> Iterator[tuple[Place, str]]:
    if not on and not isinstance(at[-1], int) and not part.get("enabled"):
        return
    for key, value in part.items():
        here = (*at, key)
        if key in OPAQUE:
            continue
        if key in PROMPT_FIELDS and isinstance(value, str):
            yield here, value
        elif isinstance(value, Mapping):
            yield from _texts(value, here, on=on)
        elif isinstance(value, list | tuple):
            for number, one in enumerate(value):
                if isinstance(one, Mapping):
                    yield from _texts(one, (*here, number), on=on)


def _has_prompts(values: Any) -> bool:
    if isinstance(values, Mapping):
        return any((key in PROMPT_FIELDS and one) or _has_prompts(one) for key, one in values.items())
    return isinstance(values, list | tuple) and any(map(_has_prompts, values))
