"""What all configuration models share.

A field's *serialization alias* is its name in the WebUI's API. A `Local` field does not go into the request
as it stands; the stage's payload builder decides what becomes of it. A field whose value is a name
that the server must know is annotated with its `NameKind`, and preflight looks it up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict

from stableflows.webui.kinds import NameKind

__all__ = ["PROMPT_FIELDS", "Local", "Many", "Strict", "named_fields", "request_fields"]


PROMPT_FIELDS = ("prompt", "negative_prompt", "ad_prompt", "ad_negative_prompt")
"""Settings that are prompts, wherever they stand."""

T = TypeVar("T")


class _Local:
    """Marks a field that is not sent as it stands."""


Local = Annotated[T, _Local()]


_given: dict[frozenset[str], set[str]] = {}


class Many(BaseModel):
    """A frozen model of which there may be ten thousand. Each would have a set of its own with the names of
    the fields that were given, of up to 2 kB; those that were given the same share one."""

    def model_post_init(self, context: Any, /) -> None:
        given = self.__pydantic_fields_set__
        object.__setattr__(self, "__pydantic_fields_set__", _given.setdefault(frozenset(given), given))


class Strict(Many):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, allow_inf_nan=False)


def request_fields(config: Strict) -> dict[str, Any]:
    """The fields that are set, under their API names: what is None is off, and does not reach the request."""
    local = {
        name
        for name, info in type(config).model_fields.items()
        if any(isinstance(mark, _Local) for mark in info.metadata)
    }
    return config.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=local)


def named_fields(config: Strict, prefix: str = "") -> Iterator[tuple[str, NameKind, str]]:
    """Every name in `config` that a server must know, as (dotted field, kind, name); off parts left out."""
    if getattr(config, "enabled", True) is False:
        return
    for field, info in type(config).model_fields.items():
        value = getattr(config, field)
        path = f"{prefix}{field}"
        if isinstance(value, Strict):
            yield from named_fields(value, f"{path}.")
            continue
        kind = next((mark for mark in info.metadata if isinstance(mark, NameKind)), None)
        many = value if isinstance(value, tuple) else (value,)
        for number, one in enumerate(many):
            if isinstance(one, Strict):
                yield from named_fields(one, f"{path}.{number}.")
            elif kind and isinstance(one, str):
                yield path, kind, one
