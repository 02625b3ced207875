"""The log of every request that a sandbox got."""

import json
import threading
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from stableflows.sandbox.faults import GENERATING


class LoggedRequest(BaseModel):
    """One request. ``t_*`` are seconds of a monotonic clock that all entries of one process share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int
    """Number of the request, from 1, in order of arrival."""
    t_start: float
    t_end: float | None = None
    """None while it runs, and for ever if its connection was cut."""
    method: str
    path: str
    query: str = ""
    body: Any = None
    """The decoded JSON, base64 images included; None for no body or one that is no JSON."""
    status: int | None = None
    images: tuple[str, ...] = ()
    """SHA-256 of each returned image file, in order."""
    fault: str | None = None
    """Kind of the fault that it met."""


class RequestLog:
    """All requests of a sandbox, across its restarts."""

    def __init__(self, path: Path | None) -> None:
        self._guard = threading.Lock()
        self._entries: list[LoggedRequest] = []
        self._path = path

    def start(self, entry: dict[str, Any]) -> int:
        """Note a request that begins; its number."""
        with self._guard:
            logged = LoggedRequest(n=len(self._entries) + 1, **entry)
            self._entries.append(logged)
            self._write("start", logged)
            return logged.n

    def update(self, number: int, **changes: Any) -> None:
        with self._guard:
            logged = self._entries[number - 1].model_copy(update=changes)
            self._entries[number - 1] = logged
            if "t_end" in changes:
                self._write("end", logged)

    def snapshot(self) -> list[LoggedRequest]:
        with self._guard:
            return list(self._entries)

    def generating(self) -> list[LoggedRequest]:
        return [entry for entry in self.snapshot() if entry.path in GENERATING]

    def clear(self) -> None:
        with self._guard:
            self._entries = []

    def _write(self, event: str, entry: LoggedRequest) -> None:
        if self._path is None:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, **entry.model_dump(mode="json")}) + "\n")
