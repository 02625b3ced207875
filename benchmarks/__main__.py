"""`python -m benchmarks`, or `make bench`: measure all, and write the tables into docs/benchmarks.md."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import cyclopts

from benchmarks.bench import SMALL, Bench, Sizes
from benchmarks.costs import hits, many_entries, own_cost
from benchmarks.estimates import estimates
from benchmarks.feed import alternating, fast_model, usual_model
from benchmarks.queue import queued
from benchmarks.servers import prefect_server
from benchmarks.starting import commands, start_up, start_up_alone
from benchmarks.table import page_with, tables

CASES: dict[str, Callable[[Bench], None]] = {
    "fast": fast_model,
    "usual": usual_model,
    "alternating": alternating,
    "cost": own_cost,
    "many": many_entries,
    "starts": start_up,
    "starts-alone": start_up_alone,
    "commands": commands,
    "hits": hits,
    "estimates": estimates,
    "queue": queued,
}
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"

app = cyclopts.App(name="python -m benchmarks", version_flags=[])


@app.default
def main(*cases: str, small: bool = False, write: bool = False) -> int:
    """Measure, and print the tables.

    Args:
        cases: some of fast, usual, alternating, cost, many, starts, starts-alone, commands, hits, estimates
            and queue; left out, all.
        small: tiny counts: every row works, and says nothing.
        write: write the tables into docs/benchmarks.md; of all cases, at their size.
    """
    if unknown := sorted(set(cases) - set(CASES)):
        print(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}", file=sys.stderr)
        return 2
    if write and (cases or small):
        print("--write writes the whole table; leave out the cases and --small", file=sys.stderr)
        return 2
    began, before = time.monotonic(), _load()
    with tempfile.TemporaryDirectory(prefix="stableflows-bench-") as folder:
        home = Path(folder, "prefect")
        home.mkdir()
        with prefect_server(home) as url:
            bench = Bench(Path(folder), url, SMALL if small else Sizes())
            for name in cases or CASES:
                print(f"{name}: {CASES[name].__doc__}", file=sys.stderr)
                try:
                    CASES[name](bench)
                except Exception as error:  # what the other cases found in a quarter of an hour is not lost
                    traceback.print_exc()
                    bench.failed.append(f"{name} ({type(error).__name__})")
    load = f"{before} before, {_load()} after"
    took = time.monotonic() - began
    text = tables(bench.figures, bench.walls, load=load, took=took, failed=bench.failed)
    print(text)
    if write:
        PAGE.write_text(page_with(text, PAGE), "utf-8")
    return int(bool(bench.failed) or any(figure.met is False for figure in bench.figures))


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    sys.exit(app())
