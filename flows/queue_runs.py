"""The queue as Prefect has it: which flow runs wait, in which order, which renders; and putting one in."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from flows.own_server import PrefectApiError
from flows.priority import Priority
from flows.up_state import POOL, project_folder
from stableflows.jobs import waits
from stableflows.request import RenderRequest
from stableflows.run.folder import RunFolder
from stableflows.run.lookup import folder_of_flow_run

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun, StateType, WorkPool

__all__ = [
    "DEPLOYMENT",
    "QueuedJob",
    "active",
    "attempt_of",
    "before_all",
    "folder_of",
    "pool",
    "position_of",
    "priority_of",
    "put_back",
    "put_in",
    "root_of",
    "runs_in",
    "url_of",
    "waiting",
    "worker_there",
]

DEPLOYMENT = "render/render-pack"
"""What the queue runs."""
ATTEMPT = "attempt:"
PAGE = 200
"""The most that Prefect's API lists at once."""
WORKER_SECONDS = 60.0
"""A worker that has not reported for so long is gone; it reports every 15 s."""


class QueuedJob(BaseModel):
    """A job that the queue has accepted.

    Attributes:
        flow_run_id: of the Prefect flow run that will render it.
        position: its place among those that wait, from 1.
        url: of its page in Prefect's UI.
        paused: nothing starts before the queue is resumed.
        worker: whether a worker is there to render.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flow_run_id: UUID
    name: str
    job_id: str | None
    priority: Priority
    position: int
    url: str
    paused: bool
    worker: bool


async def pool(client: PrefectClient) -> WorkPool:
    """The queue's work pool.

    Raises:
        PrefectApiError: this Prefect server has none.
    """
    from prefect.exceptions import ObjectNotFound

    try:
        return await client.read_work_pool(POOL)
    except ObjectNotFound:
        raise PrefectApiError(
            f"The Prefect server at {client.api_url} has no work pool {POOL!r}, which is the queue. "
            "`stableflows up` makes it; for a server of your own see deployments/README.md."
        ) from None


async def worker_there(client: PrefectClient) -> bool:
    """Whether a worker has reported of late; without one nothing starts."""
    now = datetime.now(UTC)
    workers = await client.read_workers_for_work_pool(POOL)
    seen = (worker.last_heartbeat_time for worker in workers)
    return any(time is not None and (now - time).total_seconds() < WORKER_SECONDS for time in seen)


async def runs_in(client: PrefectClient, *states: StateType) -> list[FlowRun]:
    """All flow runs of the pool in these states, by the time at which they were to start."""
    from prefect.client.schemas import filters
    from prefect.client.schemas.sorting import FlowRunSort

    runs: list[FlowRun] = []
    while True:
        page = await client.read_flow_runs(
            work_pool_filter=filters.WorkPoolFilter(name=filters.WorkPoolFilterName(any_=[POOL])),
            flow_run_filter=filters.FlowRunFilter(
                state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=list(states)))
            ),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            limit=PAGE,
            offset=len(runs),
        )
        runs += page
        if len(page) < PAGE:
            return runs


async def active(client: PrefectClient) -> list[FlowRun]:
    """Those that a worker has taken: one, unless one is just being cancelled."""
    from prefect.client.schemas.objects import StateType

    return await runs_in(client, StateType.RUNNING, StateType.PENDING, StateType.CANCELLING)


async def waiting(client: PrefectClient) -> list[FlowRun]:
    """Those that wait for their turn, in the order in which they will run; not those of a later date."""
    from prefect.client.schemas.objects import StateType

    soon = datetime.now(UTC) + timedelta(minutes=1)
    runs = [run for run in await runs_in(client, StateType.SCHEDULED) if _due(run) <= soon]
    order = list(Priority)
    return sorted(runs, key=lambda run: (order.index(priority_of(run)), _due(run)))


def _due(run: FlowRun) -> datetime:
    due = run.next_scheduled_start_time or run.expected_start_time
    assert due  # noqa: S101 (a scheduled run has one)
    return due


def priority_of(run: FlowRun) -> Priority:
    """The work queue of a run; a queue that somebody else made comes last."""
    names = [priority.value for priority in Priority]
    return Priority(run.work_queue_name) if run.work_queue_name in names else Priority.NIGHTLY


async def put_in(
    client: PrefectClient,
    request: RenderRequest,
    *,
    name: str,
    priority: Priority,
    tags: Iterable[str],
    due: datetime | None = None,
    key: str | None = None,
) -> QueuedJob:
    """Put a request into the queue.

    Args:
        due: orders it within its priority; now, if left out.
        key: the same key puts in the same run, once. Left out: this call's own.

    Raises:
        PrefectApiError: there is no queue at that server.
    """
    from prefect.exceptions import ObjectNotFound

    await pool(client)
    try:
        deployment = await client.read_deployment_by_name(DEPLOYMENT)
    except ObjectNotFound:
        raise PrefectApiError(
            f"The Prefect server at {client.api_url} has no deployment {DEPLOYMENT!r}; "
            "`stableflows up` deploys it."
        ) from None
    return await _create(
        client,
        deployment.id,
        {"request": request.model_dump(mode="json", exclude_defaults=True)},
        name=name,
        priority=priority,
        tags={*deployment.tags, *tags},
        due=due,
        key=key,
    )


async def put_back(
    client: PrefectClient,
    run: FlowRun,
    *,
    key: str | None = None,
    attempt: int | None = None,
    priority: Priority | None = None,
    due: datetime | None = None,
) -> QueuedJob:
    """Queue what is left of a run that ended, or is about to: it resumes in its folder, if it had one yet.

    Args:
        key: as for `put_in`.
        attempt: which start of the job it will be; as the run's own, if left out.
        priority: as the run's own, if left out.
        due: as the run's own, if left out: it goes before what came after it.
    """
    assert run.deployment_id  # noqa: S101 (runs of the pool have one)
    parameters = dict(run.parameters)
    folder = await folder_of(client, run)
    # A nightly run looks itself for what it has not finished.
    if folder is not None and run.parent_task_run_id is None and "request" in parameters:
        before = RenderRequest.model_validate(parameters["request"])
        request = RenderRequest(
            resume=folder.plan().run_id,
            title=run.name,
            server=before.server,
            out=str(folder.root),
            until=before.until,
            wait=before.wait,
        )
        parameters["request"] = request.model_dump(mode="json", exclude_defaults=True)
    tags = {tag for tag in run.tags if not tag.startswith(ATTEMPT) and tag != "auto-scheduled"}
    return await _create(
        client,
        run.deployment_id,
        parameters,
        name=run.name,
        priority=priority or priority_of(run),
        tags={*tags, f"{ATTEMPT}{attempt or attempt_of(run)}"},
        due=due or run.expected_start_time,
        key=key,
    )


async def _create(
    client: PrefectClient,
    deployment_id: UUID,
    parameters: dict[str, Any],
    *,
    name: str,
    priority: Priority,
    tags: Iterable[str],
    due: datetime | None,
    key: str | None,
) -> QueuedJob:
    from prefect.states import Scheduled

    request = parameters.get("request", {})
    if request.get("job"):  # pruning the store leaves it, until its run has begun
        waits(RenderRequest.model_validate(request).root, request["job"])
    run = await client.create_flow_run_from_deployment(  # tries again while the database is busy
        deployment_id,
        parameters=parameters,
        state=Scheduled(scheduled_time=due),
        name=name,
        tags=sorted(tags),
        idempotency_key=key or uuid.uuid4().hex,
        work_queue_name=priority.value,
    )
    return QueuedJob(
        flow_run_id=run.id,
        name=name,
        job_id=request.get("job"),
        priority=priority,
        position=position_of(run.id, await waiting(client)),
        url=url_of(client, run.id),
        paused=(await pool(client)).is_paused,
        worker=await worker_there(client),
    )


async def before_all(client: PrefectClient) -> datetime:
    """A time that is due before all that waits."""
    due = [run.expected_start_time for run in await waiting(client) if run.expected_start_time]
    return min([datetime.now(UTC), *due]) - timedelta(seconds=1)


def attempt_of(run: FlowRun) -> int:
    """Which start of its job a run is, from 1: a job that crashed is started again a few times."""
    numbers = [tag.removeprefix(ATTEMPT) for tag in run.tags if tag.startswith(ATTEMPT)]
    return max((int(number) for number in numbers if number.isdigit()), default=1)


def root_of(run: FlowRun) -> Path:
    """The output root of a run of the queue; a relative one is the project's, where the worker runs."""
    parameters = run.parameters.get("request", run.parameters)
    return (project_folder() / Path(str(parameters.get("out", "outputs"))).expanduser()).resolve()


async def folder_of(client: PrefectClient, run: FlowRun) -> RunFolder | None:
    """The folder into which a run renders, or rendered, itself or through the run that it called."""
    from prefect.client.schemas import filters

    children = await client.read_flow_runs(
        flow_run_filter=filters.FlowRunFilter(
            parent_flow_run_id=filters.FlowRunFilterParentFlowRunId(any_=[run.id])
        )
    )
    return folder_of_flow_run(root_of(run), {str(one.id) for one in (run, *children)})


def position_of(flow_run_id: UUID, runs: Sequence[FlowRun]) -> int:
    """From 1; 0 for one that does not wait any more."""
    ids = [run.id for run in runs]
    return ids.index(flow_run_id) + 1 if flow_run_id in ids else 0


def url_of(client: PrefectClient, flow_run_id: UUID) -> str:
    """The flow run's page in Prefect's UI."""
    from prefect.settings import PREFECT_UI_URL

    ui = PREFECT_UI_URL.value() or str(client.api_url).rstrip("/").removesuffix("/api")
    return f"{ui}/runs/flow-run/{flow_run_id}"
