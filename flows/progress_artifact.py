"""The bar on a flow run's page while it renders."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import httpx

from stableflows.bookkeeping import RunBook

__all__ = ["shown_progress"]

EVERY = 5.0
"""Seconds between two updates; each is a write to Prefect's database."""

log = logging.getLogger("stableflows.prefect")


@asynccontextmanager
async def shown_progress(book: RunBook, requests: int) -> AsyncIterator[None]:
    """Keep a progress artifact up to date for the time of the block. For the eye; failures are logged.

    Args:
        book: counts the calls that ended. The run's files, read every few seconds, would cost a large job
            more than its calls do.
        requests: of the whole run.
    """
    bar = _Bar(book, requests)
    updating = asyncio.create_task(bar.update_now_and_then())
    try:
        yield
    finally:
        updating.cancel()
        await asyncio.gather(updating, return_exceptions=True)
        await bar.update()


class _Bar:
    def __init__(self, book: RunBook, requests: int) -> None:
        self._book, self._requests = book, requests
        self._artifact: UUID | None = None
        self._shown = -1.0

    async def update_now_and_then(self) -> None:
        while True:
            await self.update()
            await asyncio.sleep(EVERY)

    async def update(self) -> None:
        from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

        done = 100.0 * self._book.ended / max(1, self._requests)
        words = f"{self._book.ended} of {self._requests} requests"
        if done == self._shown:
            return
        try:
            if self._artifact is None:
                self._artifact = await acreate_progress_artifact(
                    done, key="stableflows-progress", description=words
                )
            else:
                await aupdate_progress_artifact(self._artifact, done, description=words)
            self._shown = done
        except httpx.HTTPError as error:
            log.warning("The progress could not be shown: %r", error)
