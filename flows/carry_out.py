"""What `run` and its siblings do with a job that was read: print its plan, or render it in this process."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from stableflows.budget import disk_warnings
from stableflows.errors import ExitCode, InputError
from stableflows.jobs import find_run, last_run, last_unfinished, save_job
from stableflows.request import Prepared, RenderRequest
from stableflows.run.files import check_writable
from stableflows.stages import StageType

if TYPE_CHECKING:
    from pathlib import Path

    from flows.check import Checked
    from stableflows.closing import Ending

__all__ = ["carry_out", "earlier_run", "print_plan", "render_here", "snapshot", "stages_of"]


def stages_of(value: str) -> tuple[StageType, ...]:
    """The stages of an option such as `upscale,adetailer`.

    Raises:
        InputError: one of them is none.
    """
    names = [part.strip() for part in value.split(",") if part.strip()]
    known = [stage.value for stage in StageType]
    for name in names:
        if name not in known:
            raise InputError(f"--stages: there is no stage {name!r}.", allowed=known, value=name)
    return tuple(StageType(name) for name in names)


def carry_out(
    request: RenderRequest, prepared: Prepared, console: Console, *, plan: bool, json_output: bool
) -> int:
    """Render what was prepared, in this process, and return the exit code; or only print its plan."""
    if plan:
        return print_plan(prepared, request, console, json_output)
    return render_here(snapshot(request, prepared), console, json_output)


def render_here(request: RenderRequest, console: Console, as_json: bool) -> int:
    """Render what `snapshot` gave, and return the exit code."""
    ending = _render(request, console)
    if as_json:
        sys.stdout.write(ending.outcome.model_dump_json(indent=1, exclude_none=True) + "\n")
    return int(ending.code)


def snapshot(request: RenderRequest, prepared: Prepared) -> RenderRequest:
    """The request as the flow gets it: the job that was just checked, by its id, and where it goes.

    Raises:
        InputError: the output folder cannot be written.
    """
    if request.again or request.resume or request.retry:
        return request.model_copy(update={"out": str(request.root)})
    check_writable(request.root)
    return RenderRequest(
        job=save_job(prepared, request.root),
        title=prepared.job.name,
        server=request.server,
        out=str(request.root),
        fresh=request.fresh,
        until=request.until,
        wait=request.wait,
        window=request.window,
    )


def earlier_run(root: Path, named_by: Mapping[str, object], *, others: bool) -> dict[str, str]:
    """The option that names an earlier run, with that run's id; empty if none does.

    Args:
        named_by: the options' values: True, an id, a list of ids; None or False where it was not given.
        others: something is said of what to render, too.

    Raises:
        InputError: that does not go together, or there is no such run.
    """
    given = [option for option, value in named_by.items() if value not in (None, False)]
    if len(given) > 1:
        raise InputError("name one earlier run, with one of --again, --resume and --retry.")
    if given and others:
        raise InputError(f"--{given[0]} takes the job as it was; packs and settings do not go with it.")
    return {option: _run_id(root, option, named_by[option]) for option in given}


def print_plan(prepared: Prepared, request: RenderRequest, console: Console, as_json: bool) -> int:
    """Print the plan; check it at a server only if the option or the variable names one."""
    from flows.preview import plan_as_data
    from flows.preview import print_plan as print_entries
    from flows.server import named_server
    from stableflows.durations import Times
    from stableflows.estimate import estimate, estimate_text

    prepared = replace(
        prepared, warnings=(*prepared.warnings, *disk_warnings(prepared.entries, request.root))
    )
    checked: str | None = None
    found: Checked | None = None
    if named := named_server(request.server):
        from flows.check import check_plan

        found = asyncio.run(check_plan(prepared, request, *named))
        prepared, checked = found.prepared, found.line
    cost = found.estimate if found and found.estimate else estimate(prepared.calls, prepared.entries, Times())
    if as_json:
        data = {**plan_as_data(prepared, cost, found), "checked": checked}
        sys.stdout.write(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
        return int(ExitCode.OK)
    print_entries(prepared, console)
    console.print(Text(estimate_text(cost)), soft_wrap=True)
    if checked:
        console.print(Text(checked), soft_wrap=True)
    return int(ExitCode.OK)


def _run_id(root: Path, option: str, value: object) -> str:
    """The id of the earlier run that an option names.

    Raises:
        InputError: there is none.
    """
    from stableflows.mending import mend

    for line in mend(root):  # it may be the run that is meant
        sys.stderr.write(f"{line}\n")
    if option == "again":
        return last_run(root)
    if isinstance(value, str):
        return find_run(root, value).run_id
    names = list(value) if isinstance(value, list) else []
    if len(names) > 1:
        raise InputError(f"--resume takes one run, and {' '.join(names)!r} are {len(names)}.")
    return find_run(root, names[0]).run_id if names else last_unfinished(root)


def _render(request: RenderRequest, console: Console) -> Ending:
    from flows.console import ConsoleReporter
    from flows.direct import run_directly

    with ConsoleReporter(console) as reporter:
        return run_directly(request, reporter)
