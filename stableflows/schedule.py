"""The order in which a job's calls are sent: as few loads as it allows, and finished images early.

1. What needs no request comes first.
2. Entries whose stages need different weights are taken in windows, alike ones together; a window is done before the
   next begins. Of entries that need one checkpoint throughout, all wait for its first visit, and then go by
   entry: that delays no finished image, so no window bounds them.
3. Within a window the visits to checkpoints are those of `stableflows.load_search`: the fewest loads of checkpoints,
   then of VAEs, from what the window before has left. A job that fits into one window has the fewest of all.
4. Within a visit two chains interleave, so that no call need wait for the one just before it, and the deepest
   stage goes first, so that images get finished.

Nothing here is random: the same calls in another process are in the same order.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from stableflows.calls import StageCall, calls_of
from stableflows.entries import Entry
from stableflows.load_search import Budget, Kind, Stop, fewest_loads
from stableflows.loads import OPEN, Canonical, Loads, Route, Weights, loads_of, routes_of

__all__ = ["schedule", "total_loads"]

WINDOW = 20
"""Entries of a window, where nobody says otherwise."""

SEARCH = 300_000
"""What the searches of one schedule may take, all windows together: about a third of a second. Usual jobs need a
hundredth of it."""


def schedule(
    entries: Sequence[Entry],
    *,
    loaded: Weights | None = None,
    window: int | None = None,
    canonical: Canonical = str,
    done: Collection[str] = frozenset(),
) -> tuple[StageCall, ...]:
    """The calls of these entries in the order in which they are to be sent, each with its group.

    Args:
        loaded: what the server has loaded now; it stands for what entries leave open.
        window: entries with several checkpoints that are under way together, at least 1. More save loads; fewer bring
            the first finished image sooner.
        canonical: maps the names of a checkpoint (title, file name, hash) to one.
        done: ids of calls that need no request. Their number decides nothing; what continues them is ready.
    """
    start = loaded or OPEN
    routes = routes_of(entries, start, canonical)
    calls = [call for entry in entries for call in calls_of(entry)]
    tree = _Tree(calls, routes, done)
    kinds = _Kinds(tree)
    order = _Order(tree, kinds, start)
    budget = Budget(SEARCH)
    for part in _windows(tree, kinds, start, window or WINDOW):
        order.go_through(part, budget)
    order.finish()
    if total_loads(order.calls, routes, start, done) > total_loads(calls, routes, start, done):
        # Windows are cut without looking ahead; where that costs more than it saves, the entries' own order stands.
        return _in_entry_order(tree, start)
    return tuple(order.calls)


def total_loads(
    calls: Sequence[StageCall],
    routes: Mapping[tuple[int, int], Route],
    loaded: Weights = OPEN,
    done: Collection[str] = frozenset(),
) -> Loads:
    """What the server loads for these calls in this order."""
    sent = [call for call in calls if call.call_id not in done]
    return sum((cost for _, cost in loads_of(sent, routes, loaded)), Loads())


class _Tree:
    """Calls by their number in entry order: what continues which, and what each needs."""

    def __init__(
        self, calls: Sequence[StageCall], routes: Mapping[tuple[int, int], Route], done: Collection[str]
    ) -> None:
        self.calls = calls
        numbers = {call.call_id: number for number, call in enumerate(calls)}
        self.before = [numbers[call.after] if call.after else None for call in calls]
        self.then: list[list[int]] = [[] for _ in calls]
        self.routes: list[Route] = []
        self.done: list[int] = []
        """Calls that need no request, nor does one before them."""
        finished: set[int] = set()
        for number, (call, before) in enumerate(zip(calls, self.before, strict=True)):
            if before is not None:
                self.then[before].append(number)
            is_done = call.call_id in done
            self.routes.append(() if is_done else routes[call.entry, call.stage])
            if is_done and (before is None or before in finished):
                finished.add(number)
                self.done.append(number)
        self.first = [
            number
            for number, before in enumerate(self.before)
            if number not in finished and (before is None or before in finished)
        ]


class _Kinds:
    """The kinds of the calls of a tree (`load_search.Kind`); calls without weights have none."""

    def __init__(self, tree: _Tree) -> None:
        self.kinds: list[Kind] = []
        self._numbers: dict[tuple[Weights, Weights, tuple[int, ...]], int] = {}
        self.of_call: list[int | None] = [None] * len(tree.calls)
        self._next: list[tuple[int, ...]] = [()] * len(tree.calls)
        """Of each call, the kinds of the calls with weights that follow it next."""
        for number in range(len(tree.calls) - 1, -1, -1):
            route = tree.routes[number]
            then = tuple(kind for child in tree.then[number] for kind in self.met_at(child))
            if route:
                self.of_call[number] = self._kind(route, then)
            else:
                self._next[number] = then

    def met_at(self, call: int) -> tuple[int, ...]:
        """The kinds that wait when this call is ready."""
        kind = self.of_call[call]
        return self._next[call] if kind is None else (kind,)

    def _kind(self, route: Route, then: tuple[int, ...]) -> int:
        enter, leave = route[0], route[-1]
        children = tuple(sorted(grandchild for child in then for grandchild in self._merged(leave, child)))
        if not any(self.kinds[child].counted for child in children):
            children = tuple(dict.fromkeys(children))
        key = (enter, leave, children)
        if key not in self._numbers:
            height = 1 + max((self.kinds[child].height for child in children), default=0)
            counted = enter != leave or any(self.kinds[child].counted for child in children)
            self._numbers[key] = len(self.kinds)
            self.kinds.append(Kind(enter, leave, children, height, counted))
        return self._numbers[key]

    def _merged(self, leave: Weights, child: int) -> tuple[int, ...]:
        """A call that only goes on with what is there is one with the call before it."""
        kind = self.kinds[child]
        return kind.then if kind.enter == kind.leave == leave else (child,)


def _windows(tree: _Tree, kinds: _Kinds, start: Weights, window: int) -> Iterator[list[int]]:
    """The first calls of each window's entries."""
    by_entry: dict[int, list[int]] = {}
    for number in tree.first:
        by_entry.setdefault(tree.calls[number].entry, []).append(number)
    met = {
        entry: tuple(sorted({kind for number in numbers for kind in kinds.met_at(number)}))
        for entry, numbers in by_entry.items()
    }
    needs = {signature: _weights_of(kinds.kinds, signature) for signature in dict.fromkeys(met.values())}
    plain = {entry: next(iter(needs[met[entry]]), start) for entry in by_entry if len(needs[met[entry]]) < 2}
    several = _alike_together([entry for entry in by_entry if entry not in plain], met, kinds.kinds, start)
    parts = [several[first : first + window] for first in range(0, len(several), window)] or [[]]
    visited = [
        {weights.checkpoint for signature in {met[entry] for entry in part} for weights in needs[signature]}
        for part in parts
    ]
    visited[0].add(start.checkpoint)
    first_visit = {name: number for number, names in reversed(list(enumerate(visited))) for name in names}
    for entry, weights in plain.items():
        parts[first_visit.get(weights.checkpoint, len(parts) - 1)].append(entry)
    for part in parts:
        yield sorted(number for entry in part for number in by_entry[entry])


