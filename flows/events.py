"""Events at Prefect about jobs and the queue; automations and `flows.queue_api.listen` hear them.

A run tells of itself with `job_started` and `job_ended`; whoever changes the queue calls `queue_updated`. An
event that cannot be delivered costs no picture: it is logged, and the run goes on.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx

from stableflows.closing import Ending, RunFacts
from stableflows.job import Job
from stableflows.results import RunStatus

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

__all__ = [
    "JOB_COMPLETED",
    "JOB_FAILED",
    "JOB_STARTED",
    "QUEUE_EMPTY",
    "QUEUE_UPDATED",
    "job_ended",
    "job_started",
    "job_tags",
    "queue_updated",
]

QUEUE_UPDATED = "stableflows.queue.updated"
QUEUE_EMPTY = "stableflows.queue.empty"
JOB_STARTED = "stableflows.job.started"
JOB_COMPLETED = "stableflows.job.completed"
JOB_FAILED = "stableflows.job.failed"
"""Whatever did not end well, also what was cancelled; `status` says which."""

log = logging.getLogger("stableflows.prefect")


def job_tags(job: Job) -> list[str]:
    """By which a run is found in Prefect's UI: its mode, its source, its packs."""
    config = job.run_config
    packs = dict.fromkeys(item.pack_id for item in job.packs if item.pack_id)
    return [config.run_mode, f"source:{config.source}", *(f"pack:{pack}" for pack in packs)]


async def job_started(facts: RunFacts) -> None:
    """A run is about to send its first request: its flow run gets its tags, and the event goes out."""
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        if facts.job is not None and facts.flow_run_ids:
            flow_run_id = UUID(facts.flow_run_ids[-1])
            try:
                there = (await client.read_flow_run(flow_run_id)).tags
                await client.update_flow_run(flow_run_id, tags=sorted({*there, *job_tags(facts.job)}))
            except httpx.HTTPError as error:
                log.warning("The flow run could not be tagged: %r", error)
    await emit(JOB_STARTED, _payload(facts, "RUNNING"), facts.run_id)


async def job_ended(facts: RunFacts, ending: Ending) -> None:
    """A run has ended, whatever became of it; and so, perhaps, has the queue's work."""
    good = ending.status is RunStatus.COMPLETED
    payload = _payload(facts, ending.status.value)
    await emit(JOB_COMPLETED if good else JOB_FAILED, {**payload, "message": ending.message}, facts.run_id)
    if payload["run_mode"] == "queue" and await _was_last(facts):
        await emit(QUEUE_EMPTY, {}, "queue")


async def queue_updated(client: PrefectClient) -> None:
    """Something was put into the queue, taken out of it, paused or resumed."""
    from flows.queue_runs import pool, waiting

    jobs = await waiting(client)
    payload = {
        "paused": (await pool(client)).is_paused,
        "waiting": [{"flow_run_id": str(run.id), "name": run.name} for run in jobs[:100]],
    }
    await emit(QUEUE_UPDATED, payload, "queue")


def _payload(facts: RunFacts, status: str) -> dict[str, Any]:
    job, folder = facts.job, facts.folder
    config = job.run_config if job else facts.run_config
    return {
        "job_id": facts.job_id if job else None,
        "name": job.name if job else None,
        "run_id": facts.run_id,
        "run_mode": config.run_mode if config else "direct",
        "source": config.source if config else "cli",
        "packs": list(dict.fromkeys(item.pack_id for item in job.packs)) if job else [],
        "status": status,
        "output_dir": str(folder.path) if folder else None,
        "manifest": str(folder.manifest_file) if folder else None,
        "learning": config.learning if config else False,
    }


async def _was_last(facts: RunFacts) -> bool:
    from prefect.client.orchestration import get_client

    from flows.own_server import PrefectApiError
    from flows.queue_runs import active, pool, waiting

    try:
        async with get_client() as client:
            await pool(client)
            others = [run for run in await active(client) if str(run.id) not in facts.flow_run_ids]
            return not others and not await waiting(client)
    except (PrefectApiError, httpx.HTTPError) as error:
        log.warning("Prefect could not be asked whether the queue is empty: %r", error)
        return False


async def emit(event: str, payload: dict[str, Any], about: str) -> None:
    """Send one event, and return when it is sent.

    Args:
        about: what it is about: a run's id, or "queue".
    """
    from prefect.events import Event, Resource
    from prefect.events.clients import get_events_client

    resource = Resource.model_validate({"prefect.resource.id": f"stableflows.{about}"})
    try:
        async with get_events_client(checkpoint_every=1) as client:
            await client.emit(Event(event=event, resource=resource, payload=payload))
    except Exception as error:  # whatever a web socket can raise; see the module's first words
        log.warning("The event %s could not be sent: %r", event, error)
