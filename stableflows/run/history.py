"""The history of an output root: one line a run, and one more each time a run is taken up again."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import ValidationError

from stableflows.results import BatchResult, Record, RunStatus
from stableflows.run.files import append_line, line_pieces, read_lines

__all__ = ["HistoryLine", "append", "history_file", "last", "read"]

log = logging.getLogger(__name__)


class HistoryLine(Record):
    """What became of a run. The last line of a `run_id` counts: a resumed run has several."""

    job_id: str
    run_id: str
    flow_run_ids: tuple[str, ...] = ()
    """All Prefect flow runs that the run has spanned so far."""
    timestamp: str
    """When the line was written: UTC, ISO 8601."""
    status: RunStatus
    error: str | None = None
    run_mode: str
    source: str
    prompt_source: str
    prompt_pack_id: str | None = None
    config_hash: str | None = None
    duration: float | None = None
    """Seconds from the start of the (last) flow run to its end; None if nobody saw the end."""
    resumed: bool = False
    result: BatchResult | None = None
    """None for a run that failed before its first entry."""


def history_file(root: Path) -> Path:
    return root / "history.jsonl"


def append(root: Path, line: HistoryLine) -> None:
    """Append a line, also while other processes do; it is on disk when this returns.

    Raises:
        OSError: as the system says.
    """
    append_line(history_file(root), line_pieces(line), lock=True)


def read(root: Path) -> list[HistoryLine]:
    """One line a run, its last, in the order in which these were written; empty without a history."""
    by_run: dict[str, HistoryLine] = {}
    for data in read_lines(history_file(root)):
        try:
            line = HistoryLine.model_validate(data)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            log.warning("%s: a line is no history line and was skipped: %s", history_file(root), problems)
            continue
        by_run.pop(line.run_id, None)  # so that the run moves to where its last line stands
        by_run[line.run_id] = line
    return list(by_run.values())


def last(root: Path) -> HistoryLine | None:
    """The run whose line was written last."""
    lines = read(root)
    return lines[-1] if lines else None
