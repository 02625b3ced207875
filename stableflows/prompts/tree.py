"""A prompt as a tree of choices, which counts its outcomes, gives any of them by number, and draws.

Every node writes text. With a number it writes that outcome: numbers run from 0 to `count` - 1, and the
whole product is never built. Without one it draws, by the weights.
"""

from __future__ import annotations

import math
import random
import re
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from stableflows.prompts.syntax import Method

__all__ = [
    "Bound",
    "ByPath",
    "Choice",
    "Join",
    "Literal",
    "Named",
    "Node",
    "State",
    "TooLarge",
    "Use",
    "Wrapped",
]

Key = int | str

MAX_DEPTH = 120
"""Levels of a tree: braces in wildcards in wildcards. Each takes up to two calls of Python's stack."""
MAX_TRIALS = 1_000_000
"""Values that are tried one by one, for a whole entry, where the number of outcomes depends on each."""
MAX_PICKS = 1_000_000
"""Options times the largest number of them that is picked."""

DOTS = re.compile("\\.{3,}|[\u1801\u2026\u22ee-\u22f1\ufe19]+")
"""What stands for the inner text in a wrapper, as the package has it."""


class TooLarge(ValueError):  # noqa: N818 (it says what is wrong, and becomes an InputError)
    """A tree whose outcomes cannot be counted or drawn in bounded time and memory."""


@dataclass
class State:
    """What one outcome has chosen so far.

    Attributes:
        random: for what is drawn.
        turn: the number of the prompt among those of its entry, for `@`.
        combining: whether what is not said to be random or cyclical is numbered.
        bound: the text of what was drawn once.
        chosen: (name, text) of every choice with a name, the outer one first.
        picked: the text of every option that was chosen.
        trials: how many values may still be tried, in a list that copies share.
    """

    random: random.Random
    turn: int = 0
    combining: bool = False
    bound: dict[Key, str] = field(default_factory=dict)
    chosen: list[tuple[str, str]] = field(default_factory=list)
    picked: list[str] = field(default_factory=list)
    trials: list[int] = field(default_factory=lambda: [MAX_TRIALS])

    def trial(self) -> State:
        """A copy for a look at what would be.

        Raises:
            TooLarge: too many were made.
        """
        self.trials[0] -= 1
        if self.trials[0] < 0:
            raise TooLarge("has too many wildcards whose names depend on other choices")
        return State(self.random, self.turn, self.combining, dict(self.bound), trials=self.trials)


class Node(ABC):
    """Something that writes text.

    Attributes:
        needs: what must be bound before its outcomes can be counted.
        uses: what must be bound before it can be written.
        depth: levels below it and its own.
    """

    needs: frozenset[Key]
    uses: frozenset[Key]
    depth: int

    def __init__(self, children: Sequence[Node]) -> None:
        self.needs = frozenset().union(*(child.needs for child in children))
        self.uses = frozenset().union(*(child.uses for child in children))
        self.depth = 1 + max((child.depth for child in children), default=0)
        self._counts: dict[bool, int] = {}
        if self.depth > MAX_DEPTH:
            raise TooLarge(f"is nested more than {MAX_DEPTH} levels deep")

    def count(self, state: State) -> int:
        """How many outcomes it has, equal texts included."""
        if self.needs:
            return self._count(state)
        if state.combining not in self._counts:
            self._counts[state.combining] = self._count(state)
        return self._counts[state.combining]

    @abstractmethod
    def _count(self, state: State) -> int: ...

    @abstractmethod
    def write(self, number: int | None, state: State) -> str:
        """The text of outcome `number`; one that is drawn, if it is None."""


class Literal(Node):
    """Text that is always the same."""

    def __init__(self, text: str) -> None:
        super().__init__(())
        self.text = text

    def _count(self, state: State) -> int:
        return 1

    def write(self, number: int | None, state: State) -> str:
        return self.text


class Join(Node):
    """Nodes one after another; the last varies fastest."""

    def __init__(self, parts: Sequence[Node], separator: str = "") -> None:
        super().__init__(parts)
        self.parts = tuple(parts)
        self.separator = separator

    def _count(self, state: State) -> int:
        return math.prod(part.count(state) for part in self.parts)

    def write(self, number: int | None, state: State) -> str:
        numbers: list[int | None] = [None] * len(self.parts)
        if number is not None:
            for index in range(len(self.parts) - 1, -1, -1):
                number, numbers[index] = divmod(number, self.parts[index].count(state))
        return self.separator.join(
            part.write(each, state) for part, each in zip(self.parts, numbers, strict=True)
        )


