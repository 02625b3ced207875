"""The log of every request that a sandbox got."""

import json
import threading
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from stableflows.sandbox.faults import GENERATING

_BODIES_KEPT = 200_000_000
"""Characters of request bodies that are kept: a night's images must not fill the memory."""
_LONG = 1000


class LoggedRequest(BaseModel):
    """One request. ``t_*`` are seconds of a monotonic clock that all entries of one process share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int
    """Number of the request, from 1, in order of arrival."""
    t_start: float
    t_end: float | None = None
    """None while it runs, and for ever if its connection was cut."""
    t_run: float | None = None
    """When it got the lock, if it rendered and all went well; `t_ran`: when it gave it back."""
    t_ran: float | None = None
    method: str
    path: str
    query: str = ""
    body: Any = None
    """The decoded JSON, base64 images included (but for the oldest of very many); None if it is no JSON."""
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
        self._sizes: list[int] = []
        self._kept = 0
        self._thinned = 0
        self._path = path

    def start(self, entry: dict[str, Any], size: int = 0) -> int:
        """Note a request that begins, and the length of its body; its number."""
        with self._guard:
            logged = LoggedRequest(n=len(self._entries) + 1, **entry)
            self._entries.append(logged)
            self._sizes.append(size)
            self._kept += size
            self._thin()
            self._write("start", logged)
            return logged.n

    def _thin(self) -> None:
        """Drop the images from the oldest bodies when there are too many."""
        while self._kept > _BODIES_KEPT and self._thinned < len(self._entries) - 1:
            entry = self._entries[self._thinned]
            self._entries[self._thinned] = entry.model_copy(update={"body": _without_images(entry.body)})
            self._kept -= self._sizes[self._thinned]
            self._sizes[self._thinned] = 0
            self._thinned += 1

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
            self._entries, self._sizes, self._kept, self._thinned = [], [], 0, 0

    def _write(self, event: str, entry: LoggedRequest) -> None:
        if self._path is None:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, **entry.model_dump(mode="json")}) + "\n")


def _without_images(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _LONG:
        return f"<{len(value)} characters, no longer kept>"
    if isinstance(value, dict):
        return {key: _without_images(item) for key, item in value.items()}
    return [_without_images(item) for item in value] if isinstance(value, list) else value
