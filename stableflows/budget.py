"""What a plan needs of the disk and of the server's memory, told before it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from stableflows.entries import Entry
from stableflows.payload import output_size
from stableflows.run.files import free_space
from stableflows.stages import StageType

__all__ = ["disk_warnings", "megapixel_warnings"]

BYTES_PER_PIXEL = 2.2
"""Of a PNG of a rendered picture; noise needs 3, a flat drawing 1 and less."""


def disk_warnings(entries: Sequence[Entry], root: Path) -> list[str]:
    """A warning with the estimate, if the images of the plan may not fit on the disk of `root`."""
    needed = sum(
        pixels * entry.count * max(1, len(entry.inputs)) * BYTES_PER_PIXEL
        for entry in entries
        for _, pixels in _pixels(entry)
    )
    free = free_space(root)
    if needed <= free:
        return []
    return [f"the plan needs about {_gigabytes(needed)} of disk, and {root} has {_gigabytes(free)} free"]


def megapixel_warnings(entries: Sequence[Entry], limit: float | None) -> list[str]:
    """A warning for each stage whose images have more million pixels than the server bears."""
    if limit is None:
        return []
    return [
        f"entry {entry.index + 1}: {stage} makes {pixels / 1e6:.1f} megapixels, above the server's "
        f"limit of {limit:g}"
        for entry in entries
        for stage, pixels in _pixels(entry)
        if pixels / 1e6 > limit
    ]


def _pixels(entry: Entry) -> Iterator[tuple[StageType, int]]:
    """Pixels of an image of each stage."""
    size = (entry.inputs[0].width, entry.inputs[0].height) if entry.inputs else None
    for stage in entry.plan:
        size = output_size(stage, size)
        yield stage.stage_type, size[0] * size[1] if size else 0


def _gigabytes(n: float) -> str:
    return f"{n / 1e9:.1f} GB"