class Named(Node):
    """A node whose text is recorded under a name."""

    def __init__(self, name: str, node: Node) -> None:
        super().__init__((node,))
        self.name = name
        self.node = node

    def _count(self, state: State) -> int:
        return self.node.count(state)

    def write(self, number: int | None, state: State) -> str:
        place = len(state.chosen)
        text = self.node.write(number, state)
        # Before what was chosen inside it: the outer name comes first.
        state.chosen.insert(place, (self.name, text.strip()))
        return text


class Bound(Node):
    """`value`, written once and remembered as `key`, and then `body`."""

    def __init__(self, key: Key, value: Node, body: Node) -> None:
        super().__init__((value, body))
        self.needs = value.needs | (body.needs - {key})
        self.uses = value.uses | (body.uses - {key})
        self.key = key
        self.value = value
        self.body = body
        self._ends: dict[bool, list[int]] = {}

    def _count(self, state: State) -> int:
        if self.key not in self.body.needs:
            return self.value.count(state) * self.body.count(state)
        return self._ends_of_values(state)[-1]

    def _ends_of_values(self, state: State) -> list[int]:
        """Outcomes up to and with each value, where those of the body depend on it."""
        if not self.needs and state.combining in self._ends:
            return self._ends[state.combining]
        counts = []
        for number in range(self.value.count(state)):
            trial = state.trial()
            trial.bound[self.key] = self.value.write(number, trial)
            counts.append(self.body.count(trial))
        ends = list(accumulate(counts))
        if not self.needs:
            self._ends[state.combining] = ends
        return ends

    def write(self, number: int | None, state: State) -> str:
        value: int | None = None
        if number is not None and self.key in self.body.needs:
            value, number = _within(self._ends_of_values(state), number)
        elif number is not None:
            value, number = divmod(number, self.body.count(state))
        state.bound[self.key] = self.value.write(value, state)
        return self.body.write(number, state)


class Use(Node):
    """What was bound."""

    def __init__(self, key: Key) -> None:
        super().__init__(())
        self.uses = frozenset({key})
        self.key = key

    def _count(self, state: State) -> int:
        return 1

    def write(self, number: int | None, state: State) -> str:
        return state.bound[self.key]


class ByPath(Node):
    """A wildcard whose name is itself written: `__colours/${season}__`."""

    def __init__(self, path: Node, table: Mapping[str, Node]) -> None:
        """Args: table: what each text of `path` stands for."""
        super().__init__((path, *table.values()))
        self.needs |= path.uses
        self.path = path
        self.table = table

    def _ends(self, state: State) -> list[int]:
        trials = ((number, state.trial()) for number in range(self.path.count(state)))
        return list(accumulate(self._named(number, trial).count(state) for number, trial in trials))

    def _named(self, number: int | None, state: State) -> Node:
        return self.table[self.path.write(number, state).strip()]

    def _count(self, state: State) -> int:
        return self._ends(state)[-1]

    def write(self, number: int | None, state: State) -> str:
        path: int | None = None
        if number is not None:
            path, number = _within(self._ends(state), number)
        return self._named(path, state).write(number, state)


class Wrapped(Node):
    """`inner` in place of the dots of `wrapper`; behind it, if it has none."""

    def __init__(self, wrapper: Node, inner: Node) -> None:
        super().__init__((wrapper, inner))
        self._both = Join((wrapper, inner), separator="\x00")

    def _count(self, state: State) -> int:
        return self._both.count(state)

    def write(self, number: int | None, state: State) -> str:
        wrapper, inner = self._both.write(number, state).split("\x00", 1)
        dots = DOTS.search(wrapper)
        return wrapper[: dots.start()] + inner + wrapper[dots.end() :] if dots else wrapper + inner


