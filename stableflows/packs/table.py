"""Packs as tables: CSV with a header, and TSV.

prompt,negative_prompt,steps,hires_scale_factor
a lighthouse at dusk,text,30,1.5
"a lighthouse, in fog",,,

A CSV's header says what each column is; `stableflows.packs.columns` has the names. An empty cell says
nothing. A TSV may have a header, too; without one it is `prompt<TAB>negative prompt`. There, `#` begins a
comment.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stableflows.config.flat import Path as FieldPath
from stableflows.errors import InputError, Where
from stableflows.packs.columns import ENTRY_FIELDS, column, entry_of, known_columns, typed
from stableflows.packs.fields import gather
from stableflows.packs.files import MAX_BYTES, read_text
from stableflows.packs.model import PackEntry, PromptPack, Source

__all__ = ["read_csv", "read_tsv"]

# Python's own limit of a cell is 128 KB; the file as a whole is bounded already.
csv.field_size_limit(MAX_BYTES)


@dataclass(frozen=True)
class _Row:
    line: int
    cells: list[str]


def read_csv(file: Path) -> Source:
    """The pack in a CSV file; columns are parted by commas, or by semicolons, as the header has them.

    Raises:
        InputError: the file cannot be read, or is no text.
        InvalidInputs: unknown columns, rows of another length than the header, quotes that do not end, ...
    """
    text = read_text(file)
    header = text.lstrip("\n").partition("\n")[0]
    delimiter = ";" if ";" in header and "," not in header else ","
    errors: list[InputError] = []
    rows = list(_csv_rows(text, delimiter, file, errors))
    if errors:
        raise gather(errors)
    return _Table(file, rows, "CSV", f"a cell with {delimiter!r} in it must be in quotes").source()


def read_tsv(file: Path) -> Source:
    """The pack in a TSV file.

    Raises:
        InputError: the file cannot be read, or is no text.
        InvalidInputs: a line of another length than the header, or of three cells without one, ...
    """
    # Cells are taken as they stand: a prompt may begin with a quote.
    rows = [
        _Row(number, [cell.strip() for cell in line.rstrip("\n").split("\t")])
        for number, line in enumerate(read_text(file).split("\n"), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if rows and not _is_header(rows[0].cells):
        rows.insert(0, _Row(0, ["prompt", "negative_prompt"]))
        rows = [_Row(row.line, [*row.cells, ""] if len(row.cells) == 1 else row.cells) for row in rows]
    return _Table(file, rows, "TSV", "a tab parts cells, wherever it stands").source()


def _csv_rows(text: str, delimiter: str, file: Path, errors: list[InputError]) -> Iterator[_Row]:
    """The rows that are not empty, each with the line on which it begins."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield _Row(line, [cell.strip() for cell in cells])
            line = reader.line_num + 1
    except csv.Error as error:
        message = f"is not valid CSV: {error}. A quote inside a quoted cell is doubled"
        errors.append(InputError(f'{message}: "a ""red"" boat".', where=Where(file, line)))


def _is_header(cells: list[str]) -> bool:
    return len(cells) > 1 and cells[0].casefold() in ENTRY_FIELDS


@dataclass(frozen=True)
class _Table:
    """Rows, the first of them the header.

    Attributes:
        format: "CSV" or "TSV".
        advice: what to do about a row of another length.
    """

    file: Path
    rows: list[_Row]
    format: str
    advice: str
    errors: list[InputError] = field(default_factory=list)

    def source(self) -> Source:
        """The pack that the rows make.

        Raises:
            InvalidInputs: everything that is wrong with it.
        """
        if not self.rows:
            raise InputError("holds no entry.", where=Where(self.file))
        header, *rest = self.rows
        paths = self._paths(header)
        if not rest:
            self.errors.append(InputError("has a header and no entry.", where=Where(self.file, header.line)))
        if self.errors:
            raise gather(self.errors)
        entries = [entry for row in rest if (entry := self._entry(row, header, paths))]
        if self.errors:
            raise gather(self.errors)
        stem = self.file.stem
        return Source((PromptPack(stem, stem, tuple(entries), self.file, format=self.format),))

    def _paths(self, header: _Row) -> list[FieldPath]:
        """Where the values of each column belong."""
        names: dict[FieldPath, str] = {}
        if len(header.cells) > len(known_columns()):
            message = f"has {len(header.cells)} columns, more than there are settings."
            raise InputError(message, where=Where(self.file, header.line))
        for number, name in enumerate(header.cells, start=1):
            where = Where(self.file, header.line or None, f"column {number}")
            if not name:
                self.errors.append(InputError("has no name; the first line is the header.", where=where))
                continue
            try:
                path = column(name, where)
            except InputError as error:
                self.errors.append(error)
                continue
            if path in names:
                message = f"{name!r} is the same setting as the column {names[path]!r}; keep one."
                self.errors.append(InputError(message, where=where))
            names[path] = name
        if not {("prompt",), ("inputs",)} & set(names) and not self.errors:
            message = "the first line is the header, and has no column `prompt`."
            self.errors.append(InputError(message, where=Where(self.file, header.line)))
        return list(names)

    def _entry(self, row: _Row, header: _Row, paths: list[FieldPath]) -> PackEntry | None:
        where = Where(self.file, row.line)
        if len(row.cells) != len(paths):
            columns = f"{len(paths)} columns ({', '.join(header.cells)})"
            told = "1 cell" if len(row.cells) == 1 else f"{len(row.cells)} cells"
            message = f"has {told}, but there are {columns}; {self.advice}."
            self.errors.append(InputError(message, where=where))
            return None
        filled = [(path, cell) for path, cell in zip(paths, row.cells, strict=True) if cell]
        cells = [(path, cell if path[0] in ENTRY_FIELDS else typed(cell, path)) for path, cell in filled]
        lines: dict[tuple[str | int, ...], int] = dict.fromkeys(paths, row.line)
        return entry_of(cells, where=where, lines=lines, errors=self.errors)
