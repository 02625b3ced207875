"""One job at a server: an operating-system file lock named after the server, which dies with its holder.

It is held per user and machine, so that a direct run and a queued one, with whatever Prefect API and output
folder, keep apart. Who waits holds a second lock, so that the holder can see that somebody does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from stableflows.errors import ExitCode, ServerError
from stableflows.run.files import try_lock, unlock, write_whole
from stableflows.waiting import unless_cancelled

__all__ = ["HOME_VARIABLE", "Holder", "ServerInUseError", "Slot", "discard_stale_slots", "home"]

HOME_VARIABLE = "STABLEFLOWS_HOME"
POLL = 0.5
"""Seconds between two tries."""


def home() -> Path:
    """Where locks of this user are: `$STABLEFLOWS_HOME`, else `~/.stableflows`."""
    return Path(os.environ.get(HOME_VARIABLE) or Path.home() / ".stableflows")


def discard_stale_slots() -> None:
    """Remove what killed runs left of their slots. It keeps nobody from a slot; it is only litter."""
    for file in [*(home() / "slots").glob("*.lock"), *(home() / "slots").glob("*.next")]:
        if lock := try_lock(file):  # else somebody holds it
            if file.suffix == ".lock":
                file.with_suffix(".json").unlink(missing_ok=True)
            unlock(lock)


class ServerInUseError(ServerError):
    """Another run of ours uses the server, and this one was not to wait."""

    exit_code = ExitCode.SERVER_UNREACHABLE


class Holder(BaseModel):
    """Who holds a slot; for people, the lock itself decides."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    server: str
    run_id: str
    name: str
    pid: int

    def __str__(self) -> str:
        return f"{self.name!r} ({self.run_id}, process {self.pid})"


class Slot:
    """The slot of one server."""

    def __init__(self, server_identity: str) -> None:
        self.server = server_identity
        stem = home() / "slots" / sha256(server_identity.encode()).hexdigest()[:16]
        self._held = stem.with_suffix(".lock")
        self._next = stem.with_suffix(".next")
        self._file = stem.with_suffix(".json")

    def holder(self) -> Holder | None:
        """Who wrote that it holds the slot; it may have died since."""
        try:
            return Holder.model_validate_json(self._file.read_bytes())
        except (OSError, ValidationError):
            return None

    def somebody_waits(self) -> bool:
        """Whether another run waits for this slot."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        lock = try_lock(self._next)
        if lock is None:
            return True
        unlock(lock)
        return False

    @asynccontextmanager
    async def held(
        self, *, run_id: str, name: str, wait: bool, cancel: asyncio.Event, say: Callable[[str], None]
    ) -> AsyncIterator[None]:
        """Hold the slot for the time of the block.

        Args:
            name: of the job, for who waits.
            wait: wait for another run to end; told through `say`.

        Raises:
            ServerInUseError: another run holds it, and `wait` is false.
            WaitCancelled: the run was cancelled while it waited.
        """
        self._file.parent.mkdir(parents=True, exist_ok=True)
        lock = try_lock(self._held)
        if lock is None:
            holder = self.holder()
            other = f"the run {holder}" if holder else "another run"
            if not wait:
                raise ServerInUseError(f"{other} uses {self.server}; without --no-wait this one would wait.")
            say(f"Waiting for {other}, which uses {self.server}")
            lock = await unless_cancelled(self._in_turn(), cancel)
        try:
            mine = Holder(server=self.server, run_id=run_id, name=name, pid=os.getpid())
            write_whole(self._file, mine.model_dump_json().encode())
            yield
        finally:
            self._file.unlink(missing_ok=True)
            unlock(lock)

    async def _in_turn(self) -> FileLock:
        first_in_line = await _acquired(self._next)
        try:
            return await _acquired(self._held)
        finally:
            unlock(first_in_line)


async def _acquired(file: Path) -> FileLock:
    while (lock := try_lock(file)) is None:  # noqa: ASYNC110 (its holder tells nobody)
        await asyncio.sleep(POLL)
    return lock
