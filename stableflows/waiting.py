"""Waits that end when the run is cancelled, or shall send nothing further."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["WaitCancelled", "unless_cancelled"]

T = TypeVar("T")


class WaitCancelled(Exception):  # noqa: N818 (it is none)
    """The run was cancelled or stopped meanwhile."""


async def unless_cancelled(work: Coroutine[Any, Any, T], *ends: asyncio.Event) -> T:
    """What `work` returns.

    Raises:
        WaitCancelled: one of `ends` was set first, perhaps before the call; `work` was cancelled.
    """
    if any(end.is_set() for end in ends):
        work.close()
        raise WaitCancelled
    working, ended = asyncio.create_task(work), [asyncio.create_task(end.wait()) for end in ends]
    try:
        await asyncio.wait({working, *ended}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise WaitCancelled
    finally:
        for task in (working, *ended):
            task.cancel()
        await asyncio.gather(working, *ended, return_exceptions=True)
