"""Which combinations of slots an entry gets. The product is never built: a combination is a number."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence

from stableflows.prompts.model import Matrix

__all__ = ["how_many", "picks", "spread"]

GOLDEN = (math.sqrt(5) - 1) / 2


def how_many(matrix: Matrix, sizes: Sequence[int]) -> int:
    """Combinations that an entry gets of slots with so many values."""
    total = math.prod(sizes)
    if matrix.mode == "fanout":
        return min(total, matrix.limit or total)
    most = math.lcm(*sizes) if matrix.mode == "rotate" else total
    return min(most, matrix.limit or 1)


def picks(
    matrix: Matrix, sizes: Sequence[int], *, source: random.Random, taken: int
) -> Iterator[tuple[int, ...]]:
    """The combinations, as the index of each slot's value.

    Args:
        source: for the mode random.
        taken: how many the entries before it took; for sequential and rotate.
    """
    total, number = math.prod(sizes), how_many(matrix, sizes)
    if matrix.mode == "rotate":
        for turn in range(taken, taken + number):
            yield tuple(turn % size for size in sizes)
        return
    if matrix.mode == "random":
        ranks: Iterator[int] = _sample(total, number, source)
    elif matrix.mode == "fanout":
        ranks = spread(total, number)
    else:
        step = _step(total)
        ranks = ((turn % total) * step % total for turn in range(taken, taken + number))
    for rank in ranks:
        yield _digits(rank, sizes)


def spread(total: int, number: int) -> Iterator[int]:
    """`number` of the numbers below `total`, in order, spread over all of them."""
    if number >= total:
        return iter(range(total))
    step = _step(total)
    return iter(sorted(turn * step % total for turn in range(number)))


def _step(total: int) -> int:
    """A step that visits every number below `total` once, and after any few steps has been everywhere.

    Multiples of the golden ratio fill a circle evenly; and since the step has no divisor in common with the
    number of values of any slot, each slot, too, sees all its values in turn.
    """
    wanted = max(1, int(total * GOLDEN)) if total < 2**53 else total * 61803398874989 // 10**14
    return next(step for step in range(wanted, wanted + total + 1) if math.gcd(step, total) == 1)


def _sample(total: int, number: int, source: random.Random) -> Iterator[int]:
    if total < 2**62:
        yield from source.sample(range(total), number)
        return
    seen: set[int] = set()  # A range of this length has no len().
    while len(seen) < number:
        rank = source.randrange(total)
        if rank not in seen:
            seen.add(rank)
            yield rank


def _digits(rank: int, sizes: Sequence[int]) -> tuple[int, ...]:
    """The values of combination `rank`; the last slot varies fastest."""
    digits = []
    for size in reversed(sizes):
        rank, digit = divmod(rank, size)
        digits.append(digit)
    return tuple(reversed(digits))