def _weights_of(kinds: Sequence[Kind], numbers: Sequence[int]) -> dict[Weights, None]:
    found: dict[Weights, None] = {}
    waiting = list(numbers)
    while waiting:
        kind = kinds[waiting.pop()]
        found |= {kind.enter: None, kind.leave: None}
        waiting += kind.then
    return found


def _alike_together(
    entries: Sequence[int], met: Mapping[int, tuple[int, ...]], kinds: Sequence[Kind], start: Weights
) -> list[int]:
    """Entries that begin with the same checkpoint side by side, the loaded one first; among them those with the
    same further stages."""
    checkpoints = {start.checkpoint: 0}
    signatures: dict[tuple[int, ...], int] = {}
    for entry in entries:
        signatures.setdefault(met[entry], len(signatures))
        checkpoints.setdefault(kinds[met[entry][0]].enter.checkpoint, len(checkpoints))
    return sorted(
        entries,
        key=lambda entry: (checkpoints[kinds[met[entry][0]].enter.checkpoint], signatures[met[entry]], entry),
    )


class _Ready:
    """Calls whose predecessor has its place already, waiting for theirs."""

    def __init__(self, tree: _Tree, kinds: _Kinds) -> None:
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
        """Take everything that needs nothing but what is there. What continues the call just taken comes one later
        if it can, for it would find the server idle; the last stage of a chain may wait for the next visit."""
        while True:
            number = self._take(now, at_the_end)
            if number is None:
                return
            yield number
            self.placed(number)

    def transfer(self, kind: int) -> int:
        """Take a call of this kind."""
        waiting = self._transfers[kind]
        if len(waiting) > 1 and self._tree.before[waiting[0]] == self._last:
            waiting.rotate(-1)
        return waiting.popleft()

    def placed(self, number: int) -> None:
        self._last = number
        for child in self._tree.then[number]:
            self.add(child)

    def _take(self, now: Weights, at_the_end: bool) -> int | None:
        heaps = [heap for heap in (self._anywhere, self._there.get(now)) if heap]
        skipped: list[tuple[list[tuple[int, int]], tuple[int, int]]] = []
        found = None
        while found is None and (heaps := [heap for heap in heaps if heap]):
            heap = min(heaps)
            place = heapq.heappop(heap)
            if self._tree.before[place[1]] is None or self._tree.before[place[1]] != self._last:
                found = place[1]
            else:
                skipped.append((heap, place))
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

    def __init__(self, tree: _Tree, kinds: _Kinds, start: Weights) -> None:
        self._tree = tree
        self._kinds = kinds
        self._now = start
        self._ready = _Ready(tree, kinds)
        self._searched: dict[tuple[Weights, tuple[tuple[int, int], ...]], tuple[Stop, ...]] = {}
        self._group = 0
        self.calls = [tree.calls[number] for number in tree.done]
        if self.calls:
            self._group = 1

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
        before = len(self.calls)
        for number in self._ready.here(self._now, at_the_end=at_the_end):
            self._place(number)
        self._group += len(self.calls) > before

    def _transfer(self, kind: int) -> None:
        """One call that leaves other weights: a group of its own, for nothing may overtake it."""
        number = self._ready.transfer(kind)
        self._place(number)
        self._ready.placed(number)
        self._now = self._tree.routes[number][-1]
        self._group += 1
        self._visit()

    def _place(self, number: int) -> None:
        self.calls.append(self._tree.calls[number].model_copy(update={"group": self._group}))


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


def _in_entry_order(tree: _Tree, start: Weights) -> tuple[StageCall, ...]:
    """Entry by entry, stage by stage, as they came."""
    done = set(tree.done)
    found = [tree.calls[number] for number in tree.done]
    group, now, left = int(bool(found)), start, start
    for number, route in enumerate(tree.routes):
        if number in done:
            continue
        if route:
            transfers = route[0] != route[-1]
            group += route[0] != now or transfers or now != left
            left, now = route[0], route[-1]
        found.append(tree.calls[number].model_copy(update={"group": group}))
    return tuple(found)
