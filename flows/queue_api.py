"""The queue's verbs, for programs: `enqueue`, `run_now`, `pause`, `resume`, `cancel_current`, `listen`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.up_state import POOL

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

__all__ = ["resume", "tell_of_queue"]


async def resume() -> None:
    """Let jobs start again."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolUpdate

    async with get_client() as client:
        await client.update_work_pool(POOL, WorkPoolUpdate(is_paused=False))
        await tell_of_queue(client)


async def tell_of_queue(client: PrefectClient) -> None:
    """Emit `stableflows.queue.updated`."""
