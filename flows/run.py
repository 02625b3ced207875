"""`python -m flows.run PACK...`: render prompt packs in this process, or put them into the queue.

`--help` and `--plan` import neither Prefect nor the WebUI client.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter, Token
from rich.console import Console
from rich.text import Text

from flows import draft
from flows.command import main, refused
from flows.server import check_server
from flows.submit import Priority, decide_mode, named, show, submit
from stableflows.budget import disk_warnings
from stableflows.errors import ExitCode, InputError, StableflowsError
from stableflows.job import SubmittedAs
from stableflows.jobs import find_run, last_run, last_unfinished, load, save_job
from stableflows.request import Prepared, RenderRequest, parse_settings
from stableflows.run.files import check_writable
from stableflows.stages import StageType

if TYPE_CHECKING:
    from flows.check import Checked
    from stableflows.closing import Ending

__all__ = ["app", "carry_out", "stages_of"]

app = App(
    name="run",
    help="Render prompt packs, or a prompt, through a Stable Diffusion WebUI.",
    default_parameter=Parameter(negative=()),
    version_flags=(),
)


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


def _whole(_type: object, tokens: Sequence[Token]) -> int:
    """A whole number as it was written; cyclopts by itself would round 1.5 to 2."""
    text = tokens[0].value.strip()
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ValueError(f"{text!r} is no whole number")
    return int(text)


@app.default
def run(
    *packs: str,
    prompt: str | None = None,
    negative_prompt: str = "",
    server: str | None = None,
    stages: str | None = None,
    settings: Annotated[list[str] | None, Parameter(name="--set")] = None,
    sweep: list[str] | None = None,
    wildcards: list[str] | None = None,
    seed: Annotated[int | None, Parameter(converter=_whole)] = None,
    count: Annotated[int | None, Parameter(converter=_whole)] = None,
    inputs: Annotated[list[str] | None, Parameter(name="--input", consume_multiple=True)] = None,
    from_images: Annotated[list[str] | None, Parameter(name="--from", consume_multiple=True)] = None,
    out: Path = Path("outputs"),
    plan: bool = False,
    json_output: Annotated[bool, Parameter(name="--json")] = False,
    again: bool = False,
    resume: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    retry: str | None = None,
    fresh: bool = False,
    until: str | None = None,
    no_wait: bool = False,
    window: Annotated[int | None, Parameter(converter=_whole)] = None,
    on_memory_error: Literal["fail", "smaller"] | None = None,
    direct: bool = False,
    queue: bool = False,
    priority: Priority = Priority.DEFAULT,
    name: str | None = None,
    now: bool = False,
    save: Path | None = None,
    clear: bool = False,
) -> int:
    """Render prompt packs, or a prompt, and wait for the images; or queue them.

    Parameters
    ----------
    packs:
        Pack files (.yaml, .txt), globs, pack lists, or one job file.
    prompt:
        A free-text prompt in place of packs.
    negative_prompt:
        The free-text prompt's negative prompt.
    server:
        URL of a WebUI, name of a saved block, or "sandbox". Left out: the variable STABLEFLOWS_SERVER, the
        block webui-server/default, else the embedded sandbox.
    stages:
        Exactly these stages run: txt2img, img2img, upscale, adetailer, joined by commas.
    settings:
        A setting above all packs, such as txt2img.steps=30. May be given several times.
    sweep:
        A setting over a list, such as txt2img.steps=20,30; several make a grid.
    wildcards:
        A folder of wildcard files, besides those that packs name.
    seed:
        Seed of every entry's first image; -1 draws anew. Left out: as packs say, else derived.
    count:
        Images an entry.
    inputs:
        Images to continue, where the first stage is not txt2img.
    from_images:
        Finished images to make again from what they say of themselves; with --stages that leave out txt2img,
        to take further.
    out:
        The folder that holds all runs.
    plan:
        Print what would be rendered, and stop.
    json_output:
        Print the outcome (or, with --plan, the plan) as JSON and nothing else.
    again:
        Run the last job again, with its recorded seeds, on the server that was named then.
    resume:
        Finish an earlier run into its own folder, by its id: the last unfinished one, if none is named.
    retry:
        As --resume RUN, and make again what failed in it.
    fresh:
        Render everything, also what the store has.
    until:
        A time such as 07:00, after which nothing further is sent; --resume makes the rest.
    no_wait:
        Fail, instead of waiting, while another run uses the server.
    window:
        Entries with several checkpoints that are under way together: more save loads, fewer bring the first
        finished image sooner. Left out: chosen from what loading takes.
    on_memory_error:
        smaller: what the server has no memory for is tried once more, in a smaller batch or smaller tiles.
    direct:
        Render in this process. This is the default, unless the variable STABLEFLOWS_RUN_MODE says queue.
    queue:
        Put it into the queue of `stableflows up`, as it is now, and return.
    priority:
        Of a queued job: urgent goes before default, and nightly comes last.
    name:
        What the job is called; left out, after its packs.
    now:
        With --queue: into urgent, and a paused queue goes on.
    save:
        Keep what is asked for as a draft, a job file of this name, and render nothing.
    clear:
        With --queue and one draft: take its packs out once the queue has them.
    """
    # With --json, standard output is for the JSON alone.
    console = Console(stderr=json_output, highlight=False)
    try:
        named_here = (packs, prompt, negative_prompt, inputs, from_images)
        set_here = (stages, settings, sweep, wildcards, seed is not None, count)
        takes_up = {"again": again, "resume": resume, "retry": retry}
        if option := _one_of(takes_up, others=any((*named_here, *set_here))):
            takes_up = {option: _run_id(out.expanduser().resolve(), option, takes_up[option])}
        run_mode = decide_mode(direct=direct, queue=queue)
        if run_mode == "direct" and (now or priority is not Priority.DEFAULT):
            raise InputError("--now and --priority are for a queued job; add --queue.")
        check_server(server)
        request = RenderRequest.of(
            packs=packs,
            prompt=prompt,
            negative_prompt=negative_prompt,
            inputs=tuple(inputs or ()),
            from_images=tuple(from_images or ()),
            stages=None if stages is None else stages_of(stages),
            settings=parse_settings(settings or ()),
            sweep=tuple(sweep or ()),
            wildcards=tuple(wildcards or ()),
            seed=seed,
            count=count,
            server=server,
            out=str(out),
            fresh=fresh,
            until=until,
            wait=not no_wait,
            window=window,
            on_memory_error=on_memory_error,
            **(takes_up if option else {}),
        )
        if clear:
            draft.check_clearable(packs, queued=run_mode == "queue")
        if save is not None:
            load(request)  # what cannot be rendered is not kept
            draft.save(request, save, name)
            sys.stdout.write(f"Saved: {save}. Plan it: stableflows run {save} --plan\n")
            return int(ExitCode.OK)
        source: SubmittedAs = "run_now" if now else "add_to_queue" if run_mode == "queue" else "cli"
        prepared = named(load(request, run_mode=run_mode, submitted=source), name)
        if plan or run_mode == "direct":
            return carry_out(request, prepared, console, plan=plan, json_output=json_output)
        snapshot = _snapshot(request, prepared)
        queued = submit(snapshot, prepared, priority=priority, now=now, console=console)
        if clear:
            draft.clear(Path(packs[0]))
        return show(queued, json_output)
    except StableflowsError as error:
        return refused(error, json_output)


def carry_out(
    request: RenderRequest, prepared: Prepared, console: Console, *, plan: bool, json_output: bool
) -> int:
    """Render what was prepared, in this process, and return the exit code; or only print its plan."""
    if plan:
        return _plan(prepared, request, console, json_output)
    ending = _render(_snapshot(request, prepared), console)
    if json_output:
        sys.stdout.write(ending.outcome.model_dump_json(indent=1, exclude_none=True) + "\n")
    return int(ending.code)


def _snapshot(request: RenderRequest, prepared: Prepared) -> RenderRequest:
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


def _one_of(takes_up: Mapping[str, object], *, others: bool) -> str | None:
    """Which option names an earlier run, if one does.

    Args:
        others: something is said of what to render, too.

    Raises:
        InputError: that does not go together.
    """
    named = [option for option, value in takes_up.items() if value not in (None, False)]
    if len(named) > 1:
        raise InputError("name one earlier run, with one of --again, --resume and --retry.")
    if named and others:
        raise InputError(f"--{named[0]} takes the job as it was; packs and settings do not go with it.")
    return named[0] if named else None


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


def _plan(prepared: Prepared, request: RenderRequest, console: Console, as_json: bool) -> int:
    """Print the plan; check it at a server only if the option or the variable names one."""
    from flows.preview import plan_as_data, print_plan
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
    print_plan(prepared, console)
    console.print(Text(estimate_text(cost)), soft_wrap=True)
    if checked:
        console.print(Text(checked), soft_wrap=True)
    return int(ExitCode.OK)


if __name__ == "__main__":
    main(app)
