"""The process behind `stableflows up`: keeps a Prefect server and a worker running; their logs stay bounded.

`python -m flows.keeper FD` serves on the listening socket FD, which it inherits. A child that ends is started
again; SIGTERM ends them in order, the worker first. Each child watches its standard input and ends when the
keeper is gone, however it went, so that nothing is ever left without it.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path

from filelock import Timeout

from flows.own_server import TELEMETRY_OFF
from flows.prefect_settings import prefect_setting
from flows.up_state import (
    UpState,
    keeper_lock,
    log_folder,
    prefect_home,
    project_folder,
    state_file,
    write_state,
)
from stableflows.errors import ExitCode

__all__ = ["main"]

LOG_BYTES, LOG_FILES = 2_000_000, 2
PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0)
"""Seconds before a child that ended is started again, the last one from then on."""
LASTING = 60.0
"""A child that ran for so long counts as started well."""
WORKER_STOPS, SERVER_STOPS = 45.0, 15.0
"""Seconds each gets to end by itself. A worker's job has 30 s of Prefect's to end in."""


class Child:
    """One service, started again whenever it ends."""

    def __init__(
        self, name: str, arguments: list[str], env: Mapping[str, str], *, fds: tuple[int, ...] = ()
    ) -> None:
        self.name = name
        self._arguments = arguments
        self._env = env
        self._fds = fds
        self._log = _bounded_log(name)
        self._failures = 0
        self._again_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    def tend(self) -> int | None:
        """Start it if it does not run and its time has come. Returns the exit code of one that just ended."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._again_at:
                self._start()
            return None
        code = self._process.poll()
        if code is None:
            return None
        self._process = None
        self._failures = 0 if now - self._started > LASTING else self._failures + 1
        pause = PAUSES[min(self._failures, len(PAUSES)) - 1] if self._failures else 0.0
        self._again_at = now + pause
        self._log.warning("ended with exit status %s; starts again in %.0f s", code, pause)
        return code

    def stop(self, bound: float) -> None:
        """Let it end by itself within `bound` seconds, else kill it."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin  # noqa: S101 (a pipe)
        process.stdin.close()
        try:
            process.wait(bound)
        except subprocess.TimeoutExpired:
            self._log.warning("did not end within %.0f s and is killed", bound)
            process.kill()
            process.wait()

    def _start(self) -> None:
        self._started = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 (ourselves)
            [sys.executable, "-P", "-m", "flows.service", self.name, *self._arguments],
            cwd=project_folder(),  # prefect.toml and prefect.yaml are there
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=self._fds,
        )
        threading.Thread(target=self._copy, args=(self._process,), daemon=True).start()

    def _copy(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout  # noqa: S101 (a pipe)
        for line in process.stdout:
            self._log.info(line.decode(errors="replace").rstrip())


def _bounded_log(name: str) -> logging.Logger:
    logger = logging.getLogger(f"stableflows.keeper.{name}")
    handler = RotatingFileHandler(
        log_folder(prefect_home()) / f"{name}.log", maxBytes=LOG_BYTES, backupCount=LOG_FILES
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger


def _environment(url: str | None) -> dict[str, str]:
    here = str(Path(__file__).parents[1])
    paths = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    env = {**os.environ, **TELEMETRY_OFF, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}
    env.pop("PREFECT_API_URL", None)
    if url:
        env["PREFECT_API_URL"] = url
        if password := prefect_setting("server", "api", "auth_string"):
            env["PREFECT_API_AUTH_STRING"] = password.value
    return env


def main() -> int:
    """Keep server and worker running until a signal."""
    fd = int(sys.argv[1])
    home = prefect_home()
    log_folder(home).mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    port = socket.socket(fileno=os.dup(fd)).getsockname()[1]
    state = UpState(url=f"http://127.0.0.1:{port}/api", ui=f"http://127.0.0.1:{port}", pid=os.getpid())
    try:
        with keeper_lock(home):
            write_state(home, state)
            try:
                return _keep(fd, state, stop)
            finally:
                state_file(home).unlink(missing_ok=True)
    except Timeout:
        sys.stderr.write("It runs already.\n")
        return int(ExitCode.BAD_INPUT)


def _keep(fd: int, state: UpState, stop: threading.Event) -> int:
    server = Child("server", [str(fd)], _environment(None), fds=(fd,))
    worker = Child("worker", [], _environment(state.url))
    try:
        while not stop.wait(0.3):
            for child in (server, worker):
                if child.tend() == ExitCode.BAD_INPUT:  # it said why, and would say so again
                    return int(ExitCode.BAD_INPUT)
    finally:
        worker.stop(WORKER_STOPS)
        server.stop(SERVER_STOPS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
