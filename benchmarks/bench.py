"""What all cases share: how large they are, where they write, and what they found."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from benchmarks.table import Figure, Wall
from benchmarks.timing import STEPS

__all__ = ["Bench", "Sizes", "request"]


@dataclass(frozen=True)
class Sizes:
    """How many of each; the defaults are those of the goals."""

    walls: int = 60
    alternating: int = 40
    own_cost: int = 300
    many: tuple[int, int] = (1_000, 10_000)
    starts: int = 5
    own_server_starts: int = 3
    planned: int = 1_000
    hits: int = 200
    learnt: int = 12
    queued: int = 10


SMALL = Sizes(
    walls=3,
    alternating=4,
    own_cost=6,
    many=(4, 8),
    starts=1,
    own_server_starts=1,
    planned=20,
    hits=5,
    learnt=2,
    queued=1,
)
"""Enough to see that every row works."""


@dataclass
class Bench:
    """One measuring.

    Attributes:
        prefect_url: of the Prefect server that all share.
        failed: cases that could not be measured, and why.
    """

    folder: Path
    prefect_url: str
    sizes: Sizes
    figures: list[Figure] = field(default_factory=list)
    walls: list[Wall] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    _numbers: Any = field(default_factory=lambda: count(1))

    def say(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")

    def figure(
        self, what: str, value: float, goal: float | None, shown: str | None = None, unit: str = ""
    ) -> None:
        """Note a figure; it is told at once too."""
        text = shown or f"{value:.2f}{unit and f' {unit}'}"
        self.figures.append(Figure(what, value, goal, text, unit))
        self.say(f"  {what}: {text} (goal {goal})")

    def wall(self, case: str, who: str, seconds: float, optimum: float, loads: int | None = None) -> None:
        self.walls.append(Wall(case, who, seconds, optimum, loads))
        self.say(f"  {case}, {who}: {seconds:.2f} s, {seconds / optimum:.3f} of the optimum, loads: {loads}")

    def place(self, name: str) -> Path:
        """A folder's path that nothing has used."""
        return self.folder / f"{next(self._numbers):02}-{name}"

    def pack(self, config: dict[str, Any], entries: Sequence[dict[str, Any]]) -> Path:
        """A pack of these entries."""
        file = self.place("pack").with_suffix(".yaml")
        text = yaml.safe_dump({"config": config, "entries": list(entries)}, sort_keys=False)
        file.write_text(text, "utf-8")
        return file


def request(number: int, size: int, checkpoint: str, **more: Any) -> dict[str, Any]:
    """A txt2img request as peers send it: what the entry of that number says in our pack."""
    return {
        "prompt": prompt(number),
        "seed": number,
        "steps": STEPS,
        "width": size,
        "height": size,
        "sampler_name": "Euler",
        "override_settings": {"sd_model_checkpoint": checkpoint},
        **more,
    }


def prompt(number: int) -> str:
    return f"portrait of sailor number {number} on a pier, golden hour, film grain"
