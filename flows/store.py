"""`stableflows store`: what is kept so that it need not be rendered again, and how to make it smaller."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.command import main
from flows.wording import counted
from stableflows.errors import ExitCode, InputError, Where
from stableflows.store_care import prune as prune_store
from stableflows.store_care import usage
from stableflows.store_care import verify as verify_store

__all__ = ["app", "parse_age", "parse_size"]

app = App(
    name="store",
    help="Look after the store of an output folder: what was rendered, so that it is not rendered again.",
    default_parameter=Parameter(negative=()),
    version_flags=(),
)

AGES = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
SIZES = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
Out = Annotated[Path, Parameter(help="The folder that holds all runs.")]


@app.default
def show(*, out: Out = Path("outputs")) -> int:
    """Show its size, and what holds it."""
    root = out.expanduser().resolve()
    found = usage(root)
    console = Console(highlight=False)
    table = Table("run", "holds", header_style="bold")
    table.columns[1].justify = "right"
    for name, size in found.by_run.items():
        table.add_row(Text(name), size_text(size))
    table.add_row("nothing but the store", size_text(found.free))
    console.print(table)
    console.print(
        f"{counted(found.records, 'request')}, {counted(found.images, 'image')}, {size_text(found.bytes)}; "
        f"input images {size_text(found.inputs)}"
    )
    console.print("Runs share images with the store: together they take the space once.")
    return int(ExitCode.OK)


@app.command
def verify(*, out: Out = Path("outputs")) -> int:
    """Read everything, and say what is not as it was; such calls are made again when they are needed."""
    console = Console(highlight=False)
    problems = 0
    for problem in verify_store(out.expanduser().resolve()):
        problems += 1
        console.print(Text(problem), soft_wrap=True)
    console.print(f"{counted(problems, 'problem')}" if problems else "Everything is as it was put in.")
    return int(ExitCode.ENTRIES_FAILED if problems else ExitCode.OK)


@app.command
def prune(
    *,
    older_than: str | None = None,
    max_size: str | None = None,
    dry_run: bool = False,
    out: Out = Path("outputs"),
) -> int:
    """Delete what no run's folder and no waiting job refers to; to free what a run holds, delete its folder.

    Parameters
    ----------
    older_than:
        Only what was not used for so long: 12h, 30d, 8w.
    max_size:
        Only until the images are no more than this, the longest unused first: 500MB, 20GB.
    dry_run:
        Say what would go, and delete nothing.
    """
    if older_than is None and max_size is None:
        raise InputError("say what may go: --older-than 30d, --max-size 20GB, or both.")
    taken = prune_store(
        out.expanduser().resolve(),
        older_than=None if older_than is None else parse_age(older_than),
        max_bytes=None if max_size is None else parse_size(max_size),
        dry_run=dry_run,
    )
    Console(highlight=False).print(
        f"{'Would delete' if dry_run else 'Deleted'} {counted(taken.records, 'request')}, "
        f"{counted(taken.images, 'image')}, {counted(taken.inputs, 'input image')} and "
        f"{counted(taken.jobs, 'saved job')}: {size_text(taken.bytes)}; "
        f"{size_text(taken.left)} of images stay"
    )
    return int(ExitCode.OK)


def parse_age(text: str) -> float:
    """`30d` in seconds.

    Raises:
        InputError: it is no age.
    """
    return _measure(text, AGES, "--older-than", "30d")


def parse_size(text: str) -> int:
    """`20GB` in bytes.

    Raises:
        InputError: it is no size.
    """
    return int(_measure(text, SIZES, "--max-size", "20GB"))


def _measure(text: str, units: dict[str, float] | dict[str, int], option: str, example: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]+)", text.strip())
    unit = next((one for one in units if found and one.lower() == found[2].lower()), None)
    if not found or unit is None:
        raise InputError(
            f"{text!r} is none; write a number and one of {', '.join(units)}, such as {example}.",
            where=Where(field=option),
        )
    return float(found[1]) * units[unit]


def size_text(size: int) -> str:
    """`1.5 GB`."""
    for unit, factor in reversed(SIZES.items()):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size / 1000:.0f} kB"


if __name__ == "__main__":
    main(app)