class Choice(Node):
    """From `low` to `high` of some options, none twice, in any order."""

    def __init__(
        self,
        options: Sequence[tuple[Node, float]],
        low: int = 1,
        high: int = 1,
        separator: str = ", ",
        method: Method | None = None,
    ) -> None:
        """Args: options: at least one, each with its weight.

        Raises:
            TooLarge: more can be picked than can be counted.
        """
        super().__init__([node for node, _ in options])
        self.options = tuple(node for node, _ in options)
        self.weights = tuple(weight for _, weight in options)
        self.low = min(low, high, len(options))
        self.high = min(max(low, high), len(options))
        self.separator = separator
        self.method = method
        if self.high > 1 and self.high * len(options) > MAX_PICKS:
            raise TooLarge(f"picks up to {self.high:,} of {len(options):,} options")
        self._sums = list(accumulate(self.weights))
        self._known: dict[bool, _Outcomes] = {}

    def _count(self, state: State) -> int:
        drawn = self.method in ("random", "cyclical")
        return 1 if drawn and state.combining else self._outcomes(state).total

    def _outcomes(self, state: State) -> _Outcomes:
        known = self._known.get(state.combining)
        if known is None:
            known = _Outcomes([option.count(state) for option in self.options], self.low, self.high)
            if not self.needs:
                self._known[state.combining] = known
        return known

    def write(self, number: int | None, state: State) -> str:
        if self.method == "cyclical":
            number = state.turn % self._outcomes(state).total
        elif self.method == "random":
            number = None
        chosen = self._drawn(state.random) if number is None else self._outcomes(state).at(number)
        texts = [self.options[index].write(within, state) for index, within in chosen]
        state.picked += [text.strip() for text in texts]
        if len(texts) == 1:
            return texts[0]
        return self.separator.join(text.strip() for text in texts if text.strip())

    def _drawn(self, source: random.Random) -> list[tuple[int, int | None]]:
        size = source.randint(self.low, self.high) if self.low != self.high else self.low
        if size == 1:
            place = bisect_right(self._sums, source.random() * self._sums[-1])
            return [(min(place, len(self.options) - 1), None)]
        # The order of a race in which each option's time is exponential with its weight as the rate: the
        # same odds as drawing one after another without putting back. A weight of 0 comes last.
        times = [source.expovariate(weight) if weight else math.inf for weight in self.weights]
        return [(index, None) for index in sorted(range(len(times)), key=times.__getitem__)[:size]]


class _Outcomes:
    """The outcomes of picking, none twice and in any order, options that have outcomes of their own."""

    def __init__(self, counts: list[int], low: int, high: int) -> None:
        self.counts = counts
        self.same = min(counts) == max(counts)
        self.low = low
        if not self.same and high * high * len(counts) > MAX_PICKS:
            raise TooLarge(f"picks up to {high:,} of {len(counts):,} options of which some have variants")
        self.ends = list(accumulate(_by_size(counts, self.same, high)[low:]))
        self.total = self.ends[-1]
        self._ends_of_first = list(accumulate(counts))

    def at(self, number: int) -> list[tuple[int, int | None]]:
        """The options of outcome `number`, and the outcome within each."""
        place, number = _within(self.ends, number)
        size = self.low + place
        if size == 1:
            return [_within(self._ends_of_first, number)]
        chosen: list[tuple[int, int | None]] = []
        left = list(range(len(self.counts)))
        for remaining in range(size - 1, -1, -1):
            counts = [self.counts[index] for index in left]
            if self.same:
                after = math.perm(len(counts) - 1, remaining) * counts[0] ** remaining
                place, number = divmod(number, counts[0] * after)
            else:
                place, number = _within(list(accumulate(_beginnings(counts, remaining))), number)
                after = _by_size([*counts[:place], *counts[place + 1 :]], False, remaining)[-1]
            within, number = divmod(number, after)
            chosen.append((left.pop(place), within))
        return chosen


def _within(ends: list[int], number: int) -> tuple[int, int]:
    """In which of the ranges that end there a number is, and which one of it."""
    place = bisect_right(ends, number)
    return place, number - (ends[place - 1] if place else 0)


def _by_size(counts: list[int], same: bool, most: int) -> list[int]:
    """Ways to write 0, 1, ... `most` of the options, none twice, in any order."""
    if not same:
        return [math.factorial(size) * sums for size, sums in enumerate(_symmetric(counts, most))]
    ways = [1]
    for size in range(most):
        ways.append(ways[-1] * (len(counts) - size) * counts[0])
    return ways


def _symmetric(counts: list[int], size: int) -> list[int]:
    """For 0 to `size`, the sum of the products of every choice of so many counts."""
    sums = [1] + [0] * size
    for count in counts:
        for index in range(size, 0, -1):
            sums[index] += count * sums[index - 1]
    return sums


def _beginnings(counts: list[int], after: int) -> list[int]:
    """For each option, the ways to write it and then `after` of the others."""
    sums = _symmetric(counts, after)
    ways = []
    for count in counts:
        without = 1
        for index in range(1, after + 1):
            without = sums[index] - count * without
        ways.append(count * math.factorial(after) * without)
    return ways
