"""Windows: which entries are under way together, and how many.

Entries whose stages need different weights are rendered stage by stage, a window of them at a time: that
saves loads, and bounds how long the first finished image takes and how many images of stages in between are
held. Entries that need the same weights throughout lose nothing by waiting for the first visit to their
checkpoint, and no window bounds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

from stableflows.call_tree import CallKinds, CallTree
from stableflows.durations import Times
from stableflows.entries import Entry
from stableflows.loads import Weights
from stableflows.work import work_of

__all__ = ["Windows", "fitting_window"]

_SHARE_OF_LOADING = 0.1
_WIDEST = 240
_SAMPLE = 50


def fitting_window(loads: float, load_seconds: float, entry_seconds: float) -> int:
    """How many entries a window takes, where nobody says: so many that loading is a tenth of the time.

    A window of w entries takes w * entry_seconds of rendering and, whatever its size, about one load for each
    checkpoint that it visits. A larger window saves little more, and its first finished image comes later:
    with this rule after about ten times what the window's loads take (2 checkpoints of 15 s each: 5
    minutes). Never more than 240 entries, whose images of stages in between are what a window holds.

    Args:
        loads: checkpoints that a window visits.
    """
    if load_seconds <= 0:
        return 1
    rendering = loads * load_seconds * (1 - _SHARE_OF_LOADING) / _SHARE_OF_LOADING
    return max(1, min(_WIDEST, ceil(rendering / max(entry_seconds, 1e-3))))


class Windows:
    """A job's entries, as they can be cut into windows."""

    def __init__(self, tree: CallTree, kinds: CallKinds) -> None:
        self._tree = tree
        self._kinds = kinds.kinds
        self._first: dict[int, list[int]] = {}
        """Of each entry, the calls that begin it."""
        for number in tree.first:
            self._first.setdefault(tree.calls[number].entry, []).append(number)
        self._signatures = {
            entry: tuple(sorted({kind for number in numbers for kind in kinds.met_at(number)}))
            for entry, numbers in self._first.items()
        }
        self._needs = {
            signature: self._weights_of(signature) for signature in dict.fromkeys(self._signatures.values())
        }
        self._plain = [entry for entry in self._first if len(self._needs[self._signatures[entry]]) < 2]
        self._several = [entry for entry in self._first if len(self._needs[self._signatures[entry]]) > 1]

    def fitting(self, entries: Sequence[Entry], times: Times) -> int:
        """The size by the rule of `fitting_window`, from the first entries that a window would bound."""
        by_index = {entry.index: entry for entry in entries}
        sample = self._several[:_SAMPLE]
        if not sample:
            return 1
        visited = [
            len({weights.checkpoint for weights in self._needs[self._signatures[entry]]}) for entry in sample
        ]
        among = set(sample)
        rendering = sum(
            times.seconds(work_of(call, by_index[call.entry]))
            for call in self._tree.calls
            if call.entry in among
        )
        return fitting_window(sum(visited) / len(sample), times.load_seconds, rendering / len(sample))

    def cut(self, start: Weights, size: int) -> Iterator[list[list[int]]]:
        """Ways to cut the job, each window as the calls that begin its entries. Neither way loads less
        always: alike entries side by side need fewer checkpoints a window, unlike ones can take over what
        another has left."""
        orders = [self._several]
        if len(self._several) > size:
            orders.append(self._alike_together(start))
        for order in orders:
            parts = [order[first : first + size] for first in range(0, len(order), size)] or [[]]
            first_visit = {start.checkpoint: 0}
            for number, part in enumerate(parts):
                for signature in dict.fromkeys(self._signatures[entry] for entry in part):
                    for weights in self._needs[signature]:
                        first_visit.setdefault(weights.checkpoint, number)
            for entry in self._plain:
                weights = next(iter(self._needs[self._signatures[entry]]), start)
                parts[first_visit.get(weights.checkpoint, len(parts) - 1)].append(entry)
            yield [sorted(number for entry in part for number in self._first[entry]) for part in parts]

    def _weights_of(self, numbers: Sequence[int]) -> dict[Weights, None]:
        """All that these kinds and those behind them need."""
        found: dict[Weights, None] = {}
        waiting = list(numbers)
        while waiting:
            kind = self._kinds[waiting.pop()]
            found |= {kind.enter: None, kind.leave: None}
            waiting += kind.then
        return found

    def _alike_together(self, start: Weights) -> list[int]:
        """Entries that begin with the same checkpoint side by side, the loaded one first; among them those
        with the same further stages."""
        signatures: dict[tuple[int, ...], int] = {}
        checkpoints = {start.checkpoint: 0}
        for entry in self._several:
            signatures.setdefault(self._signatures[entry], len(signatures))
            checkpoints.setdefault(self._enters(entry), len(checkpoints))
        return sorted(
            self._several,
            key=lambda entry: (checkpoints[self._enters(entry)], signatures[self._signatures[entry]], entry),
        )

    def _enters(self, entry: int) -> str:
        return self._kinds[self._signatures[entry][0]].enter.checkpoint
