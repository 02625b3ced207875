"""Where an image's seed comes from: fixed by a config, derived from the entry's content, or drawn.

A seed left out is derived from the job's seed and the entry's content, not its position, so that a rerun
gives the same images and an added entry changes no other. -1 draws anew at each new run.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from stableflows.config.base import Strict
from stableflows.config.generation import MAX_SEED

__all__ = ["Draw", "Draws", "SeedChoice", "choose"]

Draw = Callable[[str], int]
"""Gives the seed for a name; a run that repeats another gives the recorded one."""


class SeedChoice(Strict):
    """A seed, and how it was come by."""

    value: int
    how: Literal["fixed", "derived", "drawn"]


class Draws:
    """Draws seeds from the operating system's randomness, each name once, and remembers them."""

    def __init__(self, recorded: Mapping[str, int] | None = None) -> None:
        """Args: recorded: the draws of an earlier run, which are used again."""
        self.made: dict[str, int] = dict(recorded or {})

    def __call__(self, name: str) -> int:
        return self.made.setdefault(name, secrets.randbelow(MAX_SEED + 1))


def choose(
    configured: int | None, *, job_seed: int, content: Sequence[str], name: str, draw: Draw
) -> SeedChoice:
    """The seed that an entry begins with.

    Args:
        configured: what the config says; None for nothing, -1 for a draw.
        content: what makes the entry this entry: prompts and the SHA-256 of its inputs.
        name: what the seed is for, the same at each run; names the draw, and keeps the variation seed
            from being the seed.
    """
    if configured == -1:
        return SeedChoice(value=draw(name), how="drawn")
    if configured is not None:
        return SeedChoice(value=configured, how="fixed")
    purpose = name.rsplit("/", 1)[-1]
    text = json.dumps([job_seed, purpose, *content], ensure_ascii=True)
    digest = hashlib.sha256(text.encode()).digest()
    return SeedChoice(value=int.from_bytes(digest[:4], "big"), how="derived")
