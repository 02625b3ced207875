"""What a direct run shows on the terminal: progress while it runs, a short table at its end.

On a terminal a live display; without one, a line a finished image. Errors go to standard error.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from flows.wording import counted
from stableflows.calls import StageCall
from stableflows.closing import Ending
from stableflows.errors import printable
from stableflows.estimate import Estimate, duration_text, estimate_text
from stableflows.request import Prepared
from stableflows.results import BatchResult, EntryStatus, StageOutput
from stableflows.run.folder import RunFolder
from stableflows.server_state import ServerState
from stableflows.webui.watch import CallState, Phase

__all__ = ["ConsoleReporter"]

MOST_ROWS = 500
"""Of the table at the end; what failed comes before what did not."""
STYLES = {
    EntryStatus.OK: "green",
    EntryStatus.ERROR: "red",
    EntryStatus.CANCELLED: "yellow",
    EntryStatus.NOT_REACHED: "yellow",
}
PHASES = {
    Phase.SENT: "sent",
    Phase.QUEUED: "waits in the server's queue",
    Phase.LOADING: "loading",
    Phase.SAMPLING: "sampling",
    Phase.OTHER: "working",
}


class ConsoleReporter:
    """A reporter (see `flows.hooks`) for a person at a terminal, or for who reads a log of one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("images,"),
            TimeElapsedColumn(),
            TextColumn("gone, {task.fields[left]} left"),
            console=console,
            transient=True,
            disable=not self._live,
        )
        self._task: TaskID | None = None
        self._labels: dict[str, str] = {}
        self._last_stage: dict[int, int] = {}
        self._images = 0
        self._left = ""
        self._total = 0
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, line: str) -> None:
        self._console.print(Text(printable(line)), soft_wrap=True)

    def planned(self, prepared: Prepared, server: ServerState, folder: RunFolder, estimate: Estimate) -> None:
        self._last_stage = {entry.index: len(entry.plan) - 1 for entry in prepared.entries}
        self._total = prepared.image_count
        self.say(
            f"{counted(len(prepared.entries), 'entry')}, {counted(len(prepared.calls), 'request')}, "
            f"{counted(self._total, 'image')}; into {folder.path}"
        )
        self.say(estimate_text(estimate))
        self._left = duration_text(estimate.seconds)
        self._task = self._progress.add_task("", total=self._total, left=self._left)
        self._progress.start()

    def left(self, seconds: float) -> None:
        if self._task is not None:
            self._progress.update(self._task, left=duration_text(seconds))

    def started(self, call: StageCall) -> None:
        self._labels[call.call_id] = call.label
        self._describe(call.label)

    def state(self, call_id: str, state: CallState) -> None:
        if label := self._labels.get(call_id):
            steps = f" {state.step}/{state.steps}" if state.steps and state.step is not None else ""
            self._describe(f"{label}: {PHASES[state.phase]}{steps}")

    def done(self, call: StageCall, output: StageOutput) -> None:
        self._labels.pop(call.call_id, None)
        for warning in output.warnings:
            self.say(f"Warning: {call.label}: {warning}")
        if call.stage < self._last_stage[call.entry]:
            return
        for image in output.images:
            self._images += 1
            if self._task is not None:
                self._progress.advance(self._task)
            if not self._live:
                elapsed = time.monotonic() - self._started
                self.say(
                    f"[{self._images}/{self._total}] {image.path} "
                    f"{image.width}×{image.height}, {elapsed:.0f} s"
                )

    def failed(self, call: StageCall, error: BaseException) -> None:
        self._labels.pop(call.call_id, None)
        self._console.print(Text(f"Failed: {call.label}: {error}", style="red"), soft_wrap=True)

    def ended(self, ending: Ending) -> None:
        """The table at the end, and where the images are."""
        self._progress.stop()
        if ending.outcome.result and ending.outcome.result.results:
            self._console.print(_table(ending.outcome.result))
            if (more := ending.outcome.result.total_entries - MOST_ROWS) > 0:
                self.say(f"{more} more; results.csv has all.")
        self.say(ending.message if ending.outcome.error is None else f"Error: {ending.message}")
        if ending.folder:
            self.say(f"Gallery: {ending.folder.gallery_file}")

    def _describe(self, text: str) -> None:
        if self._task is not None:
            self._progress.update(self._task, description=text)


def _table(result: BatchResult) -> Table:
    table = Table(header_style="bold")
    table.add_column("#", justify="right")
    table.add_column("prompt", overflow="ellipsis", no_wrap=True, max_width=34)
    table.add_column("status", min_width=11)
    table.add_column("images", justify="right", min_width=6)
    table.add_column("seconds", justify="right", min_width=7)
    for number, entry in result.listed(MOST_ROWS):
        table.add_row(
            str(number),
            Text(entry.entry.get("name") or entry.entry.get("prompt") or ""),
            Text(entry.status.value.replace("_", " "), style=STYLES[entry.status]),
            str(entry.image_count),
            f"{entry.duration:.1f}",
        )
    return table
