"""The server's door: calls go to it in the order in which they were started, at most `depth` at once.

A call may follow when the one before it was seen at the server, running or in its queue: two that leave at
the same moment could arrive the other way round, and load a checkpoint twice. Some calls need options of the
server set before them, which must not happen under a call that renders; they wait until the others are out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stableflows.waiting import unless_cancelled

__all__ = ["Door", "Turn"]


class Turn:
    """One call's turn at the door."""

    def __init__(self, door: Door, call_id: str, ends: tuple[asyncio.Event, ...]) -> None:
        self._door, self._call_id, self._ends = door, call_id, ends
        self._alone = False

    async def alone(self, *, until_done: bool) -> None:
        """Wait until no other call is inside.

        Args:
            until_done: and let nobody in before this one is out, seen or not.

        Raises:
            WaitCancelled: the run was cancelled or stopped meanwhile.
        """
        self._alone = until_done
        await unless_cancelled(self._door.empty_but_for(self._call_id), *self._ends)

    def seen(self) -> None:
        """The server has the call: the next may come."""
        if not self._alone:
            self._door.next_after(self._call_id)


class Door:
    """Args: depth: calls inside at most."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._line: list[str] = []
        self._inside: set[str] = set()
        self._moved = asyncio.Event()

    def stand(self, call_id: str) -> None:
        """Take a place in line, behind those that stand there."""
        if call_id not in self._line and call_id not in self._inside:
            self._line.append(call_id)

    def step_out(self, call_id: str) -> None:
        """Leave the line, or the server: it is done, or has to wait for something else first."""
        self._inside.discard(call_id)
        self.next_after(call_id)

    @asynccontextmanager
    async def turn(self, call_id: str, *ends: asyncio.Event) -> AsyncIterator[Turn]:
        """Wait for the call's turn; it counts as being at the server until the block ends.

        Args:
            ends: events of which each ends the waiting: the run is cancelled, or sends nothing further.

        Raises:
            WaitCancelled: one of them was set before the call's turn.
        """
        self.stand(call_id)
        try:
            await unless_cancelled(self._first_with_room(call_id), *ends)
            self._inside.add(call_id)
            yield Turn(self, call_id, ends)
        finally:
            self.step_out(call_id)

    async def empty_but_for(self, call_id: str) -> None:
        while self._inside - {call_id}:
            await self._something_moved()

    def next_after(self, call_id: str) -> None:
        if call_id in self._line:
            self._line.remove(call_id)
        self._moved.set()
        self._moved = asyncio.Event()

    async def _first_with_room(self, call_id: str) -> None:
        while self._line[0] != call_id or len(self._inside) >= self.depth:
            await self._something_moved()

    async def _something_moved(self) -> None:
        await self._moved.wait()
