"""A file that is a list of prompts, as programs write them: texts, or prompt and settings side by side.

[
  "a lighthouse at dusk",
  {"prompt": "a lighthouse in fog", "negative_prompt": "text", "steps": 30, "upscale.factor": 1.5}
]

What a key is called is up to `stableflows.packs.columns`; what an entry of a native pack may say, one of a
list may, too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stableflows.config.flat import set_in
from stableflows.errors import InputError
from stableflows.packs.columns import ENTRY_FIELDS, column, known_columns
from stableflows.packs.document import Document, FieldPath
from stableflows.packs.fields import gather
from stableflows.packs.yaml_pack import ENTRY_KEYS

__all__ = ["spread"]

MOST_ERRORS = 100
MOST_KEYS = 500
"""Keys of an entry; there are not as many settings."""


def spread(document: Document) -> Document:
    """`document`, a list, with the settings of each entry where a native pack has them: in its `config`.

    Raises:
        InvalidInputs: keys that are no settings, each with its line and the nearest that is.
    """
    lines = dict(document.lines)
    errors: list[InputError] = []
    entries: list[Any] = []
    for index, entry in enumerate(document.data["entries"]):
        entries.append(_spread(document, index, entry, lines, errors) if isinstance(entry, dict) else entry)
        if len(errors) > MOST_ERRORS:
            raise gather(errors)  # looking for near names takes its time
    if errors:
        raise gather(errors)
    return replace(document, data={"entries": entries}, lines=lines)


def _spread(
    document: Document,
    index: int,
    entry: dict[str, Any],
    lines: dict[FieldPath, int],
    errors: list[InputError],
) -> dict[str, Any]:
    at: FieldPath = ("entries", index)
    if len(entry) > MOST_KEYS:
        errors.append(InputError(f"has {len(entry)} keys.", where=document.where(*at)))
        return {}
    own = {key: value for key, value in entry.items() if key in ENTRY_KEYS}
    settings: dict[str, Any] = {}
    written: dict[FieldPath, str] = {(key,): key for key in own}
    for key, value in entry.items():
        if key in own or value is None:
            continue
        where = document.where(*at, key)
        try:
            path = column(key, where)
        except InputError as error:
            allowed = [*ENTRY_KEYS, *known_columns()]
            errors.append(InputError(error.message, where=where, allowed=allowed, value=key))
            continue
        if path in written:
            errors.append(InputError(f"is the same setting as {written[path]!r}; keep one.", where=where))
        written[path] = key
        if path[0] in ENTRY_FIELDS:
            own[path[0]] = value
            lines[*at, *path] = lines[*at, key]
        else:
            set_in(settings, path, value)
            lines[*at, "config", *path] = lines[*at, key]
    if settings and own.get("config"):
        message = "has settings both in `config` and beside it; keep them in one place."
        errors.append(InputError(message, where=document.where(*at, "config")))
    return {**own, "config": settings} if settings else own
