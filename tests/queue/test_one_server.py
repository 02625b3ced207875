"""A direct run and a queued one at one server keep apart; cancels at Prefect's API."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows import queue_api
from flows.queue_api import QueuedJob
from stableflows.run import history
from stableflows.sandbox import Sandbox
from tests.queue.conftest import PATIENCE, ROOT, Queue, eventually, job, prompts

pytestmark = pytest.mark.timeout(400)
LONG = 100
"""Pictures, a second each; no test waits for the last."""


def enqueue(queue: Queue, sandbox: Sandbox, name: str, entries: int, steps: int) -> QueuedJob:
    return queue.do(lambda: queue_api.enqueue(job(name, entries, steps), out=queue.out, server=sandbox.url))


def arguments(sandbox: Sandbox, out: Path, steps: int) -> list[str]:
    size = ["--set", "txt2img.width=64", "--set", "txt2img.height=64", "--set", f"txt2img.steps={steps}"]
    return ["run", "--prompt", "direct 1", *size, "--server", sandbox.url, "--out", str(out)]


@contextmanager
def begun(queue: Queue, words: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A command that runs; it is killed if it outlives the block."""
    module, *rest = words
    with subprocess.Popen(
        [sys.executable, "-m", f"flows.{module}", *rest],
        cwd=ROOT,
        env=queue.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def cancel_at_prefect(queue: Queue, queued: QueuedJob) -> None:
    """As Prefect's UI does it."""
    body = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    queue.api(f"/flow_runs/{queued.flow_run_id}/set_state", body)


def test_a_direct_run_waits_for_a_queued_one_unless_told_not_to(
    queue: Queue, sandbox: Sandbox, tmp_path: Path
) -> None:
    queued = enqueue(queue, sandbox, "queued", LONG, 10)
    eventually(sandbox.generating)
    refused = queue.command(*arguments(sandbox, tmp_path / "refused", 1), "--no-wait")
    assert refused.returncode == 3, refused.stderr
    assert "the run 'queued'" in refused.stdout
    assert "without --no-wait this one would wait" in refused.stdout
    with begun(queue, arguments(sandbox, tmp_path / "direct", 1)) as direct:
        assert direct.stdout
        assert any("Waiting for the run 'queued'" in line for line in direct.stdout)
        cancel_at_prefect(queue, queued)
        said, _ = direct.communicate(timeout=PATIENCE)
    assert direct.returncode == 0, said
    assert queue.state(queued.flow_run_id) == "Cancelled"
    *before, last = prompts(sandbox)
    assert last == "direct 1"
    assert all(text.startswith("queued") for text in before)


def test_a_queued_run_waits_for_a_direct_one(queue: Queue, sandbox: Sandbox, tmp_path: Path) -> None:
    with begun(queue, [*arguments(sandbox, tmp_path / "direct", 10), "--count", str(LONG)]) as direct:
        eventually(sandbox.generating)
        queued = enqueue(queue, sandbox, "queued", 1, 1)
        logs = {"logs": {"flow_run_id": {"any_": [str(queued.flow_run_id)]}}}
        words = "Waiting for the run"
        eventually(lambda: any(words in line["message"] for line in queue.api("/logs/filter", logs)))
        assert set(prompts(sandbox)) == {"direct 1"}
        direct.send_signal(signal.SIGINT)
        said, _ = direct.communicate(timeout=PATIENCE)
    assert direct.returncode == 130, said
    queue.is_in(queued.flow_run_id, "Completed")
    assert prompts(sandbox)[-1] == "queued 1"


def test_cancelled_at_prefect_while_it_renders_and_while_it_waits(queue: Queue, sandbox: Sandbox) -> None:
    renders = enqueue(queue, sandbox, "renders", 3, steps=150)
    waits = enqueue(queue, sandbox, "waits", 1, 1)
    eventually(sandbox.generating)
    cancel_at_prefect(queue, waits)
    queue.is_in(waits.flow_run_id, "Cancelled")
    cancel_at_prefect(queue, renders)
    queue.is_in(renders.flow_run_id, "Cancelled")
    states = queue.api(f"/flow_run_states/?flow_run_id={renders.flow_run_id}")
    at = {state["type"]: datetime.fromisoformat(state["timestamp"]) for state in states}
    assert at["CANCELLED"] - at["CANCELLING"] < timedelta(seconds=10), "as docs/queue.md promises"
    assert any(request.path == "/sdapi/v1/interrupt" for request in sandbox.log)
    [line] = eventually(lambda: history.read(queue.out))
    assert line.status == "CANCELLED"
    assert line.result
    statuses: set[Any] = {entry.status for entry in line.result.results}
    assert "ok" not in statuses
    assert "waits 1" not in prompts(sandbox)
    after = enqueue(queue, sandbox, "after", 1, 1)
    queue.is_in(after.flow_run_id, "Completed")
