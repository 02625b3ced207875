"""What a run is told by the process that it runs in, and tells it: cancelling, progress, the outcome.

A flow's parameters are stored by Prefect and must be plain data; these are neither. A worker's process sets
none, and a run there logs instead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from stableflows.calls import StageCall
from stableflows.closing import Ending
from stableflows.estimate import Estimate, estimate_text
from stableflows.request import Prepared
from stableflows.results import StageOutput
from stableflows.run.folder import RunFolder
from stableflows.server_state import ServerState
from stableflows.webui.watch import CallState

__all__ = ["HOOKS", "Hooks", "LogReporter", "Reporter"]


class Reporter(Protocol):
    """Told what happens in a run, as it happens."""

    def say(self, line: str) -> None: ...
    def planned(
        self, prepared: Prepared, server: ServerState, folder: RunFolder, estimate: Estimate
    ) -> None: ...
    def left(self, seconds: float) -> None: ...
    def started(self, call: StageCall) -> None: ...
    def state(self, call_id: str, state: CallState) -> None: ...
    def done(self, call: StageCall, output: StageOutput) -> None: ...
    def failed(self, call: StageCall, error: BaseException) -> None: ...
    def ended(self, ending: Ending) -> None: ...


class LogReporter:
    """Tells it to a logger; that of the flow run, whose page then shows it."""

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        self._log = logger

    def say(self, line: str) -> None:
        self._log.info(line)

    def planned(self, prepared: Prepared, server: ServerState, folder: RunFolder, estimate: Estimate) -> None:
        self._log.info(
            "%d entries at %s, %s; into %s",
            len(prepared.entries),
            server.config.label,
            estimate_text(estimate),
            folder.path,
        )

    def left(self, seconds: float) -> None:
        pass  # the run's log has it with each call

    def started(self, call: StageCall) -> None:
        self._log.info("%s starts", call.label)

    def state(self, call_id: str, state: CallState) -> None:
        pass  # several a second: for a display, not for a log

    def done(self, call: StageCall, output: StageOutput) -> None:
        for image in output.images:
            self._log.info("%s: %s (%d×%d)", call.label, image.path, image.width, image.height)
        for warning in output.warnings:
            self._log.warning("%s: %s", call.label, warning)

    def failed(self, call: StageCall, error: BaseException) -> None:
        self._log.error("%s: %s", call.label, error)

    def ended(self, ending: Ending) -> None:
        self._log.info("%s", ending.message)


@dataclass
class Hooks:
    """Attributes:
    cancel: set by Ctrl-C; the run sets it too, when it was cancelled from outside.
    reporter: None: the flow run's logger.
    callback: gets every event of the run's log.
    ending: set by the run when it ends.
    """

    cancel: asyncio.Event = field(default_factory=asyncio.Event)
    reporter: Reporter | None = None
    callback: Callable[[dict[str, Any]], object] | None = None
    ending: Ending | None = None


HOOKS: ContextVar[Hooks | None] = ContextVar("stableflows_hooks", default=None)
