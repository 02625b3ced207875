"""What renders when the queue is stopped is put back, and goes on when it is started again."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from flows.priority import Priority
from flows.queue_api import cancel_run, queue_client, resume, set_paused
from flows.queue_runs import active, before_all, pool, put_back
from flows.up_state import prefect_home

__all__ = ["go_on", "put_all_back"]

END_SECONDS = 60.0
"""How long a run gets to end; one whose server loads a checkpoint cannot at once."""
LOOKS = 2
"""A worker may have taken a run just before the queue was paused."""


def _marker() -> Path:
    """There: the queue was paused by `down` alone, and `up` lets it go on."""
    return prefect_home() / "stableflows" / "paused-by-down"


async def put_all_back() -> None:
    """Pause the queue, end what renders, and queue what is left of it before all others."""
    async with queue_client() as client:
        if not (await pool(client)).is_paused:
            await asyncio.to_thread(_marker().touch)
            await set_paused(client, True)
        for _ in range(LOOKS):
            for run in await active(client):
                if run.state is None or not run.state.is_cancelling():
                    await put_back(
                        client,
                        run,
                        priority=Priority.URGENT,
                        due=await before_all(client),
                        key=f"down-{run.id}",
                    )
                    await cancel_run(client, run)
            await asyncio.sleep(1.0)
        deadline = time.monotonic() + END_SECONDS
        while await active(client) and time.monotonic() < deadline:  # noqa: ASYNC110 (it is told by nobody)
            await asyncio.sleep(0.5)


async def go_on() -> None:
    """Let a queue go on that `put_all_back` had paused."""
    if _marker().exists():
        await resume()
        _marker().unlink()
