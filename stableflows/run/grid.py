"""A picture of each sweep: its images side by side, with what was swept written beside them.

grids/0001-a-stone-bridge.png     number and title of the sweep's first entry
grids/0001-a-stone-bridge-2.png   the second image of each entry, if entries have several

Composed from plan.json, calls.jsonl and the images alone, so that anybody can compose them anew. They are
derived: what was rendered is beside them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from stableflows.results import CallRecord
from stableflows.run import names
from stableflows.run.chains import chains_of
from stableflows.run.files import write_whole
from stableflows.run.folder import RunFolder
from stableflows.run.plan_record import PlannedEntry, PlanRecord

__all__ = ["write_grids"]

THUMBNAIL = 320
"""Longest side of an image in a grid, in pixels, where the grid does not get too large."""
SMALLEST = 64
MAX_SIDE = 12_000
GAP = 8
LABEL = 15
"""Height of letters."""
MAX_LABEL = 220
"""Width of the labels on the left."""

Axes = tuple[tuple[tuple[str, str], ...], ...]


@dataclass(frozen=True)
class _Swept:
    """The entries of one sweep."""

    number: int
    """Of the first, from 1."""
    entry: PlannedEntry
    cells: Mapping[Axes, Sequence[Path]]
    """The final images of each point."""

    @property
    def images(self) -> int:
        return max((len(files) for files in self.cells.values()), default=0)


def write_grids(folder: RunFolder, plan: PlanRecord, records: Mapping[str, CallRecord]) -> list[Path]:
    """Write a grid for each sweep of a run of which an image is there, in place of earlier ones.

    Args:
        records: of its calls, by their id.

    Raises:
        OSError: a file cannot be written.
    """
    written = []
    for swept in _sweeps(folder, plan, records):
        for index in range(swept.images):
            title = swept.entry.entry.get("name") or swept.entry.prompt
            stem = f"{swept.number:04}-{names.slug(title)}" + (f"-{index + 1}" if swept.images > 1 else "")
            path = folder.path / "grids" / f"{stem}.png"
            path.parent.mkdir(exist_ok=True)
            write_whole(path, _png(_grid(swept, index)))
            written.append(path)
    return written


def _sweeps(folder: RunFolder, plan: PlanRecord, records: Mapping[str, CallRecord]) -> Iterator[_Swept]:
    first: dict[str, tuple[int, PlannedEntry]] = {}
    cells: dict[str, dict[Axes, list[Path]]] = {}
    for number, entry in enumerate(plan.entries, start=1):
        if point := entry.entry.get("sweep"):
            first.setdefault(point["of"], (number, entry))
            found = _finals(folder, entry, [records[call] for call in entry.calls if call in records])
            cells.setdefault(point["of"], {}).setdefault(_axes(point["axes"]), found)
    for of, (number, entry) in first.items():
        yield _Swept(number, entry, cells[of])


def _finals(folder: RunFolder, entry: PlannedEntry, records: Sequence[CallRecord]) -> list[Path]:
    return [folder.root / chain.final.path for chain in chains_of(entry, records) if chain.final]


def _axes(axes: Sequence[Mapping[str, Any]]) -> Axes:
    return tuple(tuple((field, _told(value)) for field, value in axis.items()) for axis in axes)


def _told(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _grid(swept: _Swept, index: int) -> Image.Image:
    """The last axis from left to right, the others from top to bottom."""
    columns = list(dict.fromkeys(axes[-1] for axes in swept.cells))
    rows = list(dict.fromkeys(axes[:-1] for axes in swept.cells))
    files = {axes: found[index] for axes, found in swept.cells.items() if index < len(found)}
    width, height = _cell_size(files.values(), len(columns), len(rows))
    left = MAX_LABEL if rows != [()] else GAP
    lines = max(len(column) for column in columns)
    font = ImageFont.load_default(LABEL)
    line = LABEL + 4
    top = GAP + line + lines * line + GAP
    size = (left + len(columns) * (width + GAP), top + len(rows) * (height + GAP) + line + GAP)
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)

    def write(place: tuple[int, int], text: str, space: int, fill: str = "black") -> None:
        draw.text(place, _shortened(text, font, space), font=font, fill=fill)

    title = " ".join((swept.entry.entry.get("name") or swept.entry.prompt).split())
    write((GAP, GAP), title, size[0] - 2 * GAP)
    for number, column in enumerate(columns):
        for depth, (field, value) in enumerate(column):
            place = (left + number * (width + GAP), GAP + line + depth * line)
            write(place, f"{field} {value}", width)
    for down, row in enumerate(rows):
        for depth, (field, value) in enumerate(pair for axis in row for pair in axis):
            place = (GAP, top + down * (height + GAP) + depth * 2 * line)
            write(place, field, left - 2 * GAP, "dimgray")
            write((place[0], place[1] + line), value, left - 2 * GAP)
        for across, column in enumerate(columns):
            corner = (left + across * (width + GAP), top + down * (height + GAP))
            file = files.get((*row, column))
            if thumbnail := _thumbnail(file, (width, height)):
                picture.paste(thumbnail, corner)
            else:
                draw.rectangle((corner, (corner[0] + width - 1, corner[1] + height - 1)), fill="gainsboro")
                write((corner[0] + GAP, corner[1] + GAP), "no image", width - 2 * GAP, "dimgray")
    note = f"Composed from {len(files)} images of this run; the images are beside this folder."
    write((GAP, size[1] - line), note, size[0] - 2 * GAP, "dimgray")
    return picture


def _cell_size(files: Iterator[Path] | Any, columns: int, rows: int) -> tuple[int, int]:
    """Width and height of a cell: those of the largest image, made smaller until the whole fits."""
    sizes = [size for file in files if (size := _size(file))] or [(THUMBNAIL, THUMBNAIL)]
    width, height = max(size[0] for size in sizes), max(size[1] for size in sizes)
    most = min(THUMBNAIL, MAX_SIDE // columns - GAP, MAX_SIDE // rows - GAP)
    scale = min(1.0, max(SMALLEST, most) / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _size(file: Path) -> tuple[int, int] | None:
    try:
        with Image.open(file) as image:
            return image.size
    except OSError:
        return None  # Deleted since: its cell says that there is no image.


def _thumbnail(file: Path | None, size: tuple[int, int]) -> Image.Image | None:
    if file is None:
        return None
    try:
        with Image.open(file) as image:
            image.thumbnail(size)
            return image.convert("RGB")
    except OSError:
        return None


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, space: int) -> str:
    """`text`, cut to `space` pixels."""
    if font.getlength(text) <= space:
        return text
    length = len(text)
    while length and font.getlength(text[:length] + "...") > space:
        length -= 1 + length // 20
    return text[: max(0, length)] + "..."


def _png(picture: Image.Image) -> bytes:
    note = PngImagePlugin.PngInfo()
    note.add_text("Software", "Stableflows")
    note.add_text("Description", "Grid composed from images of a run; not rendered by a model.")
    data = io.BytesIO()
    picture.save(data, "PNG", pnginfo=note)
    return data.getvalue()
