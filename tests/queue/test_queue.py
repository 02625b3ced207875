"""The queue on a real Prefect server and worker: order, steering, priorities, what a queued run leaves."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from flows import queue_api
from flows.queue_api import Priority, QueuedJob
from stableflows.sandbox import Fault, Sandbox
from tests.queue.conftest import Queue, eventually, job, prompts

pytestmark = pytest.mark.timeout(400)


def test_what_is_queued_is_what_a_direct_run_renders(queue: Queue, tmp_path: Path) -> None:
    """The pack changes after it was queued, which the queued job does not see."""
    pack = tmp_path / "pack.yaml"
    pack.write_text((Path(__file__).parents[2] / "packs" / "demo.txt").read_text())
    pack = pack.rename(tmp_path / "pack.txt")
    direct = queue.command(
        "run", str(pack), "--server", "sandbox", "--out", str(tmp_path / "direct"), "--json"
    )
    assert direct.returncode == 0, direct.stderr
    assert queue.command("queue", "pause").returncode == 0
    queued = queue.command(
        *(
            "run",
            str(pack),
            "--queue",
            "--server",
            "sandbox",
            "--out",
            str(queue.out),
            "--json",
            "--name",
            "mine",
        )
    )
    assert queued.returncode == 0, queued.stderr
    said = json.loads(queued.stdout)["queued"]
    assert (said["name"], said["priority"], said["position"], said["paused"]) == ("mine", "default", 1, True)
    pack.write_text("something else\n")
    shown = json.loads(queue.command("queue", "--json").stdout)
    assert (shown["queue_status"], shown["running_job"], shown["worker"]) == ("paused", None, True)
    [waits] = shown["pending_jobs"]
    assert (waits["name"], waits["position"], waits["state"]) == ("mine", 1, "QUEUED")
    assert queue.command("queue", "resume").returncode == 0
    queue.is_in(said["flow_run_id"], "Completed")
    [line] = queue.history
    assert (line.run_mode, line.source, line.status) == ("queue", "add_to_queue", "COMPLETED")
    assert line.result
    by_direct_run = {
        Path(image["path"]).name: image["sha256"]
        for entry in json.loads(direct.stdout)["result"]["results"]
        for image in entry["images"]
    }
    assert by_direct_run
    queued_images = [image for entry in line.result.results for image in entry.images]
    assert {Path(image.path).name: image.sha256 for image in queued_images} == by_direct_run
    page = queue.api(f"/flow_runs/{said['flow_run_id']}")
    assert {"queue", "source:add_to_queue", "pack:pack"} <= set(page["tags"])
    artifacts = queue.api(
        "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [said["flow_run_id"]]}}}
    )
    sheet = next(artifact["data"] for artifact in artifacts if artifact["type"] == "markdown")
    assert sheet.count("data:image/webp;base64,") == len(by_direct_run)


def test_ten_jobs_at_once_run_in_order_one_at_a_time(queue: Queue, sandbox: Sandbox) -> None:
    """None is lost though they come in a burst; the urgent one goes first, the nightly one last."""
    queue.do(queue_api.pause)

    async def burst() -> list[QueuedJob]:
        first = [
            await queue_api.enqueue(
                job("late", 2, 1), out=queue.out, server=sandbox.url, priority=Priority.NIGHTLY
            )
        ]
        rest = [queue_api.enqueue(job(f"j{n}", 2, 1), out=queue.out, server=sandbox.url) for n in range(8)]
        many = await asyncio.gather(*rest)
        return [*first, *many, await queue_api.run_now(job("now", 2, 1), out=queue.out, server=sandbox.url)]

    queued = queue.do(burst)
    assert queued[-1].position == 1, "run_now goes before all, and lets a paused queue go on"
    for one in queued:
        queue.is_in(one.flow_run_id, "Completed")
    order = [text.split()[0] for text in prompts(sandbox)]
    assert order[::2] == order[1::2], "two jobs' requests stand among one another"
    assert order[::2][0] == "now"
    assert order[::2][-1] == "late"
    assert sorted(order[::2][1:-1]) == [f"j{n}" for n in range(8)]
    assert len(queue.history) == 10


def running_job(queue: Queue, sandbox: Sandbox, requests: int = 1) -> None:
    """Return when that many requests have arrived."""
    eventually(lambda: len(sandbox.generating()) >= requests, "nothing renders")


def enqueue(queue: Queue, sandbox: Sandbox, name: str, entries: int, steps: int = 10) -> QueuedJob:
    return queue.do(lambda: queue_api.enqueue(job(name, entries, steps), out=queue.out, server=sandbox.url))


def test_pause_now_ends_after_the_image_in_hand_and_resume_goes_on(queue: Queue, sandbox: Sandbox) -> None:
    first = enqueue(queue, sandbox, "first", 12, steps=20)
    second = enqueue(queue, sandbox, "second", 1)
    running_job(queue, sandbox, 2)
    status = queue.do(queue_api.status)
    assert status.queue_status == "running"
    assert status.running_job
    assert (status.running_job.name, status.running_job.images_total) == ("first", 12)
    assert [pending.name for pending in status.pending_jobs] == ["second"]
    rest = queue.do(lambda: queue_api.pause(now=True))
    assert rest
    queue.is_in(first.flow_run_id, "Cancelled", "Paused")
    assert not any(request.path == "/sdapi/v1/interrupt" for request in sandbox.log)
    status = queue.do(queue_api.status)
    assert (status.queue_status, status.running_job) == ("paused", None)
    assert [pending.name for pending in status.pending_jobs] == ["first", "second"]
    queue.do(queue_api.resume)
    queue.is_in(rest.flow_run_id, "Completed")
    queue.is_in(second.flow_run_id, "Completed")
    assert prompts(sandbox) == [f"first {n}" for n in range(1, 13)] + ["second 1"]
    lines = queue.history
    assert [line.status for line in lines] == ["COMPLETED", "COMPLETED"]
    assert len(lines[0].flow_run_ids) == 2, "it is one run, in one folder"


def test_cancel_a_running_and_a_waiting_run(queue: Queue, sandbox: Sandbox) -> None:
    running = enqueue(queue, sandbox, "running", 30, steps=100)
    waiting = enqueue(queue, sandbox, "waiting", 1)
    running_job(queue, sandbox)
    [plan] = queue.out.glob("*/plan.json")
    busy = queue.command("queue", "retry", plan.parent.name, "--out", str(queue.out))
    assert busy.returncode == 2
    assert "is being rendered by another process now" in busy.stderr
    assert queue.do(lambda: queue_api.cancel("waiting")) == "waiting"
    assert queue.state(waiting.flow_run_id) == "Cancelled"
    assert queue.do(queue_api.cancel_current) == "running"
    queue.is_in(running.flow_run_id, "Cancelled")
    [line] = eventually(lambda: queue.history)
    assert line.status == "CANCELLED"
    assert any(request.path == "/sdapi/v1/interrupt" for request in sandbox.log)
    assert not any("waiting" in text for text in prompts(sandbox))
    unknown = queue.command("queue", "cancel", "nobody")
    assert unknown.returncode == 2
    assert "'nobody'" in unknown.stderr


def test_requeue_puts_what_is_left_behind_those_that_wait(queue: Queue, sandbox: Sandbox) -> None:
    enqueue(queue, sandbox, "long", 8, steps=20)
    short = enqueue(queue, sandbox, "short", 1)
    running_job(queue, sandbox, 2)
    rest = queue.do(lambda: queue_api.requeue("long"))
    assert rest.position == 2
    queue.is_in(rest.flow_run_id, "Completed")
    assert queue.state(short.flow_run_id) == "Completed"
    names = [text.split()[0] for text in prompts(sandbox)]
    assert names[0] == "long"
    assert "short" in names
    assert names[-1] == "long"
    assert [line.status for line in queue.history] == ["COMPLETED", "COMPLETED"]


def test_retry_renders_only_what_failed(queue: Queue, sandbox: Sandbox) -> None:
    sandbox.arm(Fault(kind="oom", at=2))
    failed = enqueue(queue, sandbox, "partly", 3, steps=1)
    queue.is_in(failed.flow_run_id, "Failed")
    [line] = queue.history
    assert line.result
    [bad] = [n for n, entry in enumerate(line.result.results, 1) if entry.status == "error"]
    sent = len(sandbox.generating())
    retried = queue.command("queue", "retry", line.run_id[:6], "--out", str(queue.out))
    assert retried.returncode == 0, retried.stderr
    eventually(lambda: queue.history[-1].status == "COMPLETED")
    assert prompts(sandbox)[sent:] == [f"partly {bad}"]
    assert len(queue.history) == 1
