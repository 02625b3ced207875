"""A job as one server will get it: its calls in order, and their cost. Plan and run both ask here."""

from __future__ import annotations

from collections.abc import Collection

from stableflows.calls import StageCall
from stableflows.durations import Times
from stableflows.entries import Entry
from stableflows.estimate import Estimate, estimate
from stableflows.schedule import schedule
from stableflows.server_state import ServerState

__all__ = ["arrange"]


def arrange(
    entries: tuple[Entry, ...],
    server: ServerState,
    times: Times,
    *,
    done: Collection[str],
    window: int | None,
) -> tuple[tuple[StageCall, ...], Estimate]:
    """The calls in their order, and the estimate.

    Args:
        entries: settled.
        done: ids of calls that need no request.
        window: see `schedule`.
    """
    loaded, canonical = server.loaded, server.canonical
    calls = schedule(entries, loaded=loaded, window=window, canonical=canonical, done=done, times=times)
    cost = estimate(
        calls, entries, times, loaded=loaded, depth=server.config.depth, canonical=canonical, hits=done
    )
    return calls, cost
