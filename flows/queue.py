"""`python -m flows.queue`: what runs, what waits; pause, resume, cancel, retry, requeue."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.text import Text

from flows.command import main, refused
from flows.wording import NO_WORKER, counted
from stableflows.errors import ExitCode, InputError, StableflowsError

if TYPE_CHECKING:
    from flows.queue_status import QueueStatus, RunningJob

__all__ = ["app"]

app = App(
    name="queue",
    help="The queue: what runs and what waits. Subcommands steer it.",
    default_parameter=Parameter(negative=()),
    version_flags=(),
)
WATCH_SECONDS = 2.0

Json = Annotated[bool, Parameter(name="--json")]


@app.default
def show(*, json_output: Json = False, watch: bool = False) -> int:
    """Show what runs and what waits, in order.

    Parameters
    ----------
    json_output:
        As JSON, and nothing else.
    watch:
        Live, until Ctrl-C.
    """
    from flows import queue_api

    def shown() -> int:
        state = asyncio.run(queue_api.status())
        if json_output:
            sys.stdout.write(state.model_dump_json(indent=1) + "\n")
        else:
            Console(highlight=False).print(_as_text(state), soft_wrap=True)
        return int(ExitCode.OK)

    return _with_prefect(_watch if watch and not json_output else shown, json_output)


@app.command
def pause(*, now: bool = False) -> int:
    """Start no further job; the one that renders goes on to its end.

    Parameters
    ----------
    now:
        It ends after the image in hand instead; `resume` goes on with it there.
    """
    from flows import queue_api

    def paused() -> int:
        rest = asyncio.run(queue_api.pause(now=now))
        if rest:
            return _say(f"Paused. {rest.name} ends after the image in hand; `resume` goes on with it.")
        return _say("Paused; go on with: stableflows queue resume")

    return _with_prefect(paused)


@app.command
def resume() -> int:
    """Let jobs start again."""
    from flows import queue_api

    def resumed() -> int:
        asyncio.run(queue_api.resume())
        return _say("The queue goes on.")

    return _with_prefect(resumed)


@app.command
def cancel(run: str | None = None, /, *, all_waiting: bool = False) -> int:
    """Cancel a run.

    Parameters
    ----------
    run:
        Its name, its id or the beginning of that, as `queue` shows them. Left out: the one that renders.
    all_waiting:
        All that wait, and not the one that renders.
    """
    from flows import queue_api

    def cancelled() -> int:
        if all_waiting:
            if run is not None:
                raise InputError("give a run or --all-waiting, not both.")
            return _say(f"Cancelled {counted(asyncio.run(queue_api.cancel_waiting()), 'waiting run')}.")
        if run is not None:
            return _say(f"Cancelled: {asyncio.run(queue_api.cancel(run))}")
        name = asyncio.run(queue_api.cancel_current())
        return _say(f"Cancelled: {name}" if name else "Nothing runs.")

    return _with_prefect(cancelled)


@app.command
def retry(run: str, /, *, out: Path = Path("outputs"), now: bool = False) -> int:
    """Queue a run again for what failed in it or was not reached; what is done stays.

    Parameters
    ----------
    run:
        Its id, the beginning of that, or its folder's name, as `history` shows them.
    out:
        The folder that holds all runs.
    now:
        Before all others, and a paused queue goes on.
    """
    from flows.priority import Priority
    from flows.submit import show as show_queued
    from flows.submit import submit
    from stableflows.jobs import load
    from stableflows.mending import mend
    from stableflows.request import RenderRequest

    def retried() -> int:
        request = RenderRequest(retry=run, out=str(out))
        for line in mend(request.root):  # it may be the run that is meant
            _say(line)
        prepared = load(request)
        assert prepared.continued  # noqa: S101 (a retry continues a run)
        prepared.continued.folder.refuse_if_held()
        request = RenderRequest(
            retry=prepared.continued.plan.run_id,
            title=prepared.job.name,
            server=prepared.server,
            out=str(request.root),
        )
        console = Console(highlight=False)
        queued = submit(
            request, prepared, priority=Priority.URGENT if now else Priority.DEFAULT, now=now, console=console
        )
        return show_queued(queued, as_json=False)

    return _caught(retried)


@app.command
def requeue(run: str, /) -> int:
    """Stop a run now, and put what is left of it behind those that wait.

    Parameters
    ----------
    run:
        As for `cancel`.
    """
    from flows import queue_api

    def requeued() -> int:
        queued = asyncio.run(queue_api.requeue(run))
        return _say(f"Put back: {queued.name} ({queued.priority}, place {queued.position})")

    return _with_prefect(requeued)


def _with_prefect(command: Callable[[], int], as_json: bool = False) -> int:
    def in_prefect() -> int:
        from flows.prefect_api import prefect_api

        with prefect_api(queue=True):
            return command()

    return _caught(in_prefect, as_json)


def _caught(command: Callable[[], int], as_json: bool = False) -> int:
    try:
        return command()
    except StableflowsError as error:
        return refused(error, as_json)


def _say(line: str) -> int:
    sys.stdout.write(f"{line}\n")
    return int(ExitCode.OK)


def _watch() -> int:
    """Live; until Ctrl-C, which ends it and nothing else."""
    from rich.live import Live

    from flows import queue_api

    async def look(live: Live) -> None:
        while True:
            live.update(_as_text(await queue_api.status()))
            await asyncio.sleep(WATCH_SECONDS)

    try:
        with Live(console=Console(highlight=False), auto_refresh=True) as live:
            asyncio.run(look(live))
    except KeyboardInterrupt:
        pass
    return int(ExitCode.OK)


def _as_text(state: QueueStatus) -> Text:
    text = Text()
    text.append(f"Queue: {state.queue_status}\n", "bold")
    if not state.worker:
        text.append(f"{NO_WORKER}\n", "red")
    if state.running_job:
        _append_running(text, state.running_job)
    for job in state.pending_jobs:
        packs = f" [{', '.join(job.packs)}]" if job.packs and job.packs != (job.name,) else ""
        goes_on = f", goes on with {job.resumes}" if job.resumes else ""
        text.append(
            f"{job.position:>3}  {job.name}{packs} · {job.priority}{goes_on} · {str(job.flow_run_id)[:8]}\n"
        )
    if not state.running_job and not state.pending_jobs:
        text.append("Nothing runs, and nothing waits.\n")
    text.right_crop(1)
    return text


def _append_running(text: Text, job: RunningJob) -> None:
    ends = ", ends after the image in hand" if job.stopping else ""
    text.append(f"  ▸  {job.name} · {job.priority} · {str(job.flow_run_id)[:8]}{ends}\n", "green")
    if job.images_total is None:
        text.append("     starts, or waits for its server\n")
        return
    failed = f", {counted(job.failed, 'request')} failed" if job.failed else ""
    left = f", about {_duration(job.remaining)} left" if job.remaining else ""
    text.append(f"     {job.images_done} of {counted(job.images_total, 'image')}{failed}{left}\n")
    if job.entry is not None:
        name = " ".join((job.entry_name or "").split())[:60]
        text.append(f"     entry {job.entry} {name}: {job.stage}\n")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{rest} s"


if __name__ == "__main__":
    main(app)
