"""Waits that end when the run is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["WaitCancelled", "unless_cancelled"]

T = TypeVar("T")


class WaitCancelled(Exception):  # noqa: N818 (it is none)
    """The run was cancelled meanwhile."""


async def unless_cancelled(work: Coroutine[Any, Any, T], cancel: asyncio.Event) -> T:
    """What `work` returns.

    Raises:
        WaitCancelled: `cancel` was set first; `work` was cancelled.
    """
    working, cancelled = asyncio.create_task(work), asyncio.create_task(cancel.wait())
    try:
        await asyncio.wait({working, cancelled}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise WaitCancelled
    finally:
        working.cancel()
        cancelled.cancel()
        await asyncio.gather(working, cancelled, return_exceptions=True)
