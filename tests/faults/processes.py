"""The processes that die: runs, the sandbox, a Prefect server. All are ended when their `with` block ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

__all__ = ["Forker", "PrefectServer", "Run", "SandboxServer", "wait_for"]

PATIENCE = 300.0
"""Seconds after which something that must happen counts as not happening."""


def wait_for(holds: Any, what: str, bound: float = PATIENCE) -> Any:
    """The first true value of `holds()`.

    Raises:
        AssertionError: there was none within `bound` seconds.
    """
    end = time.monotonic() + bound
    while not (value := holds()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {bound:.0f} s")
        time.sleep(0.02)
    return value


class _Server:
    """A server process on a port that stays its own, also when it is killed and started again."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.kills = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(signal.SIGKILL)

    def start(self) -> None:
        raise NotImplementedError

    def kill(self) -> None:
        """SIGKILL: no last word, connections are reset."""
        self.kills += 1
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self.process:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, how)
            self.process.wait()
            if self.process.stdout:
                self.process.stdout.close()
            self.process = None


class SandboxServer(_Server):
    """A sandbox as a process of its own, whose log outlives it."""

    def __init__(self, folder: Path, *, step_seconds: float = 0.02, load_seconds: float = 0.05) -> None:
        super().__init__()
        self.request_log = folder / "requests.jsonl"
        self.request_log.touch()
        self._times = ["--step-seconds", str(step_seconds), "--load-seconds", str(load_seconds)]
        self._port = 0
        self.url = ""

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "stableflows.sandbox", "--port", str(self._port), *self._times),
                *("--request-log", str(self.request_log)),
            ],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout
        self.url = self.process.stdout.readline().strip()
        assert self.url, "the sandbox did not start"
        self._port = int(self.url.rsplit(":", 1)[1])

    def arm(self, **fault: Any) -> None:
        """Arm a fault of `stableflows.sandbox.faults`."""
        httpx.post(f"{self.url}/__sandbox__/faults", json=fault, trust_env=False).raise_for_status()

    def answers(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/__sandbox__/faults", timeout=5, trust_env=False).is_success
        return False

    def disarm(self) -> None:
        httpx.delete(f"{self.url}/__sandbox__/faults", trust_env=False).raise_for_status()


PREFECT = """
import socket, sys
from flows.own_server import serve
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
print(listener.getsockname()[1], flush=True)
serve(listener)
"""


class PrefectServer(_Server):
    """A Prefect server that runs already when runs begin, as that of `stableflows up` does."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.home = folder / "prefect"
        self.home.mkdir()
        self._log = folder / "prefect-server.log"
        self._port = 0
        self.url = ""

    def start(self) -> None:
        from flows.own_server import BATCHED_HISTORY, NO_CARETAKERS, TELEMETRY_OFF

        environment = {**os.environ, **BATCHED_HISTORY, **NO_CARETAKERS, **TELEMETRY_OFF}
        environment["PREFECT_HOME"] = str(self.home)
        environment.pop("PREFECT_API_URL", None)
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PREFECT, str(self._port)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self.process.stdout
        port = self.process.stdout.readline().strip()
        assert port, self._log.read_text()[-2000:]
        self._port = int(port)
        self.url = f"http://127.0.0.1:{port}/api"
        wait_for(self._healthy, "the Prefect server's start")

    def _healthy(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health", timeout=5, trust_env=False).is_success
        return False


class Run:
    """A run that was started. `code` is None while it lives, negative after a signal."""

    def __init__(self, pid: int, output: Path) -> None:
        self.pid = pid
        self.output = output
        self.code: int | None = None
        self.popen: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        if self.popen is not None:
            self.code = self.popen.poll()
        return self.code is None

    def kill(self) -> bool:
        """SIGKILL its group, and the Prefect server that it started for itself; False: it had ended."""
        if not self.alive:
            return False
        servers = _children(self.pid)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for server in servers:
            with suppress(ProcessLookupError):
                os.kill(server, signal.SIGKILL)
        self.wait()
        return self.code == -signal.SIGKILL

    def wait(self, bound: float = PATIENCE) -> int:
        wait_for(lambda: not self.alive, f"the end of run {self.pid} ({self.said()[-2000:]})", bound)
        assert self.code is not None
        return self.code

    def said(self) -> str:
        return self.output.read_text(errors="replace")


def _children(pid: int) -> list[int]:
    with suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


class Forker:
    """Starts runs: `start` by a fork of a process that has imported all, `start_anew` as a command."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment = {**os.environ, **environment}
        self._folder = folder
        self._runs: dict[int, Run] = {}
        self._ended: dict[int, int] = {}
        self._count = 0
        self._told = threading.Condition()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.forker"],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._pid: int | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        assert self._process.stdout
        assert self._process.stdout.readline() == "ready\n"
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for run in self._runs.values():
            run.kill()
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()

    def start(self, *arguments: str, **environment: str) -> Run:
        output = self._new_output(arguments)
        order = {"arguments": arguments, "environment": environment, "output": str(output)}
        assert self._process.stdin
        with self._told:
            self._pid = None
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            self._told.wait_for(lambda: self._pid is not None, PATIENCE)
            assert self._pid is not None
            run = Run(self._pid, output)
            run.code = self._ended.get(run.pid)
            self._runs[run.pid] = run
        return run

    def start_anew(self, *arguments: str, without: tuple[str, ...] = (), **environment: str) -> Run:
        """As `python -m flows.run`; `without` some variables of the suite."""
        output = self._new_output(arguments)
        variables = {name: value for name, value in self._environment.items() if name not in without}
        with output.open("ab") as file:
            popen = subprocess.Popen(
                [sys.executable, "-m", "flows.run", *arguments],
                env={**variables, **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        run = Run(popen.pid, output)
        run.popen = popen
        self._runs[run.pid] = run
        return run

    def _new_output(self, arguments: tuple[str, ...]) -> Path:
        self._count += 1
        output = self._folder / f"run-{self._count:04}.log"
        output.write_text(" ".join(arguments) + "\n")
        return output

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            word, pid, *code = line.split()
            with self._told:
                if word == "started":
                    self._pid = int(pid)
                    self._ended.pop(self._pid, None)
                else:
                    self._ended[int(pid)] = int(code[0])
                    if int(pid) in self._runs:
                        self._runs[int(pid)].code = int(code[0])
                self._told.notify_all()
