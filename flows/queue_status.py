"""What the queue does now: read from the work pool, and from the folder of the run that renders.

Never from Prefect's task runs, which lag.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from flows.priority import Priority
from flows.queue_runs import (
    active,
    folder_of,
    pool,
    priority_of,
    root_of,
    url_of,
    waiting,
    worker_there,
)
from stableflows.errors import StableflowsError
from stableflows.jobs import saved_job
from stableflows.request import RenderRequest
from stableflows.run.folder import RunFolder
from stableflows.run.progress import Progress, progress_of

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

__all__ = ["PendingJob", "QueueStatus", "RunningJob", "read_status"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunningJob(_Frozen):
    """The job that renders.

    Attributes:
        run_id, output_dir: None while it has no folder yet: it starts, or waits for its server.
        entry: what it renders now: number from 1 and name or prompt.
        remaining: seconds, estimated from what its calls took so far; None before the first ended.
        stopping: it is being cancelled, or ends after the image in hand.
    """

    flow_run_id: UUID
    name: str
    job_id: str | None
    run_id: str | None = None
    state: Literal["RUNNING"] = "RUNNING"
    priority: Priority
    started: datetime | None = None
    entry: int | None = None
    entry_name: str | None = None
    stage: str | None = None
    images_done: int = 0
    images_total: int | None = None
    requests_done: int = 0
    requests_total: int | None = None
    failed: int = 0
    remaining: float | None = None
    stopping: bool = False
    output_dir: str | None = None
    url: str


class PendingJob(_Frozen):
    """A job that waits.

    Attributes:
        position: its place, from 1.
        config: the hash by which results of the same settings are found.
        resumes: the id of the run that it will finish.
    """

    flow_run_id: UUID
    name: str
    job_id: str | None
    packs: tuple[str, ...]
    config: str | None = None
    priority: Priority
    position: int
    state: Literal["QUEUED"] = "QUEUED"
    resumes: str | None = None
    url: str


class QueueStatus(_Frozen):
    """The queue. Paused: nothing further starts; a job that renders goes on.

    Attributes:
        worker: whether a worker is there to render.
    """

    queue_status: Literal["idle", "running", "paused"]
    running_job: RunningJob | None
    pending_jobs: tuple[PendingJob, ...]
    worker: bool


async def read_status(client: PrefectClient) -> QueueStatus:
    """What the queue does now.

    Raises:
        PrefectApiError: there is no queue at this server.
    """
    the_pool = await pool(client)
    runs = await active(client)
    # One that is being cancelled no longer counts at Prefect, so that the next may have been taken already.
    runs.sort(key=lambda run: run.state is not None and run.state.is_cancelling())
    pending = await waiting(client)
    return QueueStatus(
        queue_status="paused" if the_pool.is_paused else "running" if runs else "idle",
        running_job=await _running(client, runs[0]) if runs else None,
        pending_jobs=tuple([_pending(client, run, place) for place, run in enumerate(pending, 1)]),
        worker=await worker_there(client),
    )


async def _running(client: PrefectClient, run: FlowRun) -> RunningJob:
    folder = await folder_of(client, run)
    cancelling = run.state is not None and run.state.is_cancelling()
    job = RunningJob(
        flow_run_id=run.id,
        name=run.name,
        job_id=_job_id(run),
        priority=priority_of(run),
        started=run.start_time,
        stopping=cancelling,
        url=url_of(client, run.id),
    )
    if folder is None:
        return job
    progress = await asyncio.to_thread(_progress, folder)
    if progress is None:
        return job
    return job.model_copy(
        update={
            **{name: getattr(progress, name) for name in Progress.model_fields},
            "stopping": cancelling or folder.stop_file.exists(),
            "output_dir": str(folder.path),
        }
    )


def _progress(folder: RunFolder) -> Progress | None:
    try:
        return progress_of(folder)
    except StableflowsError:  # it is only just being made
        return None


def _pending(client: PrefectClient, run: FlowRun, position: int) -> PendingJob:
    job_id, root = _job_id(run), root_of(run)
    packs, config, resumes = _what(run, job_id, root)
    return PendingJob(
        flow_run_id=run.id,
        name=run.name,
        job_id=job_id,
        packs=packs,
        config=config,
        priority=priority_of(run),
        position=position,
        resumes=resumes,
        url=url_of(client, run.id),
    )


def _what(run: FlowRun, job_id: str | None, root: Path) -> tuple[tuple[str, ...], str | None, str | None]:
    """Names of packs, hash of the config, and the run that is resumed, as far as they are known before it
    runs."""
    if "request" not in run.parameters:  # a nightly run: its folder's packs are read when it runs
        return (str(run.parameters.get("folder", "")),), None, None
    request = RenderRequest.model_validate(run.parameters["request"])
    resumes = request.resume or request.retry
    if job_id is not None:
        try:
            job = saved_job(root, job_id)
        except StableflowsError:  # it was deleted, which the run itself will say
            return (), None, resumes
        return tuple(dict.fromkeys(item.name or item.pack_id for item in job.packs)), job.config_hash, resumes
    return tuple(Path(pack).stem for pack in request.packs), None, resumes


def _job_id(run: FlowRun) -> str | None:
    job: str | None = run.parameters.get("request", {}).get("job")
    return job
