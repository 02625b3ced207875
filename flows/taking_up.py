"""A flow run that Prefect starts a second time, say by its Retry button, takes up the run that it had."""

from __future__ import annotations

from stableflows.request import RenderRequest
from stableflows.run.lookup import folder_of_flow_run

__all__ = ["taken_up"]


def taken_up(request: RenderRequest, flow_run_id: str) -> RenderRequest:
    """The request, as one for what failed or was not reached, if this flow run has rendered before.

    Call it when killed runs are mended (`stableflows.mending`), for only then are all in the history.
    """
    if request.resume or request.retry:
        return request
    folder = folder_of_flow_run(request.root, {flow_run_id})
    if folder is None:
        return request
    return RenderRequest(
        retry=folder.plan().run_id,
        title=request.title,
        server=request.server,
        out=request.out,
        until=request.until,
        wait=request.wait,
    )
