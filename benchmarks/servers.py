"""The servers that all peers share: a sandbox and a Prefect server, each a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from benchmarks.timing import Timing
from flows.own_server import OwnServer

__all__ = ["Sandbox", "prefect_server", "sandbox"]


class Sandbox:
    """A running sandbox, asked over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=120)

    def restart(self) -> None:
        """A new server process: the first checkpoint is loaded, no other was."""
        with suppress(httpx.TransportError):  # it may be gone before it has answered
            self._http.post("/__sandbox__/restart", json={})
        while True:
            with suppress(httpx.TransportError):
                if self._http.get("/sdapi/v1/loras").is_success:
                    return
            time.sleep(0.05)

    def rendered(self, since: float) -> list[dict[str, Any]]:
        """The generating requests since that moment of the machine's monotonic clock, as they came."""
        found = self._http.get("/__sandbox__/requests", params={"generating": "1"}).json()
        return [request for request in found if request["t_start"] >= since]

    @property
    def loads(self) -> int:
        """Checkpoints loaded since the restart."""
        return int(self._http.get("/__sandbox__/loads").json()["checkpoints"])

    def close(self) -> None:
        self._http.close()


@contextmanager
def sandbox(timing: Timing) -> Iterator[Sandbox]:
    """A sandbox of that timing, for the time of the block."""
    command = [sys.executable, "-m", "stableflows.sandbox", "--port", "0", *timing.arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            url = process.stdout.readline().strip() if process.stdout else ""
            if not url:
                raise RuntimeError("the sandbox did not start")
            found = Sandbox(url)
            try:
                yield found
            finally:
                found.close()
        finally:
            process.terminate()


@contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """The URL of a Prefect server with a database of its own. It is set up as that of `stableflows up`; every
    peer that uses Prefect uses it, and pays for it alike."""
    os.environ["PREFECT_HOME"] = str(home)
    server = OwnServer(home / "server.log")
    try:
        server.wait_until_healthy()
        yield server.url
    finally:
        server.stop()
