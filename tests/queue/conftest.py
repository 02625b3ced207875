"""A queue for all tests of a worker: `stableflows up` with a home of its own, and a slow sandbox."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from stableflows.run import history
from stableflows.run.history import HistoryLine
from stableflows.sandbox import Sandbox, SandboxSettings, run_sandbox

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
PATIENCE = 150.0
"""Seconds after which a test gives up; nothing that is tested takes anything like it."""


def eventually(find: Callable[[], T], what: str = "") -> T:
    """What `find` gives, as soon as it is something."""
    deadline = time.monotonic() + PATIENCE
    while not (found := find()):
        assert time.monotonic() < deadline, what or "it never came"
        time.sleep(0.2)
    return found


@dataclass(frozen=True)
class Queue:
    """A queue that is up.

    Attributes:
        out: an output root of this test alone.
    """

    home: Path
    url: str
    out: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PREFECT_", "STABLEFLOWS_"))
        }
        return {**kept, "PREFECT_HOME": str(self.home), "STABLEFLOWS_HOME": str(self.home / "slots")}

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """`python -m flows.ARGUMENTS`, as a process."""
        module, *rest = arguments
        return subprocess.run(
            [sys.executable, "-m", f"flows.{module}", *rest],
            cwd=ROOT,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def do(self, verb: Callable[[], Awaitable[T]]) -> T:
        """Run a verb of `flows.queue_api` against this queue."""
        from prefect.settings import PREFECT_API_URL, temporary_settings

        async def done() -> T:
            return await verb()

        with temporary_settings({PREFECT_API_URL: self.url}):
            return asyncio.run(done())

    def api(self, path: str, body: dict[str, Any] | list[Any] | None = None) -> Any:
        """An answer of the Prefect API: GET, or POST with a body; asked again while its database is busy."""
        import httpx

        for pause in (0.5, 1.0, 2.0, 4.0, 8.0, 0.0):
            answer = httpx.request(
                "GET" if body is None else "POST", f"{self.url}{path}", json=body, timeout=60
            )
            if answer.status_code != 503:
                break
            time.sleep(pause)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def state(self, flow_run_id: object) -> str:
        name: str = self.api(f"/flow_runs/{flow_run_id}")["state"]["name"]
        return name

    def is_in(self, flow_run_id: object, *states: str) -> None:
        """Return when the run is in one of these states."""
        eventually(lambda: self.state(flow_run_id) in states, f"it never was {states}")

    @property
    def history(self) -> list[HistoryLine]:
        return history.read(self.out)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The PREFECT_HOME of a queue that is up; it is taken down at the end, and must leave nothing."""
    home = tmp_path_factory.mktemp("queue-home")
    queue = Queue(home, "", home)
    up = queue.command("up")
    assert up.returncode == 0, up.stderr
    yield home
    down = queue.command("down")
    assert down.returncode == 0, down.stderr
    assert not (home / "stableflows-up.json").exists()
    assert processes_of(home) == []


def processes_of(home: Path) -> list[str]:
    """The command lines of all processes that have this PREFECT_HOME."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"PREFECT_HOME={home}\0".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (OSError, ProcessLookupError):
            continue
    return found


@pytest.fixture
def queue(home: Path, tmp_path: Path) -> Iterator[Queue]:
    """The queue, with an output root of this test; nothing may be left in it by the test before."""
    from flows.up_state import running

    queue = Queue(home, "", tmp_path / "out")
    if running(home) is None:  # a test that failed may have left it down
        assert queue.command("up").returncode == 0
    state = running(home)
    assert state
    queue = replace(queue, url=state.url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home))
        patch.delenv("STABLEFLOWS_SERVER", raising=False)
        yield queue


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """One that takes about a second a picture, so that there is time to do something meanwhile."""
    with run_sandbox(SandboxSettings(step_seconds=0.1)) as sandbox:
        yield sandbox


def job(name: str, entries: int = 1, steps: int = 10) -> dict[str, Any]:
    """A job whose every prompt begins with its name."""
    return {
        "name": name,
        "packs": [
            {"pack_id": name, "name": name, "entry": {"prompt": f"{name} {n}"}} for n in range(1, entries + 1)
        ],
        "pipeline": {"txt2img": {"enabled": True, "width": 64, "height": 64, "steps": steps}},
    }


def prompts(sandbox: Sandbox) -> list[str]:
    """The prompts of all generating requests so far, in the order in which they were sent."""
    return [request.body["prompt"] for request in sandbox.generating()]
