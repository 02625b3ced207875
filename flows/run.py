"""`python -m flows.run PACK...`: render prompt packs in this process, or put them into the queue.

`--help` and `--plan` import neither Prefect nor the WebUI client.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter, Token
from rich.console import Console

from flows.command import main, refused
from flows.priority import Priority
from stableflows.errors import ExitCode, InputError, StableflowsError

if TYPE_CHECKING:
    from stableflows.job import SubmittedAs

__all__ = ["app"]

app = App(
    name="run",
    help="Render prompt packs, or a prompt, through a Stable Diffusion WebUI.",
    default_parameter=Parameter(negative=()),
    version_flags=(),
)


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
    # Not at the top: reading packs and the models of all settings take `--help` four times as long.
    from flows import draft
    from flows.carry_out import earlier_run, print_plan, render_here, snapshot, stages_of
    from flows.server import check_server
    from flows.submit import decide_mode, named, show, submit
    from stableflows.jobs import load
    from stableflows.request import RenderRequest, parse_settings

    # With --json, standard output is for the JSON alone.
    console = Console(stderr=json_output, highlight=False)
    try:
        named_here = (packs, prompt, negative_prompt, inputs, from_images)
        set_here = (stages, settings, sweep, wildcards, seed is not None, count)
        earlier = earlier_run(
            out.expanduser().resolve(),
            {"again": again, "resume": resume, "retry": retry},
            others=any((*named_here, *set_here)),
        )
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
            **earlier,
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
        if plan:
            return print_plan(prepared, request, console, json_output)
        job = snapshot(request, prepared)
        if run_mode == "direct":
            del prepared  # the flow reads the job anew, and there may be 10,000 entries of it
            return render_here(job, console, json_output)
        queued = submit(job, prepared, priority=priority, now=now, console=console)
        if clear:
            draft.clear(Path(packs[0]))
        return show(queued, json_output)
    except StableflowsError as error:
        return refused(error, json_output)


if __name__ == "__main__":
    main(app)
