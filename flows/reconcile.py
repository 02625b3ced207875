"""Puts right what a crash left: runs whose process has died become Crashed, and go back in the queue."""

from __future__ import annotations

__all__ = ["reconcile"]


async def reconcile(*, worker_lives: bool) -> None:
    """Stub for the first slice."""
