"""The values of an infotext, which are all text, as what they mean."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from stableflows.config.generation import MAX_SEED
from stableflows.images.recipe import Unreadable

__all__ = ["HASH", "Params", "checkpoint", "number", "seed", "size", "switch", "text", "whole"]

T = TypeVar("T")

WITH_OLD_HASH = re.compile(r"(?P<name>.+) \[[0-9a-f]{8}\]")
HASH = re.compile(r"[0-9a-f]{10,64}")
"""The beginning of a file's SHA-256. (Before 2023 a hash had 8 characters, of something else.)"""


def text(value: str) -> str:
    if not value:
        raise ValueError
    return value


def whole(value: str) -> int:
    """An integer; SD.Next writes some as floats."""
    found = number(value)
    if found != int(found):
        raise ValueError
    return int(value) if re.fullmatch(r"-?\d{1,20}", value) else int(found)


def number(value: str) -> float:
    found = float(value)
    if not math.isfinite(found):
        raise ValueError
    return found


def seed(value: str) -> int:
    found = whole(value)
    if not 0 <= found <= MAX_SEED:
        raise ValueError
    return found


def switch(value: str) -> bool:
    if value not in ("True", "False"):
        raise ValueError
    return value == "True"


def size(value: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})x(\d{1,6})", value)
    if not found:
        raise ValueError
    return int(found[1]), int(found[2])


def checkpoint(value: str) -> str:
    """`name` or `name [hash]`, as refiners and hires checkpoints are written, by which servers find it."""
    found = WITH_OLD_HASH.fullmatch(text(value))
    return found["name"] if found else value


WORDS: dict[Callable[[str], Any], str] = {
    whole: "a whole number",
    seed: f"a seed from 0 to {MAX_SEED}",
    number: "a number",
    switch: "True or False",
    size: "WIDTHxHEIGHT",
}


class Params:
    """The keys of an infotext; what is read of them is taken out, so that what nobody knows is left."""

    def __init__(self, params: Mapping[str, str]) -> None:
        self._left = {key: value.strip() for key, value in params.items()}

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def take_all(self, fields: Mapping[str, tuple[str, Callable[[str], Any]]]) -> dict[str, Any]:
        """Field -> value of every key of `fields` (key -> field, reader) that is there.

        Raises:
            Unreadable: as `take`.
        """
        found = {field: self.take(key, read) for key, (field, read) in fields.items() if key in self}
        return {field: value for field, value in found.items() if value is not None}

    def take(self, key: str, read: Callable[[str], T]) -> T | None:
        """The value of a key; None if it is not there.

        Raises:
            Unreadable: it is none that `read` knows.
        """
        if key not in self._left:
            return None
        value = self._left.pop(key)
        try:
            return read(value)
        except (ValueError, OverflowError):
            raise Unreadable(
                f"{key!r} is {value[:60]!r}, which is not {WORDS.get(read, 'a value')}"
            ) from None

    def drop(self, *keys: str) -> None:
        """Keys that say nothing about how the picture is made."""
        for key in keys:
            self._left.pop(key, None)

    @property
    def left(self) -> tuple[str, ...]:
        """The keys that nobody has taken."""
        return tuple(self._left)
