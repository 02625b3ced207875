"""The search for the order with the fewest loads: what `stableflows.schedule` asks for each window.

Calls that need the same and are followed by the same are one *kind*. What is left to do is then a number of
ready calls of each kind, and a state of the search that and the weights at the server. Two moves lead on: a
call that leaves other weights than it entered with (a *transfer*), and a jump, which loads weights for
calls that are ready. A call that enters and leaves with the weights that are there is done at once: it
costs nothing, and takes nothing from anybody. Such calls need not be counted either: one visit does them
all.

A* over these states is exact: `_Bounds` never says more than what is still to be paid. Where the states
would be too many (orders of many checkpoints are shortest common supersequences, which no method known
finds quickly), the search goes on by a rule, *tallest first*: always serve a call with the most stages left
to do. With H stages at most in a chain (4 in any plan), that loads at most (H + 2) times the fewest
possible, and H more. For: say the calls of height h are of T_h transfers and of others that enter with K_h
checkpoints. While h is the largest height, a jump goes to weights at which such calls wait, so it ends in a
transfer of height h, or does all others of that height there: at most T_h + K_h jumps. Together with the I
loads within calls that is I + T + the sum of all K_h. Any order has I >= T loads, and K_h - 1 for each h.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from stableflows.loads import Loads, Weights, loads_between

__all__ = ["Budget", "Kind", "Stop", "fewest_loads"]

_CHECKPOINT = 1 << 32
"""A load of a checkpoint, counted in loads of a VAE: no number of those outweighs it."""


@dataclass(frozen=True)
class Kind:
    """Calls that need the same and are followed by the same.

    Attributes:
        then: the kinds of the calls that continue it, by number, smaller than its own.
        height: calls on the longest way from it to its end, itself counted.
        counted: it or one that follows is a transfer, so that each call of the kind costs.
    """

    enter: Weights
    leave: Weights
    then: tuple[int, ...]
    height: int
    counted: bool

    @property
    def is_transfer(self) -> bool:
        return self.enter != self.leave


@dataclass(frozen=True)
class Stop:
    """Load `at` unless it is there, do all that needs nothing else, then one call of the kind `transfer`."""

    at: Weights
    transfer: int | None = None


Counts = tuple[int, ...]


@dataclass(frozen=True)
class _Found:
    cost: int
    stops: tuple[Stop, ...]
    now: Weights


@dataclass
class Budget:
    """Work that searches may still take, in kinds looked at: about 1.5 µs each. A search ends when half of
    the whole is left; the rule that goes on from there looks ahead with the rest, and then not any more."""

    whole: int
    spent: int = 0

    @property
    def for_search(self) -> bool:
        return self.spent < self.whole // 2

    @property
    def for_looking_ahead(self) -> bool:
        return self.spent < self.whole


def fewest_loads(
    kinds: Sequence[Kind], ready: Sequence[int], start: Weights, budget: Budget
) -> tuple[Stop, ...]:
    """The stops of an order with the fewest loads of checkpoints, then of VAEs.

    Args:
        ready: calls of each kind that wait for nothing.
        budget: what it takes is taken off; with nothing left, the order is that of the rule above.
    """
    return _Search(kinds).run(tuple(ready), start, budget)


def _cost(now: Weights, wanted: Weights) -> int:
    loads: Loads = loads_between(now, wanted)
    return loads.checkpoints * _CHECKPOINT + loads.vaes


@dataclass
class _Node:
    paid: int
    now: Weights
    counts: Counts
    before: _Node | None = None
    stop: Stop | None = None

    def stops(self) -> tuple[Stop, ...]:
        found: list[Stop] = []
        node: _Node | None = self
        while node is not None:
            if node.stop is not None:
                found.append(node.stop)
            node = node.before
        return tuple(reversed(found))


def _unseen(_: _Node) -> int:
    return 0


class _Search:
    def __init__(self, kinds: Sequence[Kind]) -> None:
        self.kinds = kinds
        self._uncounted = [number for number, kind in enumerate(kinds) if not kind.counted]
        self._loops: dict[Weights, list[int]] = {}
        for number in reversed(range(len(kinds))):
            if not kinds[number].is_transfer:
                self._loops.setdefault(kinds[number].enter, []).append(number)
        self.by_checkpoint = _Bounds(
            kinds, [(kind.enter.checkpoint, kind.leave.checkpoint) for kind in kinds]
        )
        self.by_weights = _Bounds(kinds, [(kind.enter, kind.leave) for kind in kinds])

    def run(self, ready: Counts, start: Weights, budget: Budget) -> tuple[Stop, ...]:
        node = root = _Node(0, start, self._served(list(ready), start))
        queue = [(self._least(node), sum(node.counts), 0, node)]
        best = {(node.now, node.counts): 0}
        number = 0
        while queue and budget.for_search:
            _, _, _, node = heapq.heappop(queue)
            if not any(node.counts):
                return node.stops()
            if node.paid > best[node.now, node.counts]:
                continue
            for _, then in self._moves(node):
                budget.spent += len(self.kinds)
                state = (then.now, then.counts)
                if then.paid < best.get(state, then.paid + 1):
                    best[state] = then.paid
                    number += 1
                    # Of equals the one with the least left to do: the search goes down before it spreads.
                    heapq.heappush(queue, (then.paid + self._least(then), sum(then.counts), number, then))
        ends = (self._tallest_first(root, budget), self._tallest_first(node, budget))
        return min(ends, key=lambda end: end.paid).stops()

    def _tallest_first(self, node: _Node, budget: Budget) -> _Node:
        while any(node.counts):
            tallest = max(kind.height for kind, n in zip(self.kinds, node.counts, strict=True) if n)
            moves = [then for height, then in self._moves(node) if height == tallest]
            budget.spent += len(self.kinds) * len(moves)
            least = self._least if budget.for_looking_ahead else _unseen
            node = min(moves, key=lambda then: (then.paid, least(then)))
        return node

    def _least(self, node: _Node) -> int:
        """What is still to be paid, at least, beside what the transfers load themselves."""
        checkpoints = self.by_checkpoint.jumps(node.counts, node.now.checkpoint)
        jumps = self.by_weights.jumps(node.counts, node.now)
        return checkpoints * _CHECKPOINT + max(0, jumps - checkpoints)

    def _moves(self, node: _Node) -> Iterator[tuple[int, _Node]]:
        """What can be done next, each with the height of the tallest call that it serves."""
        waiting = [number for number, n in enumerate(node.counts) if n]
        for number in waiting:
            if self.kinds[number].enter == node.now:
                yield self.kinds[number].height, self._transferred(node, number, node.paid, node.counts)
        for at in dict.fromkeys(self.kinds[number].enter for number in waiting):
            if at == node.now:
                continue
            paid = node.paid + _cost(node.now, at)
            there = [number for number in waiting if self.kinds[number].enter == at]
            served = self._served(list(node.counts), at)
            if served != node.counts:
                height = max(self.kinds[number].height for number in there)
                yield height, _Node(paid, at, served, node, Stop(at))
                continue
            for number in there:
                yield self.kinds[number].height, self._transferred(node, number, paid, node.counts)

    def _transferred(self, node: _Node, number: int, paid: int, counts: Counts) -> _Node:
        kind = self.kinds[number]
        left = list(counts)
        left[number] -= 1
        for child in kind.then:
            left[child] += 1
        now = kind.leave
        return _Node(paid, now, self._served(left, now), node, Stop(kind.enter, number))

    def _served(self, left: list[int], at: Weights) -> Counts:
        """What is left when all has been done that enters and leaves with these weights."""
        # A kind comes behind those that follow it, so one pass from the end reaches everything.
        for number in self._loops.get(at, ()):
            if left[number]:
                for child in self.kinds[number].then:
                    left[child] += left[number]
                left[number] = 0
        for number in self._uncounted:
            left[number] = min(left[number], 1)
        return tuple(left)


@dataclass
class _Bounds:
    """How many jumps are still needed at least, seen at one level (checkpoints, or checkpoints with VAEs).

    A visit of weights X is the time from their load to the next. It begins with a jump or with a transfer
    that leaves X, and a transfer that enters with X ends it. So jumps to X = visits of X - transfers into X
    - 1 if X is there. Visits are at least: as often as one chain comes to X; the transfers out of X, and
    more where each of them, even the last, has yet to come back to X; the transfers into X, and more where
    each, even the first, was there before.
    """

    kinds: Sequence[Kind]
    ends: Sequence[tuple[object, object]]
    """Of each kind, at this level: what it enters with and leaves."""
    _known: dict[Counts, dict[object, int]] = field(default_factory=dict)

    def jumps(self, counts: Counts, now: object) -> int:
        needed = self._known.get(counts)
        if needed is None:
            needed = self._known[counts] = self._needed(counts)
        return sum(n for n in needed.values() if n > 0) - (needed.get(now, 0) > 0)

    def _needed(self, counts: Counts) -> dict[object, int]:
        """Jumps to each X, if X is not there now."""
        visits: dict[object, int] = {}
        outs: dict[object, list[int]] = {}
        ins: dict[object, list[int]] = {}
        for number, n in enumerate(counts):
            if not n:
                continue
            for at, profile in self._profiles[number].items():
                if profile.visits > visits.get(at, 0):
                    visits[at] = profile.visits
                if self.kinds[number].counted:
                    _add(outs.setdefault(at, [0] * _DEPTHS), profile.outs, n)
                    _add(ins.setdefault(at, [0] * _DEPTHS), profile.ins, n)
        found = {}
        for at, most in visits.items():
            out, into = outs.get(at, ()), ins.get(at, ())
            found[at] = max(most, sum(out) + _more(out), sum(into) + _more(into)) - sum(into)
        return found

    @cached_property
    def _profiles(self) -> list[dict[object, _Profile]]:
        """Of each kind, what it has to do with each X."""
        found: list[dict[object, _Profile]] = []
        for number, kind in enumerate(self.kinds):
            met = dict.fromkeys(self.ends[number])
            for child in kind.then:
                met |= dict.fromkeys(found[child])
            found.append({at: self._profile(number, at, found) for at in met})
        return found

    def _profile(self, number: int, at: object, found: Sequence[Mapping[object, _Profile]]) -> _Profile:
        enter, leave = self.ends[number]
        here = (enter == at) + (leave == at and enter != leave)
        visits, outs, ins = 0, [0] * _DEPTHS, [0] * _DEPTHS
        for child in self.kinds[number].then:
            profile = found[child].get(at)
            if profile is None:
                continue
            merged = int(leave == at == self.ends[child][0])  # one visit for both
            visits = max(visits, profile.visits - merged)
            _add(outs, profile.outs)
            for depth, n in enumerate(profile.ins):
                ins[min(_DEPTHS - 1, depth + here - merged)] += n
        if enter != leave and enter == at:
            outs[min(_DEPTHS - 1, visits)] += 1
        if enter != leave and leave == at:
            ins[0] += 1
        return _Profile(here + visits, tuple(outs), tuple(ins))


_DEPTHS = 5
"""How often a chain can come back to weights is told apart up to 4; no plan has more stages."""


def _add(total: list[int], numbers: Sequence[int], times: int = 1) -> None:
    for depth, n in enumerate(numbers):
        if n:
            total[depth] += n * times


@dataclass(frozen=True)
class _Profile:
    """What one call of a kind, with all that follows it, has to do with weights X.

    Attributes:
        visits: of X, on the way that needs most.
        outs: how many transfers out of X come back to X 0, 1, 2, ... times on their way.
        ins: how many transfers into X have been at X 0, 1, 2, ... times before on their way.
    """

    visits: int
    outs: tuple[int, ...]
    ins: tuple[int, ...]


def _more(by_depth: Sequence[int]) -> int:
    """Visits beyond one a transfer: with those that come back least put last, the one with i behind it, which
    comes back d times, needs d - i visits more."""
    behind, more = 0, 0
    for depth, n in enumerate(by_depth):
        if n:
            more = max(more, depth - behind)
        behind += n
    return more
