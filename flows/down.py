"""`stableflows down`: stops what `stableflows up` started."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from cyclopts import App, Parameter
from filelock import FileLock

from flows.command import main
from flows.up_state import STOP_BOUND, UpState, is_healthy, prefect_home, running
from stableflows.errors import ExitCode

__all__ = ["app"]

app = App(
    name="down",
    help="Stop what `up` started. A job that renders is put back, and goes on at the next `up`.",
    default_parameter=Parameter(negative=()),
    version_flags=(),
)


@app.default
def down() -> int:
    """Stop worker and server."""
    home = prefect_home()
    (home / "stableflows").mkdir(parents=True, exist_ok=True)
    with FileLock(home / "stableflows" / "up-command.lock"):
        state = running(home)
        if state is None:
            sys.stdout.write("Nothing runs.\n")
            return int(ExitCode.OK)
        _put_back(state)
        os.kill(state.pid, signal.SIGTERM)
        if not _ended(home, STOP_BOUND):
            os.kill(state.pid, signal.SIGKILL)  # its children end with it
            _ended(home, 10.0)
    sys.stdout.write("Stopped.\n")
    return int(ExitCode.OK)


def _put_back(state: UpState) -> None:
    """What renders ends now, and goes on at the next `up`."""
    if not is_healthy(state):
        return  # what still renders is found dead by the next `up`, and put back then
    from flows.prefect_api import prefect_api
    from flows.shelve import put_all_back

    with prefect_api(queue=True):
        asyncio.run(put_all_back())


def _ended(home: Path, bound: float) -> bool:
    deadline = time.monotonic() + bound
    while running(home) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


if __name__ == "__main__":
    main(app)
