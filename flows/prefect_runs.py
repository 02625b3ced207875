"""The runs of this process at Prefect's API: cancelled from there, and final there at the end.

A task run reports its states through a queue in this process, a websocket, and two queues at the server.
Right after a run its last second is not in the database yet, and is lost if the server then stops.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, cast
from uuid import UUID

from stableflows.errors import StableflowsError

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import State, StateType, TaskRun

__all__ = ["cancel_on_interrupt", "drain", "drain_all", "ended_runs", "watch_for_cancel"]

BOUND = 20.0
"""Seconds that Prefect's API gets to show a run's last states."""
PAGE = 200
"""The most that Prefect's API lists at once."""

log = logging.getLogger("stableflows.prefect")


class EndedRuns(logging.Filter):
    """Reads along in Prefect's run logs.

    It remembers which runs of this process have ended, because Prefect knows their number only later. And it
    takes the traceback from an error that was meant for people: its text says it all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flow_runs: set[UUID] = set()
        self.task_runs: defaultdict[UUID, set[UUID]] = defaultdict(set)

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        if record.exc_info and isinstance(record.exc_info[1], StableflowsError):
            record.exc_info = None
        flow_run, task_run = (getattr(record, name, None) for name in ("flow_run_id", "task_run_id"))
        if flow_run and str(record.msg).startswith("Finished in state"):
            if task_run:
                self.task_runs[UUID(flow_run)].add(UUID(task_run))
            else:
                self.flow_runs.add(UUID(flow_run))
        return True

    def forget(self, flow_run_id: UUID) -> None:
        """The run was drained."""
        self.flow_runs.discard(flow_run_id)
        self.task_runs.pop(flow_run_id, None)


ended_runs = EndedRuns()


@contextmanager
def cancel_on_interrupt(cancel: asyncio.Event) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM set `cancel`, so that the run ends itself; a second cancels the current task.

    Enter it on the main thread in the task that awaits the flow, and again inside the flow: Prefect puts its
    own SIGTERM handler there, which would end the process in the middle of everything.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def interrupted() -> None:
        if cancel.is_set() and task:
            task.cancel()
        cancel.set()

    def handler(_number: int, _frame: object) -> None:
        loop.call_soon_threadsafe(interrupted)

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, theirs in before.items():
            signal.signal(number, theirs)


async def watch_for_cancel(flow_run_id: UUID, cancel: asyncio.Event, every: float = 2.0) -> None:
    """Set `cancel` once the flow run was cancelled from outside: in the UI, by the CLI, through the API.

    Nothing else tells a flow that runs in the user's own process. Returns then, or when someone else sets
    `cancel`. An API that is away for a while is asked again.

    Args:
        every: seconds between two looks.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    async with get_client() as client:
        while not cancel.is_set():
            try:
                state = (await client.read_flow_run(flow_run_id)).state
            except ObjectNotFound:
                log.warning("The flow run %s was deleted in Prefect; it goes on unwatched.", flow_run_id)
                return
            except httpx.HTTPError as error:
                log.warning("Prefect could not be asked whether the run was cancelled: %r", error)
            else:
                if state and (state.is_cancelling() or state.is_cancelled()):
                    cancel.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(cancel.wait(), every)


async def drain_all() -> None:
    """Drain every flow run that ended in this process and was not drained yet."""
    for flow_run_id in list(ended_runs.flow_runs):
        await drain(flow_run_id)


async def drain(flow_run_id: UUID, *, bound: float = BOUND) -> bool:
    """Wait until Prefect's API shows the flow run, which has ended here, and all its task runs as final.

    Args:
        bound: seconds after which what still is not final is set so: task runs to Crashed, with the reason.

    Returns:
        Whether all states arrived by themselves. False, too, when the API went away.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    deadline = time.monotonic() + bound
    try:
        for worker in (EventsWorker, APILogWorker):
            await cast("Awaitable[object]", worker.drain_all(timeout=bound))  # in an event loop it is one
        async with get_client() as client:
            await _end_cancelling(client, flow_run_id)
            while not await _is_final(client, flow_run_id):
                if time.monotonic() > deadline:
                    await _set_crashed(client, flow_run_id)
                    return False
                await asyncio.sleep(0.2)
    except httpx.HTTPError as error:
        if isinstance(error, httpx.HTTPStatusError) and error.response.is_client_error:
            raise  # not the API's fault
        log.warning("Prefect's API failed before it had all states of run %s: %r", flow_run_id, error)
        return False
    finally:
        ended_runs.forget(flow_run_id)
    return True


async def _is_final(client: PrefectClient, flow_run_id: UUID) -> bool:
    from prefect.client.schemas.objects import TERMINAL_STATES

    ended = ended_runs.task_runs[flow_run_id]
    while page := list(ended)[:PAGE]:
        final = await _task_runs(client, flow_run_id, TERMINAL_STATES, page)
        ended -= {task_run.id for task_run in final}
        if len(final) < len(page):
            return False
    state = (await client.read_flow_run(flow_run_id)).state
    return state is not None and state.is_final() and not await _not_final(client, flow_run_id)


async def _not_final(client: PrefectClient, flow_run_id: UUID) -> list[TaskRun]:
    from prefect.client.schemas.objects import TERMINAL_STATES, StateType

    return await _task_runs(client, flow_run_id, set(StateType) - TERMINAL_STATES)


async def _task_runs(
    client: PrefectClient, flow_run_id: UUID, states: Iterable[StateType], ids: list[UUID] | None = None
) -> list[TaskRun]:
    from prefect.client.schemas import filters
    from prefect.client.schemas.sorting import TaskRunSort

    return await client.read_task_runs(
        flow_run_filter=filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=[flow_run_id])),
        task_run_filter=filters.TaskRunFilter(
            id=filters.TaskRunFilterId(any_=ids) if ids else None,
            state=filters.TaskRunFilterState(type=filters.TaskRunFilterStateType(any_=list(states))),
        ),
        sort=TaskRunSort.ID_DESC,
        limit=PAGE,
    )


async def _end_cancelling(client: PrefectClient, flow_run_id: UUID) -> None:
    """A run that was cancelled from outside when it had just ended stays Cancelling for ever otherwise."""
    from prefect.states import Cancelled

    state = (await client.read_flow_run(flow_run_id)).state
    if state and state.is_cancelling():
        await client.set_flow_run_state(flow_run_id, Cancelled(), force=True)


async def _set_crashed(client: PrefectClient, flow_run_id: UUID) -> None:
    from prefect.states import Crashed

    lost: State[None] = Crashed(message="It ended with its run, but its last state did not reach Prefect.")
    while unfinished := await _not_final(client, flow_run_id):
        log.warning("%d task runs of run %s ended without a last state", len(unfinished), flow_run_id)
        for task_run in unfinished:
            await client.set_task_run_state(task_run.id, lost, force=True)
