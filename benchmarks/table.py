"""Figures, and the block between two markers in docs/benchmarks.md that shows them."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

__all__ = ["Figure", "Wall", "page_with", "tables"]

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
NAMED = ("prefect", "httpx", "pydantic", "Pillow", "webuiapi")


@dataclass(frozen=True)
class Figure:
    """One line of the table of goals.

    Attributes:
        what: that is measured.
        value: as a number, in the goal's unit.
        goal: at most this; None for a figure that only explains others.
        shown: the value for people, with whatever led to it.
        unit: of the goal.
    """

    what: str
    value: float
    goal: float | None
    shown: str
    unit: str = ""

    @property
    def met(self) -> bool | None:
        return None if self.goal is None else self.value <= self.goal


@dataclass(frozen=True)
class Wall:
    """One line of the table of walls, in seconds: from the first request to the last synced image.

    Attributes:
        loads: of checkpoints, where the case has any.
    """

    case: str
    who: str
    seconds: float
    optimum: float
    loads: int | None = None


def tables(
    figures: Sequence[Figure],
    walls: Sequence[Wall],
    *,
    load: str,
    took: float,
    failed: Sequence[str] = (),
) -> str:
    """Both tables as Markdown, with the machine, the date and the versions.

    Args:
        load: of the machine, in words.
        took: seconds of the whole measuring.
        failed: what could not be measured.
    """
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    versions = ", ".join(f"{name} {version(name)}" for name in NAMED)
    lines = [
        f"{when}, {_machine()}; load average {load}; all of it took {took / 60:.0f} minutes.",
        f"Python {platform.python_version()}, {versions}.",
        *([f"**Not measured:** {', '.join(failed)}."] if failed else []),
        "",
        "| measured | figure | goal: at most | met |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {figure.what} | {figure.shown} | {_goal(figure)} | {_word(figure.met)} |" for figure in figures
    ]
    lines += ["", "| case | who | wall, s | over the optimum | loads |", "|---|---|---|---|---|"]
    lines += [
        f"| {wall.case} | {wall.who} | {wall.seconds:.1f} | {wall.seconds / wall.optimum:.3f} "
        f"| {'' if wall.loads is None else wall.loads} |"
        for wall in walls
    ]
    return "\n".join(lines)


def page_with(text: str, page: Path) -> str:
    """The page with this block in place of the one that it has.

    Raises:
        ValueError: its markers are gone.
    """
    whole = page.read_text("utf-8")
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no block from {BEGIN} to {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def _goal(figure: Figure) -> str:
    return "" if figure.goal is None else f"{figure.goal:g}{figure.unit and f' {figure.unit}'}"


def _word(met: bool | None) -> str:
    return {None: "", True: "yes", False: "**no**"}[met]


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
