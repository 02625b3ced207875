"""The queue's verbs, for programs; `python -m flows.queue` is a thin caller.

    import asyncio
    from flows.queue_api import enqueue, run_now, status

    queued = asyncio.run(enqueue({"name": "mine", "packs": [...]}, server="sandbox"))

They talk to the Prefect API that is configured, else to that of `stableflows up`.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from flows import events
from flows.own_server import PrefectApiError
from flows.prefect_settings import prefect_setting
from flows.priority import Priority
from flows.queue_runs import (
    QueuedJob,
    active,
    before_all,
    folder_of,
    pool,
    put_back,
    put_in,
    waiting,
)
from flows.queue_status import QueueStatus, read_status
from flows.stopping import ask_to_stop
from flows.up_state import POOL, prefect_home, running
from stableflows.errors import InputError
from stableflows.job import Job, SubmittedAs
from stableflows.jobs import inputs_folder, read_mapping, save_job
from stableflows.request import Prepared, RenderRequest, prepare_job, with_mode
from stableflows.run.files import check_writable

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

__all__ = [
    "Priority",
    "QueueEvent",
    "QueueStatus",
    "QueuedJob",
    "cancel",
    "cancel_current",
    "cancel_run",
    "cancel_waiting",
    "enqueue",
    "listen",
    "pause",
    "queue_client",
    "requeue",
    "resume",
    "run_now",
    "set_paused",
    "status",
    "submit",
]


class QueueEvent(BaseModel):
    """Something that happened: `event` is one of `flows.events`, `payload` as shapes of it are documented."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: str
    occurred: datetime
    payload: dict[str, Any]


Listener = Callable[[QueueEvent], Awaitable[object] | object]


