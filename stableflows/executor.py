"""One asyncio executor: sends calls in their order, each when the one it continues is done.

Never more than `depth` calls are under way. A call that fails costs only the calls that continue it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from stableflows.calls import StageCall
from stableflows.results import ImageRecord, StageOutput

__all__ = ["RunCall", "execute"]

RunCall = Callable[[StageCall, ImageRecord | None], Awaitable[StageOutput | None]]
"""Runs one call on the image that it continues. None: it failed or was cancelled, and that is recorded."""


async def execute(
    calls: Sequence[StageCall], run_call: RunCall, *, cancel: asyncio.Event, depth: int = 1
) -> None:
    """Run every call that can be run.

    Args:
        calls: in the order in which they are to be sent, each behind the one that it continues.
        run_call: what is done for each; it keeps its own record, and raises only what ends the run.
        cancel: once set, no further call starts; those under way are awaited.
        depth: calls under way at most.
    """
    waiting = list(calls)
    running: dict[asyncio.Task[StageOutput | None], StageCall] = {}
    outputs: dict[str, StageOutput | None] = {}
    try:
        while waiting or running:
            while len(running) < depth and not cancel.is_set():
                call = _next_ready(waiting, outputs)
                if call is None:
                    break
                before = outputs[call.after] if call.after else None
                source = before.images[call.take] if before else None
                running[asyncio.ensure_future(run_call(call, source))] = call
            if not running:
                return  # cancelled, or all that is left continues what failed
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                outputs[running.pop(task).call_id] = task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _next_ready(waiting: list[StageCall], outputs: dict[str, StageOutput | None]) -> StageCall | None:
    """Take the first call whose predecessor is done; drop those whose predecessor failed."""
    for call in list(waiting):
        if call.after is None or outputs.get(call.after) is not None:
            waiting.remove(call)
            return call
        if call.after in outputs:  # it failed: so has everything that continues it
            waiting.remove(call)
            outputs[call.call_id] = None
    return None
