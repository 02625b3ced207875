"""`python -m flows.run ... --queue`: what the command line asked for, checked and put into the queue.

What is queued is what runs: a snapshot of the job, whatever becomes of the pack files, on the server that
this machine would use now.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from flows.priority import Priority
from flows.wording import NO_WORKER
from stableflows.errors import ExitCode, InputError, Where
from stableflows.job import RunMode
from stableflows.request import Prepared, RenderRequest

if TYPE_CHECKING:
    from flows.queue_runs import QueuedJob

__all__ = ["RUN_MODE_VARIABLE", "Priority", "decide_mode", "named", "show", "submit"]

RUN_MODE_VARIABLE = "STABLEFLOWS_RUN_MODE"


def decide_mode(*, direct: bool, queue: bool) -> RunMode:
    """`--direct` or `--queue`, else STABLEFLOWS_RUN_MODE, else direct.

    Raises:
        InputError: both options, or the variable says something else.
    """
    if direct and queue:
        raise InputError("give --direct or --queue, not both.")
    if direct or queue:
        return "queue" if queue else "direct"
    variable = os.environ.get(RUN_MODE_VARIABLE, "").strip().lower() or "direct"
    if variable == "queue":
        return "queue"
    if variable != "direct":
        raise InputError(
            f"there is no run mode {variable!r}.",
            where=Where(field=RUN_MODE_VARIABLE),
            allowed=["direct", "queue"],
            value=variable,
        )
    return "direct"


def submit(
    request: RenderRequest, prepared: Prepared, *, priority: Priority, now: bool, console: Console
) -> QueuedJob:
    """Check the job at its server, as far as that can be reached, and queue it.

    Args:
        request: names the saved job, or the run to repeat.
        now: into `urgent`, and a paused queue is resumed.

    Raises:
        PrefectApiError: there is no queue.
        InputError: a name that the server does not have, or a server that is none.
    """
    from flows.prefect_api import prefect_api

    with prefect_api(queue=True):
        return asyncio.run(_submit(request, prepared, priority, now, console))


async def _submit(
    request: RenderRequest, prepared: Prepared, priority: Priority, now: bool, console: Console
) -> QueuedJob:
    from flows import queue_api

    def say(line: str, style: str = "") -> None:
        console.print(Text(line, style=style), soft_wrap=True)

    server, checked = await _check(prepared, request)
    for warning in prepared.warnings:
        say(f"Warning: {warning}", "yellow")
    say(checked)
    queued = await queue_api.submit(
        request.model_copy(update={"server": server, "title": request.title or prepared.job.name}),
        prepared,
        Priority.URGENT if now else priority,
    )
    if now and queued.paused:
        await queue_api.resume()
        queued = queued.model_copy(update={"paused": False})
        say("The queue was paused; it goes on.")
    return queued


async def _check(prepared: Prepared, request: RenderRequest) -> tuple[str, str]:
    """The server as the worker will be told it, and a line that says what was looked up there."""
    from flows.check import check_at
    from flows.server import SANDBOX, choose_server, named_server, sandbox_server

    named = named_server(prepared.server)
    chosen = await choose_server(prepared.server)
    if chosen.config is None:
        with sandbox_server() as config:
            return SANDBOX, (await check_at(prepared, request, config)).line
    if chosen.config.password is not None and named and "@" in named[0]:
        raise InputError(
            "a password in a URL would be stored in Prefect's history with the queued run; save it in a "
            "block (docs/servers.md).",
            where=Where(field=named[1]),
        )
    return (named[0] if named else "default"), (await check_at(prepared, request, chosen.config)).line


def named(prepared: Prepared, name: str | None) -> Prepared:
    """What was prepared, as a job of that name.

    Raises:
        InputError: the name says nothing.
    """
    if name is None:
        return prepared
    if not name.strip():
        raise InputError("is empty.", where=Where(field="--name"))
    return replace(prepared, job=prepared.job.model_copy(update={"name": name.strip()}))


def show(queued: QueuedJob, as_json: bool) -> int:
    """Print where the job stands, and return the exit code."""
    if as_json:
        sys.stdout.write(json.dumps({"queued": queued.model_dump(mode="json")}, indent=1) + "\n")
        return int(ExitCode.OK)
    place = f"place {queued.position}" if queued.position else "starting"
    sys.stdout.write(f"Queued: {queued.name} ({queued.priority}, {place})\n{queued.url}\n")
    if not queued.worker:
        sys.stdout.write(f"{NO_WORKER}\n")
    if queued.paused:
        sys.stdout.write("The queue is paused; it goes on with: stableflows queue resume\n")
    return int(ExitCode.OK)
