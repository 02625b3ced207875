"""`python -m flows.run PACK...`: render prompt packs directly, in this process.

`--help` and `--plan` import neither Prefect nor the WebUI client.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter, Token
from rich.console import Console
from rich.text import Text

from flows.command import main, refused
from flows.server import check_server
from stableflows.budget import disk_warnings
from stableflows.errors import ExitCode, InputError, StableflowsError
from stableflows.jobs import last_run, load, save_job
from stableflows.request import Prepared, RenderRequest, parse_settings
from stableflows.run.files import check_writable
from stableflows.stages import StageType

if TYPE_CHECKING:
    from stableflows.closing import Ending

__all__ = ["app"]

app = App(
    name="run",
    help="Render prompt packs, or a prompt, through a Stable Diffusion WebUI.",
    default_parameter=Parameter(negative=()),
    version_flags=(),
)


def _stages(value: str) -> tuple[StageType, ...]:
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
    seed: Annotated[int | None, Parameter(converter=_whole)] = None,
    count: Annotated[int | None, Parameter(converter=_whole)] = None,
    inputs: Annotated[list[str] | None, Parameter(name="--input", consume_multiple=True)] = None,
    out: Path = Path("outputs"),
    plan: bool = False,
    json_output: Annotated[bool, Parameter(name="--json")] = False,
    again: bool = False,
) -> int:
    """Render prompt packs, or a prompt, and wait for the images.

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
    seed:
        Seed of every entry's first image; -1 draws anew. Left out: as packs say, else derived.
    count:
        Images an entry.
    inputs:
        Images to continue, where the first stage is not txt2img.
    out:
        The folder that holds all runs.
    plan:
        Print what would be rendered, and stop.
    json_output:
        Print the outcome (or, with --plan, the plan) as JSON and nothing else.
    again:
        Run the last job again, with its recorded seeds, on the server that was named then.
    """
    # With --json, standard output is for the JSON alone.
    console = Console(stderr=json_output, highlight=False)
    try:
        others = (packs, prompt, negative_prompt, stages, settings, inputs, seed is not None, count)
        if again and any(others):
            raise InputError("--again runs the last job as it was; only --server and --out go with it.")
        check_server(server)
        request = RenderRequest.of(
            packs=packs,
            prompt=prompt,
            negative_prompt=negative_prompt,
            inputs=tuple(inputs or ()),
            stages=None if stages is None else _stages(stages),
            settings=parse_settings(settings or ()),
            seed=seed,
            count=count,
            server=server,
            out=str(out),
            again=last_run(out.expanduser().resolve()) if again else None,
        )
        prepared = load(request)
        if plan:
            return _plan(prepared, request, console, json_output)
        ending = _render(_snapshot(request, prepared), console)
    except StableflowsError as error:
        return refused(error, json_output)
    if json_output:
        sys.stdout.write(ending.outcome.model_dump_json(indent=1, exclude_none=True) + "\n")
    return int(ending.code)


def _snapshot(request: RenderRequest, prepared: Prepared) -> RenderRequest:
    """The request as the flow gets it: the job that was just checked, by its id, and where it goes.

    Raises:
        InputError: the output folder cannot be written.
    """
    if request.again is not None:
        return request
    check_writable(request.root)
    job_id = save_job(prepared, request.root)
    return RenderRequest(job=job_id, title=prepared.job.name, server=request.server, out=str(request.root))


def _render(request: RenderRequest, console: Console) -> Ending:
    from flows.console import ConsoleReporter
    from flows.direct import run_directly

    with ConsoleReporter(console) as reporter:
        return run_directly(request, reporter)


def _plan(prepared: Prepared, request: RenderRequest, console: Console, as_json: bool) -> int:
    """Print the plan; check it at a server only if the option or the variable names one."""
    from flows.preview import plan_as_data, print_plan
    from flows.server import named_server

    prepared = replace(
        prepared, warnings=(*prepared.warnings, *disk_warnings(prepared.entries, request.root))
    )
    checked: str | None = None
    if named := named_server(request.server):
        from flows.check import check_plan

        checked = asyncio.run(check_plan(prepared, *named))
    if as_json:
        data = {**plan_as_data(prepared), "checked": checked}
        sys.stdout.write(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
        return int(ExitCode.OK)
    print_plan(prepared, console)
    if checked:
        console.print(Text(checked), soft_wrap=True)
    return int(ExitCode.OK)


if __name__ == "__main__":
    main(app)
