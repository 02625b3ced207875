"""How things are worded, on the terminal and in Prefect."""

from __future__ import annotations

__all__ = ["NO_WORKER", "counted"]

NO_WORKER = "No worker is there, so that nothing starts. Start it: stableflows up"


def counted(n: int, word: str) -> str:
    """`1 entry`, `2 entries`, `0 images`."""
    if n == 1:
        return f"1 {word}"
    return f"{n} {word[:-1]}ies" if word.endswith("y") else f"{n} {word}s"
