"""Processes of the queue are killed; what they rendered stays, and the rest is rendered by itself."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows import queue_api
from flows.priority import Priority
from flows.queue_api import QueuedJob, queue_client
from flows.queue_runs import put_in
from flows.reconcile import ATTEMPTS, HANDLED
from flows.up_state import running
from stableflows.request import RenderRequest
from stableflows.sandbox import Fault, Sandbox
from tests.queue.conftest import Queue, eventually, job, processes_of, prompts

pytestmark = pytest.mark.timeout(400)


def start(queue: Queue, sandbox: Sandbox, name: str, entries: int = 8) -> QueuedJob:
    """Queue a job, and return when its second picture has been asked for."""
    queued = queue.do(lambda: queue_api.enqueue(job(name, entries), out=queue.out, server=sandbox.url))
    eventually(lambda: len(sandbox.generating()) >= 2)
    return queued


def kill_run(queue: Queue, queued: QueuedJob) -> None:
    pid = queue.api(f"/flow_runs/{queued.flow_run_id}")["infrastructure_pid"]
    os.kill(int(pid.rpartition(":")[2]), signal.SIGKILL)


def kill_service(home: Path, name: str) -> None:
    """Kill the queue's server or worker."""
    killed = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            mine = f"PREFECT_HOME={home}\0".encode() in (process / "environ").read_bytes()
            words = (process / "cmdline").read_bytes().split(b"\0")
        except (OSError, ProcessLookupError):
            continue
        if mine and b"flows.service" in words and name.encode() in words:
            os.kill(int(process.name), signal.SIGKILL)
            killed += 1
    assert killed == 1


def successor(queue: Queue, queued: QueuedJob) -> dict[str, Any]:
    """The run that goes on with a crashed one, once it is done."""
    queue.is_in(queued.flow_run_id, "Crashed")

    def others() -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = queue.api(
            "/flow_runs/filter", {"flow_runs": {"name": {"any_": [queued.name]}}}
        )
        return [run for run in runs if run["id"] != str(queued.flow_run_id)]

    [run] = eventually(others, "it was not put back")
    queue.is_in(run["id"], "Completed")
    return run


def assert_each_picture_once(queue: Queue, sandbox: Sandbox, in_flight: int = 2) -> None:
    """One run, complete; what was rendered before the kill was not asked for again."""
    [line] = queue.history
    assert line.status == "COMPLETED"
    assert line.result
    assert line.result.unfinished == line.result.failed == 0
    assert len(prompts(sandbox)) <= line.result.total_entries + in_flight  # which a kill loses


def test_a_run_that_is_killed_goes_on(queue: Queue, sandbox: Sandbox) -> None:
    queued = start(queue, sandbox, "killed")
    kill_run(queue, queued)
    assert "attempt:2" in successor(queue, queued)["tags"]
    assert_each_picture_once(queue, sandbox)


def test_a_run_and_its_worker_are_killed(queue: Queue, sandbox: Sandbox, home: Path) -> None:
    queued = start(queue, sandbox, "both")
    kill_service(home, "worker")
    kill_run(queue, queued)
    successor(queue, queued)
    assert_each_picture_once(queue, sandbox)


def test_a_run_goes_on_while_server_and_worker_are_killed(queue: Queue, sandbox: Sandbox, home: Path) -> None:
    queued = start(queue, sandbox, "steady", entries=8)
    kill_service(home, "worker")
    kill_service(home, "server")
    eventually(lambda: queue.history)
    eventually(lambda: _answers(queue))
    queue.is_in(queued.flow_run_id, "Completed")
    assert len(prompts(sandbox)) == 8
    assert_each_picture_once(queue, sandbox)


def test_everything_is_killed_and_started_again(queue: Queue, sandbox: Sandbox, home: Path) -> None:
    queued = start(queue, sandbox, "all")
    state = running(home)
    assert state
    kill_run(queue, queued)
    os.kill(state.pid, signal.SIGKILL)
    eventually(lambda: not _answers(queue))
    up = queue.command("up")
    assert up.returncode == 0, up.stderr
    successor(queue, queued)
    assert_each_picture_once(queue, sandbox)


def test_down_puts_back_what_renders_and_up_goes_on(queue: Queue, sandbox: Sandbox, home: Path) -> None:
    """Nothing is left running meanwhile; what was rendered is not asked for again."""
    sandbox.arm(Fault(kind="hang", at=3))  # until it is interrupted
    queued = start(queue, sandbox, "stopped")
    down = queue.command("down")
    assert down.returncode == 0, down.stderr
    assert processes_of(home) == []
    [line] = queue.history
    assert line.status == "CANCELLED"
    up = queue.command("up")
    assert up.returncode == 0, up.stderr
    state = running(home)
    assert state
    queue = replace(queue, url=state.url)
    assert queue.state(queued.flow_run_id) == "Cancelled"
    eventually(lambda: queue.history[-1].status == "COMPLETED")
    assert_each_picture_once(queue, sandbox)


def test_a_job_that_crashes_each_time_is_given_up(queue: Queue, sandbox: Sandbox) -> None:
    async def last_attempt() -> QueuedJob:
        async with queue_client() as client:
            request = RenderRequest(
                prompt="poison", settings={"txt2img": {"steps": 150}}, server=sandbox.url, out=str(queue.out)
            )
            tags = [f"attempt:{ATTEMPTS}"]
            return await put_in(client, request, name="poison", priority=Priority.DEFAULT, tags=tags)

    queued = queue.do(last_attempt)
    eventually(lambda: len(sandbox.generating()) >= 1)
    kill_run(queue, queued)
    queue.is_in(queued.flow_run_id, "Crashed")
    eventually(lambda: HANDLED in queue.api(f"/flow_runs/{queued.flow_run_id}")["tags"])
    assert queue.do(queue_api.status).pending_jobs == ()
    assert [line.status for line in queue.history] == ["CRASHED"]


def _answers(queue: Queue) -> bool:
    import httpx

    try:
        return httpx.get(f"{queue.url}/health", timeout=5).text == "true"
    except httpx.HTTPError:
        return False
