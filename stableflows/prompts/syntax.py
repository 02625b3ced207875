"""A dynamic prompt as it was written: what `grammar` reads and `compile` gives a meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "Access",
    "Assign",
    "Method",
    "Option",
    "Pick",
    "Sequence",
    "Slot",
    "Syntax",
    "Text",
    "Wildcard",
    "Wrap",
]

Method = Literal["random", "combinatorial", "cyclical"]


@dataclass(frozen=True, slots=True)
class Text:
    """What stays as it stands."""

    text: str


@dataclass(frozen=True, slots=True)
class Slot:
    """`[[name]]`."""

    name: str


@dataclass(frozen=True, slots=True)
class Option:
    """One of the possibilities of a `Pick`."""

    value: Syntax
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Pick:
    """`{a|b}`, `{2$$a|b}`, `{1-2$$ and $$a|b}`: from `low` to `high` options, none twice."""

    options: tuple[Option, ...]
    low: int = 1
    high: int = 1
    separator: str = ", "
    method: Method | None = None


@dataclass(frozen=True, slots=True)
class Wildcard:
    """`__path__`, `__path(variable=value)__`."""

    path: Syntax
    variables: Mapping[str, Syntax] = field(default_factory=dict)
    method: Method | None = None


@dataclass(frozen=True, slots=True)
class Assign:
    """`${name=value}`; `immediate` with `=!`, not `overwrite` with `?=`."""

    name: str
    value: Syntax
    immediate: bool
    overwrite: bool


@dataclass(frozen=True, slots=True)
class Access:
    """`${name}`, `${name:default}`."""

    name: str
    default: Syntax | None = None


@dataclass(frozen=True, slots=True)
class Wrap:
    """`%{wrapper with ...$$inner}`: `inner` in place of the dots."""

    wrapper: Syntax
    inner: Syntax


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after another."""

    parts: tuple[Syntax, ...]


Syntax = Text | Slot | Pick | Wildcard | Assign | Access | Wrap | Sequence
