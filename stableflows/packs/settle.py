"""What a document says, made independent of where it stands: prompts plain, image files absolute."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stableflows.config.base import PROMPT_FIELDS
from stableflows.errors import InputError
from stableflows.packs.document import Document, FieldPath, kind
from stableflows.packs.files import find_files
from stableflows.packs.prompts import faults

__all__ = ["settle"]

IMG2IMG = {"img2img", "img2img_config"}
OPAQUE = {"override_settings", "run_config"}
"""Words of others: nothing in them is ours to read."""


def settle(document: Document) -> tuple[Document, list[InputError]]:
    """`document` with every prompt plain and the image files that its config names as absolute paths.

    Also returned is what is wrong with them: prompts that YAML reads as something else, files that do not
    exist.
    """
    settling = _Settling(document)
    data = {key: settling.value(value, (key,)) for key, value in document.data.items()}
    return replace(document, data=data), settling.errors


class _Settling:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.errors: list[InputError] = []

    def value(self, value: Any, path: FieldPath) -> Any:
        """`value`, which stands at `path`, settled."""
        last = path[-1]
        if last in OPAQUE:
            return value
        if _is_image(path) and isinstance(value, str):
            return self._image(value, path)
        if _is_prompt(path) and not (path[0] == "entries" and len(path) == 2 and isinstance(value, dict)):
            return self._prompt(value, path)
        if isinstance(value, dict):
            return {key: self.value(each, (*path, key)) for key, each in value.items()}
        if isinstance(value, list):
            return [self.value(each, (*path, index)) for index, each in enumerate(value)]
        return value

    def _prompt(self, value: Any, path: FieldPath) -> str | None:
        if value is None:
            return None
        where = self.document.where(*path)
        if isinstance(value, str):
            self.errors += faults(value, where)
            return value
        self.errors.append(
            InputError(f"must be text, but is read as {kind(value)}; put it in quotes.", where=where)
        )
        return str(value)

    def _image(self, value: str, path: FieldPath) -> str:
        where = self.document.where(*path)
        try:
            found = find_files(value, base=self.document.file.parent, where=where)
        except InputError as error:
            self.errors.append(error)
            return value
        if len(found) > 1:
            self.errors.append(InputError(f"matches {len(found)} files; name one.", where=where))
        return str(found[0].absolute())


def _is_prompt(path: FieldPath) -> bool:
    plain_entry = len(path) == 2 and path[0] == "entries"
    return plain_entry or (path[-1] in PROMPT_FIELDS and "alwayson_scripts" not in path)


def _is_image(path: FieldPath) -> bool:
    if "alwayson_scripts" in path:
        return path[-1] == "image_file"
    return path[-1] == "mask" and len(path) > 1 and path[-2] in IMG2IMG
