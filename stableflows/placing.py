"""Calls put into their order, window by window, as the search for the fewest loads says."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from stableflows.call_tree import CallKinds, CallTree
from stableflows.load_search import Budget, Kind, Stop, fewest_loads
from stableflows.loads import Weights

__all__ = ["Placed", "in_entry_order", "in_windows"]

Placed = tuple[int, int]
"""A call's number in entry order, and its group."""


def in_windows(
    tree: CallTree, kinds: CallKinds, parts: Sequence[Sequence[int]], start: Weights, budget: Budget
) -> list[Placed]:
    """The calls of these windows, each given as the calls that begin it."""
    order = _Order(tree, kinds, start)
    for part in parts:
        order.go_through(part, budget)
    order.finish()
    return order.placed


def in_entry_order(tree: CallTree, start: Weights) -> list[Placed]:
    """Entry by entry, stage by stage, as they came."""
    done = set(tree.done)
    found: list[Placed] = [(number, 0) for number in tree.done]
    group, now, entered = int(bool(found)), start, start
    for number, route in enumerate(tree.routes):
        if number in done:
            continue
        if route:
            # A transfer is a group of its own; so is what comes behind it, and what something is loaded for.
            group += route[0] != now or route[0] != route[-1] or now != entered
            entered, now = route[0], route[-1]
        found.append((number, group))
    return found


class _Ready:
    """Calls whose predecessor has its place already, waiting for theirs."""

    def __init__(self, tree: CallTree, kinds: CallKinds) -> None:
        self._tree = tree
        self._kinds = kinds
        self._anywhere: list[tuple[int, int]] = []
        self._there: dict[Weights, list[tuple[int, int]]] = {}
        self._transfers: dict[int, deque[int]] = {}
        self._last: int | None = None

    def add(self, number: int) -> None:
        route = self._tree.routes[number]
        # The deepest stage first, so that images get finished; of one stage in the order of entries.
        place = (-self._tree.calls[number].stage, number)
        if not route:
            heapq.heappush(self._anywhere, place)
        elif route[0] == route[-1]:
            heapq.heappush(self._there.setdefault(route[0], []), place)
        else:
            kind = self._kinds.of_call[number]
            assert kind is not None  # noqa: S101 (it has a route)
            self._transfers.setdefault(kind, deque()).append(number)

    def here(self, now: Weights, *, at_the_end: bool = False) -> Iterator[int]:
        """Take everything that needs nothing but what is there. What continues the call just taken comes
        one later if it can, for it would find the server idle; the last stage of a chain may wait for the
        next visit."""
        while True:
            number = self._take(now, at_the_end)
            if number is None:
                return
            yield number
            self.placed(number)

    def transfer(self, kind: int) -> int:
        """Take a call of this kind."""
        waiting = self._transfers[kind]
        place = 1 if len(waiting) > 1 and self._continues_the_last(waiting[0]) else 0
        number = waiting[place]
        del waiting[place]
        return number

    def placed(self, number: int) -> None:
        self._last = number
        for child in self._tree.then[number]:
            self.add(child)

    def _continues_the_last(self, number: int) -> bool:
        before = self._tree.before[number]
        return before is not None and before == self._last

    def _take(self, now: Weights, at_the_end: bool) -> int | None:
        heaps = [heap for heap in (self._anywhere, self._there.get(now)) if heap]
        skipped: list[tuple[list[tuple[int, int]], tuple[int, int]]] = []
        found = None
        while found is None and (heaps := [heap for heap in heaps if heap]):
            heap = min(heaps)
            place = heapq.heappop(heap)
            if self._continues_the_last(place[1]):
                skipped.append((heap, place))
            else:
                found = place[1]
        if found is None:
            # What others wait for must be done now, and so must what these weights are here for.
            needed = [
                (heap, place)
                for heap, place in skipped
                if at_the_end or heap is not self._anywhere or self._kinds.met_at(place[1])
            ]
            if needed:
                skipped.remove(needed[0])
                found = needed[0][1][1]
        for heap, place in skipped:
            heapq.heappush(heap, place)
        return found


class _Order:
    """The order as it grows, and what is at the server behind its last call."""

    def __init__(self, tree: CallTree, kinds: CallKinds, start: Weights) -> None:
        self._tree = tree
        self._kinds = kinds
        self._now = start
        self._ready = _Ready(tree, kinds)
        self._searched: dict[tuple[Weights, tuple[tuple[int, int], ...]], tuple[Stop, ...]] = {}
        self.placed: list[Placed] = [(number, 0) for number in tree.done]
        self._group = int(bool(tree.done))

    def go_through(self, first: Sequence[int], budget: Budget) -> None:
        """All calls that begin with `first`, one window's."""
        counts = Counter(kind for number in first for kind in self._kinds.met_at(number))
        signature = (self._now, tuple(sorted(counts.items())))
        stops = self._searched.get(signature)
        if stops is None:
            stops = self._searched[signature] = _search(self._kinds.kinds, counts, self._now, budget)
        for number in first:
            self._ready.add(number)
        self._visit()
        for stop in stops:
            if stop.at != self._now:
                self._now = stop.at
                self._visit()
            if stop.transfer is not None:
                self._transfer(stop.transfer)

    def finish(self) -> None:
        self._visit(at_the_end=True)

    def _visit(self, *, at_the_end: bool = False) -> None:
        """Everything that needs nothing but what is there: one group."""
        before = len(self.placed)
        for number in self._ready.here(self._now, at_the_end=at_the_end):
            self.placed.append((number, self._group))
        self._group += len(self.placed) > before

    def _transfer(self, kind: int) -> None:
        """One call that leaves other weights: a group of its own, for nothing may overtake it."""
        number = self._ready.transfer(kind)
        self.placed.append((number, self._group))
        self._ready.placed(number)
        self._now = self._tree.routes[number][-1]
        self._group += 1
        self._visit()


def _search(
    kinds: Sequence[Kind], counts: Mapping[int, int], start: Weights, budget: Budget
) -> tuple[Stop, ...]:
    """The stops of one window, searched for among its own kinds alone."""
    own: set[int] = set()
    waiting = list(counts)
    while waiting:
        number = waiting.pop()
        if number not in own:
            own.add(number)
            waiting += kinds[number].then
    numbers = sorted(own)
    place = {number: at for at, number in enumerate(numbers)}
    local = [
        replace(kinds[number], then=tuple(place[then] for then in kinds[number].then)) for number in numbers
    ]
    stops = fewest_loads(local, [counts.get(number, 0) for number in numbers], start, budget)
    return tuple(
        stop if stop.transfer is None else replace(stop, transfer=numbers[stop.transfer]) for stop in stops
    )
