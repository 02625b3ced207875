"""The queue as Prefect has it: which flow runs wait, in which order, which one renders; and putting one in."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from flows.own_server import PrefectApiError
from flows.up_state import POOL
from stableflows.request import RenderRequest

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun, StateType, WorkPool

__all__ = ["DEPLOYMENT", "Priority", "QueuedJob", "active", "pool", "put_in", "runs_in", "url_of", "waiting"]

DEPLOYMENT = "render/render-pack"
"""What the queue runs."""
PAGE = 200
"""The most that Prefect's API lists at once."""


class Priority(StrEnum):
    """Work queues of the pool, the first to go first."""

    URGENT = "urgent"
    DEFAULT = "default"
    NIGHTLY = "nightly"


class QueuedJob(BaseModel):
    """A job that the queue has accepted.

    Attributes:
        flow_run_id: of the Prefect flow run that will render it.
        position: its place among those that wait, from 1.
        url: of its page in Prefect's UI.
        paused: nothing starts before the queue is resumed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flow_run_id: UUID
    name: str
    job_id: str | None
    priority: Priority
    position: int
    url: str
    paused: bool


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
    """Put a request into the queue; Prefect's client tries again while the database is busy.

    Args:
        due: orders it within its priority; now, if left out.
        key: the same key puts in the same run, once. Left out: this call's own.

    Raises:
        PrefectApiError: there is no queue at that server.
    """
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Scheduled

    the_pool = await pool(client)
    try:
        deployment = await client.read_deployment_by_name(DEPLOYMENT)
    except ObjectNotFound:
        raise PrefectApiError(
            f"The Prefect server at {client.api_url} has no deployment {DEPLOYMENT!r}; `stableflows up` deploys it."
        ) from None
    parameters: dict[str, Any] = {"request": request.model_dump(mode="json", exclude_defaults=True)}
    run = await client.create_flow_run_from_deployment(
        deployment.id,
        parameters=parameters,
        state=Scheduled(scheduled_time=due),
        name=name,
        tags=sorted({*deployment.tags, *tags}),
        idempotency_key=key or uuid.uuid4().hex,
        work_queue_name=priority.value,
    )
    return QueuedJob(
        flow_run_id=run.id,
        name=name,
        job_id=request.job,
        priority=priority,
        position=position_of(run.id, await waiting(client)),
        url=url_of(client, run.id),
        paused=the_pool.is_paused,
    )


def position_of(flow_run_id: UUID, runs: Sequence[FlowRun]) -> int:
    """From 1; 0 for one that does not wait any more."""
    ids = [run.id for run in runs]
    return ids.index(flow_run_id) + 1 if flow_run_id in ids else 0


def url_of(client: PrefectClient, flow_run_id: UUID) -> str:
    """The flow run's page in Prefect's UI."""
    from prefect.settings import PREFECT_UI_URL

    ui = PREFECT_UI_URL.value() or str(client.api_url).rstrip("/").removesuffix("/api")
    return f"{ui}/runs/flow-run/{flow_run_id}"
