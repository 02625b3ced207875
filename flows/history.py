"""`python -m flows.history`: earlier runs, from history.jsonl; without Prefect."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.text import Text

from flows.command import main, refused
from flows.wording import counted
from stableflows.errors import ExitCode, InputError, StableflowsError, Where
from stableflows.jobs import find_run, load
from stableflows.request import RenderRequest
from stableflows.results import EntryStatus, RunStatus
from stableflows.run import history
from stableflows.run.history import HistoryLine
from stableflows.run.search import Wanted, run_title, search

__all__ = ["app"]

app = App(
    name="history",
    help="Earlier runs: list them, show one, render one again, see what failed.",
    default_parameter=Parameter(negative=()),
    version_flags=(),
)

Json = Annotated[bool, Parameter(name="--json")]
Out = Annotated[Path, Parameter(name="--out")]
OUTPUTS = Path("outputs")
STYLES = {
    RunStatus.COMPLETED: "green",
    RunStatus.FAILED: "red",
    RunStatus.CANCELLED: "yellow",
    RunStatus.CRASHED: "red",
}


@app.default
@app.command(name="list")
def list_runs(
    *,
    name: str | None = None,
    since: str | None = None,
    before: str | None = None,
    pack: str | None = None,
    status: RunStatus | None = None,
    text: str | None = None,
    last: int = 20,
    out: Out = OUTPUTS,
    json_output: Json = False,
) -> int:
    """List runs, the last one last.

    Parameters
    ----------
    name:
        Only those with this in their folder's name.
    since:
        Only those of this day and later: 2026-11-21.
    before:
        Only those before this day.
    pack:
        Only those with a pack of this name or id, or a part of it.
    status:
        completed, failed, cancelled, or crashed.
    text:
        Only those with this in a prompt or an entry's name.
    last:
        At most so many; 0: all.
    out:
        The folder that holds all runs.
    json_output:
        The history's lines as a JSON list, and nothing else.
    """
    try:
        wanted = Wanted(name, _day(since, "--since"), _day(before, "--before"), pack, status, text)
        lines = list(search(_read(out), wanted))[-last:]
    except StableflowsError as error:
        return refused(error, json_output)
    if json_output:
        sys.stdout.write(json.dumps([line.model_dump(mode="json") for line in lines], indent=1) + "\n")
        return int(ExitCode.OK)
    _list(lines)
    return int(ExitCode.OK)


@app.command
def show(run: str, /, *, out: Out = OUTPUTS, json_output: Json = False) -> int:
    """Show one run: what became of each entry.

    Parameters
    ----------
    run:
        Its id, the beginning of that, or its folder's name.
    out:
        The folder that holds all runs.
    json_output:
        The history's line as JSON, and nothing else.
    """
    try:
        line = find_run(_root(out), run)
    except StableflowsError as error:
        return refused(error, json_output)
    if json_output:
        sys.stdout.write(line.model_dump_json(indent=1) + "\n")
    else:
        _show(line, Console(highlight=False))
    return int(ExitCode.OK)


@app.command
def again(run: str, /, *, server: str | None = None, out: Out = OUTPUTS, json_output: Json = False) -> int:
    """Render a run's job once more, with its recorded seeds, into a new folder.

    Parameters
    ----------
    run:
        As for `show`.
    server:
        Left out: the one that was named then.
    out:
        The folder that holds all runs.
    json_output:
        Print the outcome as JSON and nothing else.
    """
    from flows.carry_out import carry_out

    try:
        request = RenderRequest(again=find_run(_root(out), run).run_id, server=server, out=str(out))
        prepared = load(request)
        console = Console(stderr=json_output, highlight=False)
        return carry_out(request, prepared, console, plan=False, json_output=json_output)
    except StableflowsError as error:
        return refused(error, json_output)


@app.command
def failed(*, out: Out = OUTPUTS, json_output: Json = False) -> int:
    """List every entry that failed or was not finished, and how to render it after all.

    Parameters
    ----------
    out:
        The folder that holds all runs.
    json_output:
        As a JSON list, and nothing else.
    """
    try:
        lines = [line for line in _read(out) if line.status is not RunStatus.COMPLETED]
    except StableflowsError as error:
        return refused(error, json_output)
    if json_output:
        sys.stdout.write(json.dumps([_failures(line) for line in lines], indent=1) + "\n")
        return int(ExitCode.OK)
    console = Console(highlight=False)
    for line in lines:
        _show(line, console, only_failed=True)
    if not lines:
        console.print("Nothing failed.")
    return int(ExitCode.OK)


def _root(out: Path) -> Path:
    return RenderRequest(out=str(out)).root


def _read(out: Path) -> list[HistoryLine]:
    return history.read(_root(out))


def _day(text: str | None, option: str) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{text!r} is no day; write it as 2026-11-21.", where=Where(field=option)) from None


def _list(lines: list[HistoryLine]) -> None:
    console = Console(highlight=False)
    for line in lines:
        when = datetime.fromisoformat(line.timestamp).astimezone()
        text = Text(f"{when:%Y-%m-%d %H:%M}  {line.run_id}  ")
        text.append(f"{line.status.value.lower():<9}", STYLES[line.status])
        images = counted(line.result.image_count, "image") if line.result else ""
        text.append(f"  {run_title(line)}  {images}")
        if line.error and line.result is None:
            text.append(f"  {line.error.splitlines()[0]}")
        console.print(text, soft_wrap=True)
    if not lines:
        console.print("No run.")


def _show(line: HistoryLine, console: Console, *, only_failed: bool = False) -> None:
    _list([line])
    if line.error:
        console.print(Text(f"    {line.error}"), soft_wrap=True)
    if not only_failed:
        mode = f"    {line.run_mode}, {line.source}"
        seconds = "" if line.duration is None else f", {line.duration:.0f} s"
        console.print(Text(mode + seconds + (", resumed" if line.resumed else "")), soft_wrap=True)
        if line.result:
            console.print(Text(f"    {line.result.output_dir}"), soft_wrap=True)
    unfinished = 0
    for number, entry in enumerate(line.result.results if line.result else (), 1):
        bad = entry.status is not EntryStatus.OK
        unfinished += bad
        if only_failed and not bad:
            continue
        name = " ".join(str(entry.entry.get("name") or entry.prompt).split())[:60]
        text = Text(f"    {number:>3} {name}: {entry.status.value.replace('_', ' ')}")
        text.append(f" {entry.error}" if entry.error else "")
        console.print(text, soft_wrap=True)
    if unfinished:
        console.print(Text(f"    stableflows run --retry {line.run_id}"), soft_wrap=True)


def _failures(line: HistoryLine) -> dict[str, object]:
    entries = enumerate(line.result.results if line.result else (), 1)
    return {
        "run_id": line.run_id,
        "status": line.status.value,
        "error": line.error,
        "output_dir": line.result.output_dir if line.result else None,
        "entries": [
            {"entry": number, "prompt": entry.prompt, "status": entry.status.value, "error": entry.error}
            for number, entry in entries
            if entry.status is not EntryStatus.OK
        ],
    }


if __name__ == "__main__":
    main(app)