@asynccontextmanager
async def queue_client() -> AsyncIterator[PrefectClient]:
    """A client of the queue's Prefect API; within the block Prefect's own settings name that API, too.

    Raises:
        PrefectApiError: no API is configured, and `stableflows up` does not run.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    configured = prefect_setting("api", "url")
    if configured and configured.value:
        settings: Any = nullcontext()
    else:
        state = running(prefect_home())
        if state is None:
            raise PrefectApiError(
                "There is no queue: nothing runs that could keep it. Start it: stableflows up"
            )
        settings = temporary_settings({PREFECT_API_URL: state.url})
    with settings:
        async with get_client() as client:
            yield client


# -- putting in


async def enqueue(
    job: Job | Mapping[str, Any],
    *,
    out: Path | str = "outputs",
    server: str | None = None,
    priority: Priority = Priority.DEFAULT,
    source: SubmittedAs = "add_to_queue",
) -> QueuedJob:
    """Put a job into the queue, as it is now.

    Args:
        job: a job, or a mapping of its shape; `name` may be left out.
        out: the folder that holds all runs.
        server: as on the command line; left out, what the worker has configured.

    Raises:
        InvalidInputs: the job cannot be rendered.
        PrefectApiError: there is no queue.
    """
    request = RenderRequest(server=server, out=str(out))
    root = request.root
    prepared = prepare_job(with_mode(read_mapping(job), "queue", source), inputs=inputs_folder(root))
    check_writable(root)
    named = {"job": save_job(prepared, root), "title": prepared.job.name, "out": str(root)}
    return await submit(request.model_copy(update=named), prepared, priority)


async def run_now(
    job: Job | Mapping[str, Any], *, out: Path | str = "outputs", server: str | None = None
) -> QueuedJob:
    """Put a job before all others, and let a paused queue go on. For the rest see `enqueue`."""
    queued = await enqueue(job, out=out, server=server, priority=Priority.URGENT, source="run_now")
    if queued.paused:
        await resume()
    return queued.model_copy(update={"paused": False})


async def submit(request: RenderRequest, prepared: Prepared, priority: Priority) -> QueuedJob:
    """Queue what was prepared.

    Args:
        request: names the saved job, or the earlier run that is continued or repeated.
    """
    async with queue_client() as client:
        queued = await put_in(
            client,
            request,
            name=request.title or prepared.job.name,
            priority=priority,
            tags=events.job_tags(prepared.job),
        )
        await events.queue_updated(client)
        return queued


# -- looking


async def status() -> QueueStatus:
    """What runs, what waits, in order."""
    async with queue_client() as client:
        return await read_status(client)


async def listen(
    on_queue_updated: Listener | None = None,
    on_job_started: Listener | None = None,
    on_job_finished: Listener | None = None,
    on_job_failed: Listener | None = None,
    on_queue_empty: Listener | None = None,
) -> None:
    """Call these, functions or coroutine functions, as events come, until cancelled.

    `on_job_failed` is called for each run that did not end well, also for a cancelled one.
    """
    from prefect.events.clients import get_events_subscriber
    from prefect.events.filters import EventFilter, EventNameFilter

    listeners = {
        events.QUEUE_UPDATED: on_queue_updated,
        events.JOB_STARTED: on_job_started,
        events.JOB_COMPLETED: on_job_finished,
        events.JOB_FAILED: on_job_failed,
        events.QUEUE_EMPTY: on_queue_empty,
    }
    async with (
        queue_client(),
        get_events_subscriber(filter=EventFilter(event=EventNameFilter(name=list(listeners)))) as subscriber,
    ):
        async for event in subscriber:
            if listener := listeners.get(event.event):
                told = listener(
                    QueueEvent(event=event.event, occurred=event.occurred, payload=dict(event.payload))
                )
                if inspect.isawaitable(told):
                    await told


# -- steering


async def pause(*, now: bool = False) -> QueuedJob | None:
    """Start no further job. The one that renders goes on to its end.

    Args:
        now: it ends after the images in hand, and what is left of it is queued before all others.

    Returns:
        The queued rest, with `now` and if something rendered.
    """
    async with queue_client() as client:
        await set_paused(client, True)
        rest = None
        for run in await active(client) if now else ():
            rest = await put_back(client, run, priority=Priority.URGENT, due=await before_all(client))
            folder = await folder_of(client, run)
            if folder is None:  # it has not begun to render
                await cancel_run(client, run)
            else:
                ask_to_stop(folder, "paused")
        await events.queue_updated(client)
        return rest


async def resume() -> None:
    """Let jobs start again."""
    async with queue_client() as client:
        await set_paused(client, False)
        await events.queue_updated(client)


async def cancel_current() -> str | None:
    """Cancel what renders; its name, or None if nothing does."""
    async with queue_client() as client:
        runs = await active(client)
        for run in runs:
            await cancel_run(client, run)
        return runs[0].name if runs else None


async def cancel(name: str) -> str:
    """Cancel a run that renders or waits, known by its name, or by its id or the beginning of that.

    Returns:
        Its name.

    Raises:
        InputError: there is none, or there are several.
    """
    async with queue_client() as client:
        run = await _find(client, name)
        await cancel_run(client, run)
        await events.queue_updated(client)
        return run.name


async def cancel_waiting() -> int:
    """Cancel all that wait; how many they were."""
    async with queue_client() as client:
        runs = await waiting(client)
        for run in runs:
            await cancel_run(client, run)
        await events.queue_updated(client)
        return len(runs)


async def requeue(name: str) -> QueuedJob:
    """Stop a run now, and put what is left of it behind those that wait.

    Raises:
        InputError: see `cancel`.
    """
    async with queue_client() as client:
        run = await _find(client, name)
        rest = await put_back(client, run, due=datetime.now(UTC))
        await cancel_run(client, run)
        await events.queue_updated(client)
        return rest


async def _find(client: PrefectClient, name: str) -> FlowRun:
    runs = [*await active(client), *await waiting(client)]
    found = [run for run in runs if name in (str(run.id), run.name)]
    found = found or [run for run in runs if str(run.id).startswith(name)]
    for run in runs if not found else ():
        folder = await folder_of(client, run)
        if folder is not None and folder.plan().run_id.startswith(name):
            found.append(run)
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(
            f"there is no run {name!r} in the queue. `stableflows queue` shows what is there, "
            "`stableflows history` what was.",
            allowed=[run.name for run in runs],
            value=name,
        )
    raise InputError(
        f"{len(found)} runs in the queue are called {name!r}; name one by its id.",
        allowed=[str(run.id) for run in found],
    )


async def cancel_run(client: PrefectClient, run: FlowRun) -> None:
    """Take it out of the queue if it waits; else let its process end it, which takes it seconds."""
    from prefect.states import Cancelled, Cancelling

    if run.state is not None and run.state.is_scheduled():
        await client.set_flow_run_state(run.id, Cancelled(message="Taken out of the queue"), force=True)
    else:
        await client.set_flow_run_state(run.id, Cancelling())


async def set_paused(client: PrefectClient, paused: bool) -> None:
    """Pause the work pool, or let it go on.

    Raises:
        PrefectApiError: there is no queue.
    """
    from prefect.client.schemas.actions import WorkPoolUpdate

    await pool(client)
    await client.update_work_pool(POOL, WorkPoolUpdate(is_paused=paused))
