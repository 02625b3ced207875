"""`python -m flows.finish RUN --pick 3,7 --stages upscale,adetailer`: the keepers of a draft, finished."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from flows.carry_out import carry_out, stages_of
from flows.command import main, refused
from flows.server import check_server
from stableflows.errors import InputError, StableflowsError, Where
from stableflows.jobs import find_run, last_run
from stableflows.request import Prepared, RenderRequest, parse_settings, prepare
from stableflows.run.folder import RunFolder

__all__ = ["app"]

app = App(
    name="finish",
    help="Take picked images of an earlier run through the stages that it left out.",
    default_parameter=Parameter(negative=()),
    version_flags=(),
)

MOST_PICKS = 10_000


@app.default
def finish(
    run: str = "last",
    *,
    pick: str,
    stages: str,
    settings: Annotated[list[str] | None, Parameter(name="--set")] = None,
    server: str | None = None,
    out: Path = Path("outputs"),
    plan: bool = False,
    json_output: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Take picked images of an earlier run through the stages that it left out.

    Parameters
    ----------
    run:
        The run's id, the beginning of its id, or its folder's name; or "last".
    pick:
        Numbers of its finished images, in the order of results.csv from 1, such as 3,7,10-12; or "all".
    stages:
        The stages to add, such as upscale,adetailer. They come after those that the run made.
    settings:
        A setting above those of the run, such as upscale.factor=1.5. May be given several times.
    server:
        As for `run`; left out, the one that the run named.
    out:
        The folder that holds all runs.
    plan:
        Print what would be rendered, and stop.
    json_output:
        Print the outcome (or, with --plan, the plan) as JSON and nothing else.
    """
    console = Console(stderr=json_output, highlight=False)
    try:
        check_server(server)
        request = RenderRequest.of(settings=parse_settings(settings or ()), server=server, out=str(out))
        request, prepared = _prepared(request, run, pick, stages)
        return carry_out(request, prepared, console, plan=plan, json_output=json_output)
    except StableflowsError as error:
        return refused(error, json_output)


def _prepared(request: RenderRequest, run: str, pick: str, stages: str) -> tuple[RenderRequest, Prepared]:
    from stableflows import images

    line = find_run(request.root, last_run(request.root) if run == "last" else run)
    folder = RunFolder.open(request.root, Path(line.result.output_dir).name if line.result else "")
    numbers = (
        [one.number for one in images.finished_images(folder)] if pick.strip() == "all" else numbers_of(pick)
    )
    wanted = stages_of(stages)
    if not wanted:
        raise InputError("names none; name what the run left out.", where=Where(field="--stages"))
    source = images.finish(folder, numbers, wanted, request.settings)
    request = request.model_copy(update={"server": request.server or folder.plan().server.asked})
    return request, prepare(request, source, submitted="cli")


def numbers_of(text: str) -> list[int]:
    """`3,7,10-12` as numbers.

    Raises:
        InputError: it is no list of numbers.
    """
    numbers: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,9})(?:\s*-\s*(\d{1,9}))?\s*", part)
        if not found:
            raise InputError(
                f"{part.strip()!r} is no number; write numbers and ranges, such as 3,7,10-12.",
                where=Where(field="--pick"),
            )
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first or last - first >= MOST_PICKS:
            raise InputError(
                f"{part.strip()!r} is no range of at most {MOST_PICKS}.", where=Where(field="--pick")
            )
        numbers += range(first, last + 1)
    return numbers


if __name__ == "__main__":
    main(app)
