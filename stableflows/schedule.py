"""The order in which a job's calls are sent: as few loads as it allows, and finished images early.

1. What needs no request comes first.
2. Entries whose stages need different weights are taken in windows, alike ones together; a window is done
   before the next begins. Of entries that need one checkpoint throughout, all wait for its first visit, and
   then go by entry: that delays no finished image, so no window bounds them.
3. Within a window the visits to checkpoints are those of `stableflows.load_search`: the fewest loads of
   checkpoints, then of VAEs, from what the window before has left. A job that fits into one window has the
   fewest of all.
4. Within a visit two chains interleave, so that no call need wait for the one just before it, and the deepest
   stage goes first, so that images get finished.

Nothing here is random: the same calls in another process are in the same order.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from stableflows.call_tree import CallKinds, CallTree
from stableflows.calls import StageCall, calls_of
from stableflows.durations import Times
from stableflows.entries import Entry
from stableflows.load_search import Budget
from stableflows.loads import (
    NOTHING,
    OPEN,
    Canonical,
    Loads,
    Route,
    Weights,
    loads_between,
    loads_of,
    routes_of,
)
from stableflows.placing import Placed, in_entry_order, in_windows
from stableflows.windows import Windows

__all__ = ["schedule", "total_loads"]

SEARCH = 200_000
"""What the searches of one schedule may take, all windows together: about a third of a second. Usual jobs
need a hundredth of it."""


def schedule(
    entries: Sequence[Entry],
    *,
    loaded: Weights | None = None,
    window: int | None = None,
    canonical: Canonical = str,
    done: Collection[str] = frozenset(),
    times: Times | None = None,
) -> tuple[StageCall, ...]:
    """The calls of these entries in the order in which they are to be sent, each with its group.

    Args:
        loaded: what the server has loaded now; it stands for what entries leave open.
        window: entries with several checkpoints that are under way together, at least 1. More save loads;
            fewer bring the first finished image sooner. None: by the rule of `fitting_window`.
        canonical: maps the names of a checkpoint (title, file name, hash) to one.
        done: ids of calls that need no request: they cost nothing and come first, and what continues them
            is ready.
        times: what loads and calls take at the server, for that rule; the defaults, if left out.
    """
    start = loaded or OPEN
    routes = routes_of(entries, start, canonical)
    calls = [call for entry in entries for call in calls_of(entry)]
    tree = CallTree(calls, routes, done)
    kinds = CallKinds(tree)
    budget = Budget(SEARCH)
    windows = Windows(tree, kinds)
    size = window or windows.fitting(entries, times or Times())
    orders = [in_windows(tree, kinds, parts, start, budget) for parts in windows.cut(start, size)]
    # Windows are cut without looking ahead; where that costs more than it saves, the entries' own order
    # stands.
    best = min([*orders, in_entry_order(tree, start)], key=lambda order: _loads(tree, order, start))
    return tuple(_of_group(calls[number], group) for number, group in best)


def total_loads(
    calls: Sequence[StageCall],
    routes: Mapping[tuple[int, int], Route],
    loaded: Weights = OPEN,
    done: Collection[str] = frozenset(),
) -> Loads:
    """What the server loads for these calls in this order."""
    sent = [call for call in calls if call.call_id not in done]
    found = [made for _, made in loads_of(sent, routes, loaded) if made is not NOTHING]
    return sum((made.loads for made in found), Loads())


def _loads(tree: CallTree, order: Sequence[Placed], start: Weights) -> Loads:
    total, now = Loads(), start
    for number, _ in order:
        for wanted in tree.routes[number]:
            if wanted != now:
                total += loads_between(now, wanted)
                now = wanted
    return total


def _of_group(call: StageCall, group: int) -> StageCall:
    return call.model_copy(update={"group": group}) if group else call
