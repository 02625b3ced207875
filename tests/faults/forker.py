"""`python -m tests.faults.forker`: starts runs quickly, by a fork of a process that has imported all of it.

Reads a JSON line for each run (arguments, environment, file for its output), starts it as the leader of a
session of its own, and answers with its process id; a second line says how a run ended.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any


def main() -> None:
    # What a run imports when it starts.
    from prefect.main import flow  # noqa: F401

    import flows.console
    import flows.direct
    import flows.render
    import flows.run  # noqa: F401

    if threading.active_count() != 1:
        raise RuntimeError("a process with threads cannot be forked")
    running: set[int] = set()
    signal.signal(signal.SIGCHLD, lambda *_: _reap(running))
    os.write(1, b"ready\n")
    for line in sys.stdin:
        order = json.loads(line)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if pid == 0:
            _become_run(order)
        running.add(pid)
        os.write(1, f"started {pid}\n".encode())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def _reap(running: set[int]) -> None:
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            running.remove(pid)
            os.write(1, f"ended {pid} {os.waitstatus_to_exitcode(status)}\n".encode())


def _become_run(order: dict[str, Any]) -> None:
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        output = os.open(Path(order["output"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, file in ((0, nothing), (1, output), (2, output)):
            os.dup2(file, number)
        os.environ.update(order["environment"])
        import stableflows.failpoints

        importlib.reload(stableflows.failpoints)  # reads the environment
        from flows.command import main as run_main
        from flows.run import app

        run_main(partial(app, order["arguments"]))  # type: ignore[arg-type]
    except SystemExit as ended:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code if isinstance(ended.code, int) else 1)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(70)
    os._exit(71)


if __name__ == "__main__":
    main()
