"""Direct mode: the flow in this process, with a Prefect API for the time of the run."""

from __future__ import annotations

import asyncio

from flows.hooks import HOOKS, Hooks, Reporter
from flows.prefect_api import prefect_api
from flows.prefect_runs import cancel_on_interrupt
from stableflows.closing import Ending
from stableflows.errors import StableflowsError
from stableflows.request import RenderRequest
from stableflows.run.files import why_not

__all__ = ["run_directly"]


def run_directly(request: RenderRequest, reporter: Reporter) -> Ending:
    """Run the flow and wait for it. Ctrl-C cancels the run, which then ends itself.

    Raises:
        PrefectApiError: there is no Prefect API to be had.
    """
    with prefect_api(announce=reporter.say):
        ending = asyncio.run(_flow(request, reporter))
        reporter.ended(ending)  # before the API is drained and stopped: nobody should wait for that
    return ending


async def _flow(request: RenderRequest, reporter: Reporter) -> Ending:
    from flows.render import render

    hooks = Hooks(reporter=reporter)
    HOOKS.set(hooks)
    with cancel_on_interrupt(hooks.cancel):
        state = await render(request, return_state=True)
    if hooks.ending is None:
        try:
            await state.aresult()  # a fault of ours: the traceback says where
        except OSError as error:
            raise StableflowsError(
                f"The run stopped: {error.filename or 'a file of it'} cannot be written: {why_not(error)}. "
                "What was rendered before is kept; --resume makes the rest."
            ) from error
        raise StableflowsError(f"The run ended as {state.name} without a result: {state.message}")
    return hooks.ending
