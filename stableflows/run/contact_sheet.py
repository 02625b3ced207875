"""A run's contact sheet in Markdown: small pictures that need no file and no server, and the entries."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from stableflows.results import BatchResult, EntryResult, ImageRecord

__all__ = ["MOST_ENTRIES", "MOST_PICTURES", "contact_sheet", "results_table"]

MOST_PICTURES = 200
"""Pictures on a sheet; each is about 8 kB in Prefect's database. The gallery on disk has them all."""
MOST_ENTRIES = 1000
"""Rows of a table that a browser still shows; what failed comes before others. results.csv has them all."""
THUMBNAIL = 192
"""Pixels of the longer side."""
QUALITY = 70
"""Of WebP."""
IN_A_ROW = 3


def contact_sheet(result: BatchResult, gallery: Path) -> str:
    """The sheet.

    Args:
        result: of a run. A picture that is gone from the output folder is left out.
        gallery: where index.html is, for who wants them large.
    """
    root = gallery.parent.parent
    pictures = [
        (number, entry, image) for number, entry in enumerate(result.results, 1) for image in entry.images
    ]
    cells = [
        cell
        for number, entry, image in pictures[:MOST_PICTURES]
        if (cell := _picture(root, number, entry, image))
    ]
    lines = [f"Gallery: `{gallery}`", ""]
    if len(pictures) > MOST_PICTURES:
        lines += [f"The first {MOST_PICTURES} of {len(pictures)} pictures; the gallery has all.", ""]
    if cells:
        lines += ["|" + " |" * min(IN_A_ROW, len(cells)), "|" + "---|" * min(IN_A_ROW, len(cells))]
        for start in range(0, len(cells), IN_A_ROW):
            lines.append("| " + " | ".join(cells[start : start + IN_A_ROW]) + " |")
        lines.append("")
    lines += ["| entry | prompt | status | images | error |", "|---|---|---|---|---|"]
    for number, entry in result.listed(MOST_ENTRIES):
        lines.append(
            f"| {number} | {_text(entry.prompt)} | {entry.status} | {entry.image_count} "
            f"| {_text(entry.error or '')} |"
        )
    if result.total_entries > MOST_ENTRIES:
        lines += ["", f"{MOST_ENTRIES} of {result.total_entries} entries; results.csv has all."]
    return "\n".join(lines)


def results_table(result: BatchResult) -> list[dict[str, str | int | float]]:
    """One row an entry, for Prefect's table, which can be searched; of very many, `MOST_ENTRIES`."""
    return [
        {
            "entry": number,
            "pack": entry.pack_name or entry.pack_id,
            "name": str(entry.entry.get("name") or ""),
            "prompt": entry.prompt,
            "status": entry.status.value,
            "images": entry.image_count,
            "seconds": round(entry.duration, 1),
            "error": entry.error or "",
        }
        for number, entry in result.listed(MOST_ENTRIES)
    ]


def _picture(root: Path, number: int, entry: EntryResult, image: ImageRecord) -> str | None:
    data = _thumbnail(root / image.path)
    if data is None:
        return None
    seed = "" if image.seed is None else f" · seed {image.seed}"
    name = str(entry.entry.get("name") or "") or entry.prompt
    words = f"**{number}** {_text(name, 60)}<br>{entry.status}{seed}"
    return f"![entry {number}](data:image/webp;base64,{data})<br>{words}"


def _thumbnail(file: Path) -> str | None:
    try:
        with Image.open(file) as image:
            small = image.convert("RGB")
    except (OSError, UnidentifiedImageError):
        return None
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    written = io.BytesIO()
    small.save(written, "WEBP", quality=QUALITY)
    return base64.b64encode(written.getvalue()).decode()


def _text(text: str, most: int = 120) -> str:
    """Free text as a cell of a Markdown table: nothing in it is markup."""
    short = " ".join(text.split())[:most]
    for character in "\\`*_{}[]<>|#!":
        short = short.replace(character, f"\\{character}")
    return short
