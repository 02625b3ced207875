"""run.jsonl: what happened in a run, one event a line, as it happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from stableflows.run.files import append_line, one_line

__all__ = ["Event", "RunLog"]


class Event(StrEnum):
    """The kinds of events."""

    RUN_START = "run_start"
    """With `run_id` and `config_hash`."""
    STAGE_START = "stage_start"
    STAGE_STOP = "stage_stop"
    ERROR = "error"
    EARLY_EXIT = "early_exit"
    """With `reason`: cancelled, nothing to do, until."""
    RUN_COMPLETE = "run_complete"
    """With totals."""


_FREQUENT = frozenset({Event.STAGE_START, Event.STAGE_STOP})
"""Not synced: twice for every call would cost more than the call's own bookkeeping, and what was rendered is
told by calls.jsonl."""


class RunLog:
    """Writes events to a file, and tells them to a callback.

    Args:
        path: run.jsonl in the run's folder; appended to, for a run may be taken up again.
        callback: called with every event as it stands in the file. It is a guest: if it raises, an error
            event says so in the file (once as long as it is the same error), and the run goes on.
    """

    def __init__(self, path: Path, callback: Callable[[dict[str, Any]], object] | None = None) -> None:
        self.path = path
        self._callback = callback
        self._callback_error = ""

    def emit(self, event: Event, **fields: Any) -> None:
        """Write an event; values that JSON does not know are written as text.

        Raises:
            OSError: the file cannot be written.
        """
        record = self._write(event, fields)
        if self._callback is None:
            return
        try:
            self._callback(record)
        except Exception as error:  # whatever a guest raises
            text = f"{type(error).__name__}: {error}"
            if text != self._callback_error:
                self._callback_error = text
                self._write(Event.ERROR, {"error": text, "where": "callback", "during": event.value})

    def _write(self, event: Event, fields: dict[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        text = one_line({"timestamp": now, "event": event.value, **fields})
        append_line(self.path, text, lock=False, sync=event not in _FREQUENT)
        record: dict[str, Any] = json.loads(text)
        return record
