"""One Prefect task per stage type. They decorate; what a call does is `stableflows.stage_runner`.

Retries belong here and nowhere else: what may pass by itself is tried again, once the server is ready; a
stalled call, which was interrupted and waited out, once; what the server refused or did differently, never.
The pause before a further try is made here too: Prefect's own would not end when the run is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import task_run
from prefect.states import Cancelled, Completed

from stableflows.calls import StageCall
from stableflows.results import ImageRecord, StageOutput
from stableflows.stage_runner import StageRunner
from stableflows.stages import StageType
from stableflows.waiting import WaitCancelled, unless_cancelled
from stableflows.webui.errors import Interrupted, NotReady, Stalled, Unreachable, WebUIError

__all__ = ["STAGE_TASKS", "adetailer", "img2img", "txt2img", "upscale"]

RETRY_DELAYS = [1.0, 5.0, 15.0, 15.0, 15.0, 15.0]
"""Seconds before each further try. Only a call that waits behind one that kills the server gets them all."""
TRIES = 4
"""Of a call whose answer does not come whole, or that a proxy turns away."""
RESTART_SECONDS = 180.0
"""How long a server that went away is waited for before a further try."""


class GoneForGood(Unreachable):
    """The server went away and did not come back; there is no use in waiting once more."""

    retryable = False


async def _may_pass(_task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    error = await state.aresult(raise_on_failure=False)
    if isinstance(error, Stalled):
        return run.run_count <= 1
    if not isinstance(error, WebUIError) or not error.retryable:
        return False
    return isinstance(error, Unreachable) or run.run_count < TRIES


stage_task = task(
    task_run_name="{call.label}",
    retries=len(RETRY_DELAYS),
    retry_condition_fn=_may_pass,
    cache_policy=NO_CACHE,  # the store decides what was rendered; see ARCHITECTURE.md
    persist_result=False,
    log_prints=False,
)


async def _run(runner: StageRunner, call: StageCall, before: ImageRecord | None) -> StageOutput | State[Any]:
    attempt = task_run.run_count or 1
    runner.attempts[call.call_id] = attempt
    try:
        if attempt > 1:
            ready_again = _ready_again(runner, RETRY_DELAYS[attempt - 2])
            await unless_cancelled(ready_again, runner.cancel, runner.stop)
        output = await runner.run(call, before)
    except WaitCancelled:
        return Cancelled(message="The run ended before this was sent, or tried again.")
    except Interrupted:
        if runner.cancel.is_set():
            return Cancelled(message="Cancelled; the server was interrupted.")
        raise
    return Completed(name="Cached", data=output) if output.cached else output


async def _ready_again(runner: StageRunner, delay: float) -> None:
    await asyncio.sleep(delay)
    try:
        await runner.client.wait_ready(RESTART_SECONDS)
        await runner.look_again()
    except (Unreachable, NotReady) as error:
        reason = f"{error.reason}, and it did not come back within {RESTART_SECONDS:.0f} s"
        raise GoneForGood(reason, error.site, advice=error.advice) from error


@stage_task
async def txt2img(
    runner: StageRunner, call: StageCall, before: ImageRecord | None = None
) -> StageOutput | State[Any]:
    """Draw images from a prompt."""
    return await _run(runner, call, before)


@stage_task
async def img2img(
    runner: StageRunner, call: StageCall, before: ImageRecord | None = None
) -> StageOutput | State[Any]:
    """Change an image by a prompt."""
    return await _run(runner, call, before)


@stage_task
async def upscale(
    runner: StageRunner, call: StageCall, before: ImageRecord | None = None
) -> StageOutput | State[Any]:
    """Enlarge an image."""
    return await _run(runner, call, before)


@stage_task
async def adetailer(
    runner: StageRunner, call: StageCall, before: ImageRecord | None = None
) -> StageOutput | State[Any]:
    """Find faces, hands or persons in an image, and repaint each."""
    return await _run(runner, call, before)


STAGE_TASKS: Mapping[StageType, Task[Any, Any]] = {
    StageType.TXT2IMG: txt2img,
    StageType.IMG2IMG: img2img,
    StageType.UPSCALE: upscale,
    StageType.ADETAILER: adetailer,
}
