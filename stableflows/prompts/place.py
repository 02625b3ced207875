"""Where in its file a character of a prompt stands: readers join lines, so that only the entry's is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stableflows.errors import InputError, Where
from stableflows.packs.files import read_text

__all__ = ["Finder"]

LINES = 60
"""Lines below the entry's first that are looked at."""
AROUND = 30
"""Characters shown on each side."""


class Finder:
    """Finds pieces of an entry's prompts in its file."""

    def __init__(
        self, where: Where, texts: Sequence[str], elsewhere: Mapping[str, Where] | None = None
    ) -> None:
        """Args: elsewhere: of texts that stand in settings, their own places."""
        self.entry = where
        self._texts = texts
        self._elsewhere = elsewhere or {}

    def of(self, piece: str) -> Where:
        """The line of the first prompt of the entry that has `piece`; else that of the entry."""
        text = next((text for text in self._texts if piece in text), None)
        return self.entry if text is None else self._found(text, text.index(piece))[0]

    def error(self, message: str, text: str, offset: int) -> InputError:
        """What is wrong with a prompt, with the place shown below it."""
        where, column = self._found(text, offset)
        start = max(0, text.rfind("\n", 0, offset) + 1, offset - AROUND)
        line = text[start : offset + AROUND].split("\n", 1)[0]
        shown = f"\n    {line}\n    {' ' * (offset - start)}^"
        return InputError(f"column {column}: {message}:{shown}", where=where)

    def _found(self, text: str, offset: int) -> tuple[Where, int]:
        """The line and column, from 1, of a character; of the text itself, if the file has it otherwise."""
        start = text.rfind("\n", 0, offset) + 1
        own = self._elsewhere.get(text, self.entry), offset - start + 1
        if text in self._elsewhere:
            return own
        if self.entry.file is None or not self.entry.line:
            return own
        lines = _lines(self.entry.file)
        first = self.entry.line - 1
        for before, after in ((20, 20), (0, 20), (0, 8), (0, 3)):
            begin = max(start, offset - before)
            piece = text[begin : offset + after].split("\n", 1)[0]
            for number in range(first, min(first + LINES, len(lines))) if piece else ():
                if (column := lines[number].find(piece)) >= 0:
                    return replace(self.entry, line=number + 1), column + offset - begin + 1
        return own


def _lines(file: Path) -> list[str]:
    try:
        return read_text(file).split("\n")
    except InputError:
        return []  # It is gone since it was read.
