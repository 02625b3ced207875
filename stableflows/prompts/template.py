"""The texts of one entry, which are drawn together, and every prompt that they stand for."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stableflows.errors import InputError, Where
from stableflows.prompts import syntax, tree
from stableflows.prompts.compile import Compiler
from stableflows.prompts.grammar import SLOT, TemplateError, has_syntax, parse
from stableflows.prompts.matrix import how_many, picks, spread
from stableflows.prompts.model import MOST_PROMPTS, Drawing, Matrix, Slot
from stableflows.prompts.own import OwnPrompt, Place
from stableflows.prompts.place import Finder
from stableflows.prompts.wildcards import Wildcards

__all__ = ["Template", "Texts", "Written"]

Texts = tuple[str, str, str, str]
"""Prompt, negative prompt, and both of the globals."""

BETWEEN = "\x01"
"""Stands between the texts while they are one; files with it in them are refused."""


@dataclass(frozen=True)
class Written:
    """One prompt, and how it came about.

    Attributes:
        own: the stages' own prompts that are not as they were written.
    """

    texts: Texts
    values: dict[str, str]
    seed: int
    own: dict[Place, str] = field(default_factory=dict)


class Template:
    """The texts of an entry.

    Attributes:
        is_dynamic: there is something to choose, or to replace.
        slots: those that its prompts have.
    """

    def __init__(
        self,
        texts: Texts,
        where: Where,
        wildcards: Wildcards,
        *,
        matrix: Matrix,
        drawing: Drawing,
        negatives: Mapping[str, str],
        own: Sequence[OwnPrompt] = (),
    ) -> None:
        """
        Args:
            negatives: what is added to the negative prompt for a chosen value.
            own: prompts of the stages' own, which are drawn with those of the entry.

        Raises:
            InputError: a text that cannot be read, or a name that there is not.
        """
        self.written = texts
        self._matrix = matrix
        self._drawing = drawing
        self._negatives = dict(negatives)
        self._where = where
        self._own = own
        everything = (*texts, *(one.text for one in own))
        slots = _slots(matrix, everything)
        replaced = tuple(_replaced(text, slots) for text in everything)
        self.is_dynamic = drawing.mode != "off" and any(map(has_syntax, replaced))
        self.slots: tuple[Slot, ...] = ()
        if self.is_dynamic:
            values = {slot.name: slot.values for slot, _ in slots}
            self._compiler = Compiler(wildcards, values, self._finder(replaced))
            self._body = self._compiler.texts(self._parsed(replaced, wildcards), BETWEEN)
            self.slots = tuple(slot for slot, _ in slots if slot.name in self._compiler.slots)
            self._nodes = [[self._compiler.slot_value(value) for value in slot.values] for slot in self.slots]
            for slot in self.slots:
                self._negatives |= slot.negatives

    def _finder(self, texts: Sequence[str]) -> Finder:
        first = len(self.written)
        elsewhere = {text: one.where for text, one in zip(texts[first:], self._own, strict=True)}
        return Finder(self._where, texts, elsewhere)

    def _parsed(self, texts: Sequence[str], wildcards: Wildcards) -> list[syntax.Syntax]:
        read: list[syntax.Syntax] = []
        for text in texts:
            try:
                read.append(parse(text, exists=wildcards.has) if has_syntax(text) else syntax.Text(text))
            except TemplateError as error:
                finder = self._finder(texts)
                raise finder.error(error.message, text, error.offset) from None
        return read

    @property
    def combinations(self) -> int:
        """Combinations of its slots that it gets."""
        return how_many(self._matrix, [len(slot.values) for slot in self.slots])

    def count(self) -> int:
        """How many prompts it stands for; equal texts count as often as they come.

        Raises:
            InputError: more than can be counted.
        """
        if not self.is_dynamic:
            return 1
        try:
            return self._count(tree.State(random.Random(0), combining=self._is_combining))  # noqa: S311
        except tree.TooLarge as error:
            raise InputError(f"{error}.", where=self._where) from None

    def _count(self, state: tree.State) -> int:
        limit = self._limit
        sizes = [len(slot.values) for slot in self.slots]
        if any(f"[[{slot.name}]]" in self._body.needs for slot in self.slots):
            if self.combinations > MOST_PROMPTS:
                raise tree.TooLarge(
                    f"has {self.combinations:,} combinations of slots on which wildcards depend; "
                    "give a limit: `matrix: {limit: 100}`"
                )
            counts = (self._bound(each).count(state) for each in self._picks(sizes, 0))
            return sum(min(one, limit or one) for one in counts)
        # How many combinations there are of slot values that together have so many outcomes.
        body = self._body.count(state)
        by_outcomes = Counter({1: 1})
        if self.combinations == math.prod(sizes):
            for nodes in self._nodes:
                longer: Counter[int] = Counter()
                for value, times in Counter(node.count(state) for node in nodes).items():
                    for outcomes, number in by_outcomes.items():
                        longer[min(outcomes * value, limit or outcomes * value)] += number * times
                by_outcomes = longer
        else:
            by_outcomes = Counter(
                math.prod(nodes[index].count(state) for nodes, index in zip(self._nodes, each, strict=True))
                for each in self._picks(sizes, 0)
            )
        return sum(
            number * min(outcomes * body, limit or outcomes * body)
            for outcomes, number in by_outcomes.items()
        )

    @property
    def _is_combining(self) -> bool:
        return self._drawing.mode == "combinatorial"

    @property
    def _limit(self) -> int | None:
        return self._drawing.limit or (None if self._is_combining else 1)

    def _picks(self, sizes: Sequence[int], seed: int, taken: int = 0) -> Iterator[tuple[int, ...]]:
        source = random.Random(seed)  # noqa: S311 (chooses prompts)
        return picks(self._matrix, sizes, source=source, taken=taken)

    def _bound(self, digits: tuple[int, ...]) -> tree.Node:
        """The prompt with these values of its slots."""
        node = self._body
        for slot, nodes, index in reversed(list(zip(self.slots, self._nodes, digits, strict=True))):
            node = tree.Bound(f"[[{slot.name}]]", tree.Named(slot.name, nodes[index]), node)
        return node

    def prompts(self, seed: int, *, taken: int = 0) -> Iterator[Written]:
        """Every prompt that it stands for, one after another, none twice.

        Args:
            seed: of all that is drawn.
            taken: combinations that entries before it took, for the modes sequential and rotate.

        Raises:
            InputError: more than can be written.
        """
        if not self.is_dynamic:
            yield Written(self.written, {}, seed)
            return
        seen: set[bytes] = set()
        sizes = [len(slot.values) for slot in self.slots]
        try:
            for digits in self._picks(sizes, seed, taken):
                raw = [slot.values[index] for slot, index in zip(self.slots, digits, strict=True)]
                for text, state, drawn in self._outcomes(self._bound(digits), seed, digits, seen):
                    texts, own = self._texts(text, [*raw, *state.picked], state)
                    yield Written(texts, _values(state), drawn, own)
        except tree.TooLarge as error:
            raise InputError(f"{error}.", where=self._where) from None

    def _outcomes(
        self, node: tree.Node, seed: int, digits: tuple[int, ...], seen: set[bytes]
    ) -> Iterator[tuple[str, tree.State, int]]:
        """Outcomes of one combination of slots, without those whose text was `seen`."""
        trials = [tree.MAX_TRIALS]
        total = node.count(self._state(0, 0, trials))
        wanted = min(total, self._limit or total)
        made = 0
        for turn, number in enumerate(self._numbers(total, wanted)):
            drawn = _derived(seed, digits, turn)
            state = self._state(drawn, turn if self._is_combining else made, trials)
            text = node.write(number, state)
            digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
            if digest not in seen:
                seen.add(digest)
                made += 1
                yield text, state, drawn
            if made == wanted:
                return

    def _numbers(self, total: int, wanted: int) -> Iterator[int | None]:
        """The outcomes to write, None for one that is drawn."""
        if self._is_combining:
            yield from spread(total, wanted)
            return
        for _ in range(wanted * 20 + 100):
            yield None
        # What is left is drawn so seldom that it is sooner found by going through all.
        yield from spread(total, min(total, wanted * 20 + 100))

    def _state(self, seed: int, turn: int, trials: list[int]) -> tree.State:
        source = random.Random(seed)  # noqa: S311 (chooses prompts)
        return tree.State(source, turn, self._is_combining, trials=trials)

    def _texts(self, text: str, chosen: Sequence[str], state: tree.State) -> tuple[Texts, dict[Place, str]]:
        prompt, negative, around, negative_around, *own = text.split(BETWEEN)
        options = dict.fromkeys([*chosen, *(value for _, value in state.chosen)])
        added = [self._negatives[each] for each in options if self._negatives.get(each)]
        negative = ", ".join(filter(None, [negative, *dict.fromkeys(added)]))
        drawn = {one.place: found.strip() for one, found in zip(self._own, own, strict=True)}
        changed = {one.place: drawn[one.place] for one in self._own if drawn[one.place] != one.text}
        return (prompt, negative, around, negative_around), changed


def _values(state: tree.State) -> dict[str, str]:
    """What was chosen, by name; a name that came before has its number behind it: `colour`, `colour.2`."""
    times: Counter[str] = Counter()
    values: dict[str, str] = {}
    for name, text in state.chosen:
        times[name] += 1
        values[name if times[name] == 1 else f"{name}.{times[name]}"] = text
    return values


def _derived(seed: int, digits: tuple[int, ...], turn: int) -> int:
    """The seed of a draw; the first one's is that of the entry."""
    if not turn and not any(digits):
        return seed
    return int.from_bytes(hashlib.sha256(json.dumps([seed, digits, turn]).encode()).digest()[:4], "big")


def _slots(matrix: Matrix, texts: Sequence[str]) -> list[tuple[Slot, str | None]]:
    """Every slot, and those of search and replace with what they stand in place of."""
    if not matrix.enabled:
        return []
    slots: list[tuple[Slot, str | None]] = [(slot, None) for slot in matrix.slots]
    taken = {slot.name for slot in matrix.slots}
    for number, rule in enumerate(matrix.replace, start=1):
        if any(rule.old in text for text in texts):
            plain = SLOT.fullmatch(f"[[{rule.old}]]") and rule.old not in taken
            name = rule.old if plain else f"replace{number}"
            slots.append((Slot(name=name, values=rule.values), rule.old))
    return slots


def _replaced(text: str, slots: Sequence[tuple[Slot, str | None]]) -> str:
    for number, (_, old) in enumerate(slots):
        if old is not None:  # In two steps: one rule does not replace in what another has put there.
            text = text.replace(old, f"\x02{number}\x02")
    for number, (slot, old) in enumerate(slots):
        if old is not None:
            text = text.replace(f"\x02{number}\x02", f"[[{slot.name}]]")
    return text
