"""results.csv: one row an image, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Mapping
from itertools import count

from stableflows.results import BatchResult, CallRecord
from stableflows.run.chains import chains_of
from stableflows.run.folder import RunFolder
from stableflows.run.plan_record import PlanRecord

__all__ = ["COLUMNS", "render"]

COLUMNS = (
    "entry",
    "pack_id",
    "pack_name",
    "name",
    "index",
    "path",
    "seed",
    "width",
    "height",
    "status",
    "mode",
    "prompt",
    "negative_prompt",
    "sha256",
    "infotext",
    "image",
)

FORMULA_STARTS = tuple("=+-@\t\r＝＋－＠")
"""What makes a spreadsheet compute a cell instead of showing it (OWASP, "CSV Injection")."""


def render(
    folder: RunFolder, plan: PlanRecord, records: Mapping[str, CallRecord], result: BatchResult
) -> bytes:
    """The table as UTF-8. `entry` and `index` count from 1, `path` is relative to the run's folder, `image`
    is the row's number, as `stableflows finish --pick` counts; a text that a spreadsheet would take for a
    formula has an apostrophe before it."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    images = count(1)
    for number, (entry, outcome) in enumerate(zip(plan.entries, result.results, strict=True)):
        recorded = [records[call_id] for call_id in entry.calls if call_id in records]
        for chain in chains_of(entry, recorded):
            image = chain.final
            if image is None:
                continue
            row = (
                number + 1,
                entry.pack_id,
                entry.pack_name,
                str(entry.entry.get("name") or ""),
                chain.index + 1,
                posixpath.relpath(image.path, folder.name),
                "" if image.seed is None else image.seed,
                image.width,
                image.height,
                outcome.status.value,
                outcome.pipeline_mode,
                entry.prompt,
                entry.negative_prompt,
                image.sha256,
                image.infotext,
                next(images),
            )
            writer.writerow([_safe(cell) if isinstance(cell, str) else cell for cell in row])
    return text.getvalue().encode("utf-8", "replace")


def _safe(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell
