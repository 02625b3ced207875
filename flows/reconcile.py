"""Puts right what a crash left: runs whose process has died become Crashed, and go back into the queue.

The worker calls it when it starts and every few seconds then. What was rendered is in the run's folder; the
run that is put back resumes there.
"""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from flows.queue_runs import active, attempt_of, put_back, root_of, runs_in
from stableflows.mending import mend

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun, State

__all__ = ["ATTEMPTS", "reconcile"]

ATTEMPTS = 3
"""How often a job is started in all, if it crashes each time: one that kills its process does not loop."""
HANDLED = "crash-handled"
"""Tag of a crashed run that was put back, or given up."""
PENDING_SECONDS = 120.0
"""After which a run that the worker took, but for which no process was started, counts as lost."""

_seen_dead: set[UUID] = set()


async def reconcile(*, worker_lives: bool) -> list[str]:
    """Find dead runs, mark them, put them back.

    Args:
        worker_lives: a worker runs, which sees most deaths itself and is given time to. False at its start.

    Returns:
        A line for each run, for the worker's log.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import StateType
    from prefect.states import Cancelled, Crashed

    said = []
    async with get_client() as client:
        for run in await active(client):
            if not _is_dead(run, worker_lives):
                continue
            cancelling = run.state is not None and run.state.is_cancelling()
            words = "Its process ended without a word"
            state: State[None] = (
                Cancelled(message=words) if cancelling else Crashed(message=f"{words}; it was killed")
            )
            await client.set_flow_run_state(run.id, state, force=True)
            said.append(f"{run.name}: {state.name}: {state.message}")
        crashed = await runs_in(client, StateType.CRASHED)
        return [*said, *[await _handle(client, run) for run in crashed if HANDLED not in run.tags]]


def _is_dead(run: FlowRun, worker_lives: bool) -> bool:
    if run.infrastructure_pid is None:
        age = (datetime.now(UTC) - run.state.timestamp).total_seconds() if run.state else 0.0
        return not worker_lives or age > PENDING_SECONDS
    if _process_lives(run.infrastructure_pid, run.id):
        _seen_dead.discard(run.id)
        return False
    if worker_lives and run.id not in _seen_dead:  # the worker is just about to see it itself
        _seen_dead.add(run.id)
        return False
    _seen_dead.discard(run.id)
    return True


def _process_lives(infrastructure_pid: str, flow_run_id: UUID) -> bool:
    """Whether the process of a flow run is there; one of another machine is taken to be."""
    host, _, number = infrastructure_pid.rpartition(":")
    if host and host != socket.gethostname():
        return True
    environment = Path("/proc", number, "environ")
    try:
        os.kill(int(number), 0)
        # Its number may be another process's by now. Where there is no /proc, the number decides.
        return not Path("/proc/self").exists() or str(flow_run_id).encode() in environment.read_bytes()
    except (ProcessLookupError, FileNotFoundError):
        return False
    except PermissionError:  # somebody else's, then
        return False


async def _handle(client: PrefectClient, run: FlowRun) -> str:
    """Put a crashed run back, or give it up; once."""
    root = root_of(run)
    if root.is_dir():
        mend(root)  # its history line, also if nobody renders there again
    attempt = attempt_of(run)
    if attempt >= ATTEMPTS:
        said = f"{run.name}: crashed {attempt} times; it is given up"
    else:
        again = await put_back(client, run, key=f"crash-{run.id}", attempt=attempt + 1)
        said = f"{run.name}: put back into the queue ({again.priority}), attempt {attempt + 1} of {ATTEMPTS}"
    await client.update_flow_run(run.id, tags=sorted({*run.tags, HANDLED}))
    return said
