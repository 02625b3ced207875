"""Styles of a `styles.csv`, as AUTOMATIC1111 keeps them: name, prompt, negative_prompt.

`{prompt}` in a style is where the prompt goes; else the style is appended after ", ".
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from stableflows.errors import InputError, Where
from stableflows.packs.files import read_text

__all__ = ["Style", "read_styles"]

COLUMNS = ("name", "prompt", "negative_prompt")


@dataclass(frozen=True)
class Style:
    """Words around a prompt."""

    prompt: str
    negative_prompt: str

    def apply(self, prompt: str, negative_prompt: str) -> tuple[str, str]:
        """Prompt and negative prompt with the style."""
        return _around(self.prompt, prompt), _around(self.negative_prompt, negative_prompt)


def _around(style: str, text: str) -> str:
    if "{prompt}" in style:
        return style.replace("{prompt}", text)
    return ", ".join(filter(None, (text.strip(), style.strip())))


def read_styles(file: Path) -> dict[str, Style]:
    """The styles in a file, by name; separator rows (`--- NAME ---`) are left out.

    Raises:
        InputError: it cannot be read, or has no such columns; or a row is too long or has no name.
    """
    rows = csv.reader(io.StringIO(read_text(file)), strict=True)
    styles: dict[str, Style] = {}
    try:
        header = [column.strip() for column in next(rows, [])]
        if missing := [column for column in COLUMNS if column not in header]:
            # Before 1.6 the WebUI called it text, and had no negative_prompt.
            raise InputError(
                f"has no column {missing[0]!r}; a file of styles begins with: {','.join(COLUMNS)}",
                where=Where(file, 1),
            )
        for row in rows:
            where = Where(file, rows.line_num)
            if len(row) > len(header):
                raise InputError(
                    f"has {len(row)} values under {len(header)} columns; put a text with commas in quotes.",
                    where=where,
                )
            values = dict(zip(header, row, strict=False))
            name, prompt, negative = (values.get(column, "").strip() for column in COLUMNS)
            if not any(row) or (name.startswith("---") and name.endswith("---") and not prompt + negative):
                continue
            if not name:
                raise InputError("a style has no name.", where=where)
            styles[name] = Style(prompt, negative)
    except csv.Error as error:
        raise InputError(f"is not valid CSV: {error}.", where=Where(file, rows.line_num)) from None
    return styles
