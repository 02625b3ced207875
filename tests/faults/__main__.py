"""`python -m tests.faults`: all of the fault suite. Ends with 1 if anything was lost or rendered twice."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from cyclopts import App

from tests.faults.report import report
from tests.faults.suite import FAILPOINTS, KINDS, STAGES, Suite

RUN_KILLS, SANDBOX_KILLS, PREFECT_KILLS = 110, 20, 5
"""At least."""

app = App(name="python -m tests.faults", version_flags=())


@app.default
def main(
    *,
    seed: int | None = None,
    entries: int = 15,
    minutes: float = 60.0,
    keep: Path | None = None,
) -> int:
    """Kill, cut off and lie to runs, take them up again, and look at what they left.

    Args:
        seed: of all that is drawn; today's if left out, and always printed.
        entries: of the job; each is four calls.
        minutes: after which no further round begins. What was not done then is missing in the figures.
        keep: a folder for everything that is written; else a temporary one, kept only if something is wrong.
    """
    seed = int(time.time()) if seed is None else seed
    folder = keep or Path(tempfile.mkdtemp(prefix="stableflows-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    _say(f"seed {seed}, {len(STAGES) * entries} calls a job, in {folder}")
    end = time.monotonic() + 60 * minutes
    with Suite(folder, seed=seed, entries=entries, say=_say) as suite:
        for round_ in _rounds(suite):
            if time.monotonic() > end:
                suite.findings.wrong.append(f"the time is over: not all was done in {minutes:g} minutes")
                break
            round_()
    _say("\n" + report(suite.findings))
    if suite.findings.wrong:
        return 1
    if keep is None:
        shutil.rmtree(folder)
    return 0


def _rounds(suite: Suite) -> Iterator[Callable[[], None]]:
    """Every fault at every stage; then kills until there are enough of each kind."""
    found = suite.findings
    for kind in KINDS:
        yield partial(suite.fault, kind)
    while found.server_kills["sandbox"] < SANDBOX_KILLS:
        yield partial(suite.kill_sandbox, 6)
    while found.server_kills["Prefect server"] < PREFECT_KILLS:
        yield partial(suite.kill_prefect, 3)
    for _ in range(2):
        yield partial(suite.kill_at_any_time, 5, own_prefect=True)
    for _ in range(5):
        yield partial(suite.kill_at_places, suite.dice.sample(list(FAILPOINTS), len(FAILPOINTS)))
    while found.kills.total() < RUN_KILLS:
        yield partial(suite.kill_at_any_time, 8)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(app())
