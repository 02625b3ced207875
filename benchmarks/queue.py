"""How long a queued job waits for nothing, and what it leaves in Prefect's database and logs."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median

from benchmarks.bench import Bench, prompt
from benchmarks.processes import process
from benchmarks.servers import sandbox
from benchmarks.timing import NO_TIME
from stableflows.run import history

__all__ = ["queued"]

PICTURES = 4
"""A job's."""
PATIENCE = 300.0
"""Seconds that a queued job may take."""


def queued(bench: Bench) -> None:
    """From submit to the first request, at an idle queue; one job after the other."""
    runs, out = bench.sizes.queued, bench.place("out")
    waited, submitted = [], []
    with _queue(bench, bench.place("queue-home")) as home, sandbox(NO_TIME) as server:
        for number in range(runs + 1):
            if number == 1:  # the first makes what all share
                database, logs = _database(home), _logs(home)
            entries = [{"prompt": f"{prompt(n)}, job {number}"} for n in range(PICTURES)]
            pack = bench.pack({"txt2img": {"width": 64, "height": 64, "steps": 2}}, entries)
            command = ["-m", "flows.run", str(pack), "--server", server.url, "--out", str(out), "--queue"]
            submission = process(command, bench.place("submit"), PREFECT_HOME=str(home))
            _until_ended(out, number + 1)
            if number:
                submitted.append(submission.seconds)
                waited.append(float(server.rendered(submission.began)[0]["t_start"]) - submission.began)
            time.sleep(2)  # until the worker has closed the books of that run
        grown = (_database(home) - database) / runs
        logged = (_logs(home) - logs) / runs
    shown = f"{median(waited):.1f} s, of which the submitting command {median(submitted):.1f} s"
    bench.figure("from submit to the first request, queue idle", median(waited), None, shown)
    shown = f"{grown / 1000:.0f} kB in the database, {logged / 1000:.1f} kB in the logs"
    bench.figure(f"what a queued run of {PICTURES} pictures leaves at Prefect", grown, None, shown)


@contextmanager
def _queue(bench: Bench, home: Path) -> Iterator[Path]:
    process(["-m", "flows.up"], bench.place("up"), PREFECT_HOME=str(home))
    try:
        yield home
    finally:
        process(["-m", "flows.down"], bench.place("down"), PREFECT_HOME=str(home))


def _until_ended(out: Path, runs: int) -> None:
    """Raises: RuntimeError: the job did not end well in time."""
    deadline = time.monotonic() + PATIENCE
    while len(lines := history.read(out)) < runs:
        if time.monotonic() > deadline:
            raise RuntimeError("a queued job did not end")
        time.sleep(0.1)
    if lines[-1].status != "COMPLETED":
        raise RuntimeError(f"a queued job ended as {lines[-1].status}: {lines[-1].error}")


def _database(home: Path) -> int:
    """Bytes, with what is still in its write-ahead log."""
    with closing(sqlite3.connect(home / "prefect.db", timeout=30)) as database:
        [[pages]], [[size]] = (database.execute(f"pragma {name}") for name in ("page_count", "page_size"))
    return int(pages * size)


def _logs(home: Path) -> int:
    return sum(file.stat().st_size for file in home.glob("stableflows/up/*"))
