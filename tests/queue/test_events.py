"""What a run tells Prefect: events in order, tags, progress; and that Prefect's own Retry takes a run up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from flows import queue_api
from flows.queue_api import QueueEvent
from stableflows.sandbox import Fault, Sandbox
from tests.queue.conftest import PATIENCE, Queue, job, prompts

pytestmark = pytest.mark.timeout(400)


def test_events_of_two_jobs_come_in_order_and_the_queue_is_empty_once(queue: Queue, sandbox: Sandbox) -> None:
    heard: list[tuple[str, str | None]] = []

    async def listened() -> None:
        empty = asyncio.Event()

        def hear(event: QueueEvent) -> None:
            heard.append((event.event.removeprefix("stableflows."), event.payload.get("name")))

        async def hear_empty(event: QueueEvent) -> None:
            hear(event)
            empty.set()

        listening = asyncio.create_task(
            queue_api.listen(
                on_queue_updated=hear,
                on_job_started=hear,
                on_job_finished=hear,
                on_job_failed=hear,
                on_queue_empty=hear_empty,
            )
        )
        await asyncio.sleep(4)  # until it is connected, and has been told what was before
        heard.clear()
        empty.clear()
        await queue_api.pause()
        await queue_api.enqueue(job("one", 1, 1), out=queue.out, server=sandbox.url)
        await queue_api.enqueue(job("two", 1, 1), out=queue.out, server=sandbox.url)
        await queue_api.resume()
        await asyncio.wait_for(empty.wait(), PATIENCE)
        await asyncio.sleep(2)  # a second one would come now
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)

    queue.do(listened)
    assert [event for event, _ in heard].count("queue.updated") == 4
    assert [one for one in heard if one[0] != "queue.updated"] == [
        ("job.started", "one"),
        ("job.completed", "one"),
        ("job.started", "two"),
        ("job.completed", "two"),
        ("queue.empty", None),
    ]


def test_prefects_own_retry_takes_the_run_up(queue: Queue, sandbox: Sandbox, tmp_path: Path) -> None:
    """Started at the API with a pack's path, as the UI does it; it is tagged and shows its progress."""
    pack = tmp_path / "ships.yaml"
    pack.write_text(
        "config: {txt2img: {enabled: true, width: 64, height: 64, steps: 1}}\nentries: [a brig, a yawl]\n"
    )
    sandbox.arm(Fault(kind="oom", at=1))
    deployment = queue.api("/deployments/name/render/render-pack")
    request = {"packs": [str(pack)], "server": sandbox.url, "out": str(queue.out)}
    body = {"parameters": {"request": request}, "state": {"type": "SCHEDULED"}}
    flow_run: str = queue.api(f"/deployments/{deployment['id']}/create_flow_run", body)["id"]
    queue.is_in(flow_run, "Failed")
    [line] = queue.history
    assert (line.run_mode, line.source) == ("queue", "ui")
    assert {"queue", "source:ui", "pack:ships"} <= set(queue.api(f"/flow_runs/{flow_run}")["tags"])
    artifacts = queue.api("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [flow_run]}}})
    [bar] = [artifact for artifact in artifacts if artifact["type"] == "progress"]
    assert bar["data"] == 100.0

    retry = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True}
    queue.api(f"/flow_runs/{flow_run}/set_state", retry)
    queue.is_in(flow_run, "Completed")
    assert sorted(prompts(sandbox)) == ["a brig", "a brig", "a yawl"]
    [line] = queue.history
    assert (line.status, line.flow_run_ids) == ("COMPLETED", (flow_run,))
