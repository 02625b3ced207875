"""What the models of pack and job files share."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from stableflows.config.base import Strict
from stableflows.errors import InputError, InvalidInputs, Where
from stableflows.packs.document import kind
from stableflows.packs.files import find_files
from stableflows.packs.model import Globals

__all__ = ["Around", "Label", "Names", "Read", "Settings", "gather", "input_files", "label"]

MAX_LABEL = 200


def label(value: Any) -> str:
    """A name for people: one line, trimmed.

    Raises:
        ValueError: it is no text, empty, too long, or has more than one line.
    """
    if not isinstance(value, str):
        raise ValueError(f"must be text, but is read as {kind(value)}; put it in quotes")
    text = value.strip()
    if not text:
        raise ValueError("is empty; give a name, or leave it out")
    if len(text) > MAX_LABEL:
        raise ValueError(f"is {len(text)} characters long; at most {MAX_LABEL}")
    # Cc control characters, Zl and Zp line separators: a name is one line.
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text):
        raise ValueError("must be a single line without control characters")
    return text


def _mapping(value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"must be a mapping, not {kind(value)}")
    return value


def _names(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Label = Annotated[str, BeforeValidator(label)]
"""A name for people: one line, trimmed."""
Settings = Annotated[dict[str, Any], BeforeValidator(_mapping)]
"""A part of a pipeline config; its fields are looked at when the layers are merged."""
Around = Annotated[Globals, BeforeValidator(_mapping)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
"""File names; one may stand alone."""


class Read(Strict):
    """A part of a file: a key without a value says nothing."""

    @model_validator(mode="before")
    @classmethod
    def _without_empty_keys(cls, data: Any) -> Any:
        return {key: value for key, value in _mapping(data).items() if value is not None}


def input_files(names: Sequence[str], base: Path, where: Where, errors: list[InputError]) -> tuple[Path, ...]:
    """The image files that `names` or patterns relative to `base` stand for, absolute; else into `errors`."""
    found: list[Path] = []
    for name in names:
        try:
            found += find_files(name, base=base, where=where)
        except InputError as error:
            errors.append(error)
    return tuple(file.absolute() for file in found)


def gather(errors: Sequence[InputError]) -> InvalidInputs:
    """Errors and bundles of errors as one bundle."""
    flat = [
        each for error in errors for each in (error.errors if isinstance(error, InvalidInputs) else [error])
    ]
    return InvalidInputs(flat)
