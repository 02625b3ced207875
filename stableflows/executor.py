"""One asyncio executor: sends calls in their order, each when the one it continues is done.

A few calls are under way at once: while the server renders, the next ones are prepared, and finished ones
are recorded. How many of them are at the server is the door's affair (`stableflows.door`). A call that fails
costs only the calls that continue it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

from stableflows.calls import StageCall
from stableflows.results import ImageRecord, StageOutput

__all__ = ["RunCall", "execute"]

RunCall = Callable[[StageCall, ImageRecord | None], Awaitable[StageOutput | None]]
"""Runs one call on the image that it continues. None: it failed or was cancelled, and that is recorded."""


async def execute(
    calls: Sequence[StageCall],
    run_call: RunCall,
    *,
    stop: asyncio.Event,
    done: Mapping[str, StageOutput | None] | None = None,
    depth: int = 1,
    ahead: int = 0,
) -> None:
    """Run every call that can be run.

    Args:
        calls: in the order in which they are to be sent, each behind the one that it continues. A call that
            must wait may be overtaken, but only by calls of its group.
        run_call: what is done for each; it keeps its own record, and raises only what ends the run. The
            others under way are awaited then, too.
        stop: once set, no further call starts; those under way are awaited.
        done: calls that are done already, by their id, and what they brought; None for one that failed.
        depth: calls that are kept under way, if need be by letting some overtake.
        ahead: calls under way beyond these, in their order alone: the more begin, the later the first ends.
    """
    waiting = _Waiting(calls, done or {})
    running: dict[asyncio.Task[StageOutput | None], StageCall] = {}
    try:
        while True:
            while len(running) < depth + ahead and not stop.is_set():
                ready = waiting.take(overtake=len(running) < depth)
                if ready is None:
                    break
                running[asyncio.ensure_future(run_call(*ready))] = ready[0]
            if not running:
                return  # stopped, or all that is left continues what failed
            ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                waiting.ended(running.pop(task).call_id, task.result())
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError):
            for task in running:
                task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        raise


class _Waiting:
    """The calls that have not been started, and the images of those that are done, as long as one continues
    them."""

    def __init__(self, calls: Sequence[StageCall], done: Mapping[str, StageOutput | None]) -> None:
        self._calls = deque(call for call in calls if call.call_id not in done)
        self._followers = Counter(call.after for call in self._calls if call.after)
        self._done: dict[str, StageOutput | None] = {}
        for call_id, output in done.items():
            self.ended(call_id, output)

    def take(self, *, overtake: bool) -> tuple[StageCall, ImageRecord | None] | None:
        """The next call that can be started, with the image that it continues; None if there is none now."""
        while (place := self._first_ready(overtake)) is not None:
            call = self._calls[place]
            del self._calls[place]
            if call.after is None:
                return call, None
            before = self._done[call.after]
            self._followers[call.after] -= 1
            if not self._followers[call.after]:
                del self._done[call.after]
            if before is not None:
                return call, before.images[call.take]
            self.ended(call.call_id, None)  # what it continues failed, and so has it
        return None

    def ended(self, call_id: str, output: StageOutput | None) -> None:
        if self._followers[call_id]:
            self._done[call_id] = output

    def _first_ready(self, overtake: bool) -> int | None:
        """The place in line of the first call of the foremost group that waits for no other."""
        for place, call in enumerate(self._calls):
            if place and (not overtake or call.group != self._calls[0].group):
                break
            if call.after is None or call.after in self._done:
                return place
        return None
