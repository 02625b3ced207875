"""Chance that is always the same."""

from random import Random


def dice(*seed: str | bytes) -> Random:
    """A generator that draws the same for the same seed; nothing here is a secret."""
    parts = (part if isinstance(part, bytes) else part.encode() for part in seed)
    return Random(b"\0".join(parts))  # noqa: S311
