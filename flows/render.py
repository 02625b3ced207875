"""The flow: a job's plans become stage task runs that chain their outputs, one flow run a job.

Direct mode calls it in-process, queue mode through its deployment; what it renders is the same.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from flows.hooks import HOOKS, Ending, Hooks, LogReporter, Reporter
from flows.prefect_api import watch_for_cancel
from flows.server import serving
from flows.wording import counted
from stableflows.bookkeeping import RunBook, plan_record
from stableflows.calls import StageCall
from stableflows.errors import ExitCode, ServerError, StableflowsError
from stableflows.executor import execute
from stableflows.jobs import load, save_job
from stableflows.request import Prepared, RenderRequest
from stableflows.results import BatchResult, ImageRecord, Outcome, RunStatus, StageOutput
from stableflows.run import history, manifest
from stableflows.run.files import check_writable
from stableflows.run.folder import RunFolder
from stableflows.run.runlog import Event
from stableflows.server_state import ServerState, settle
from stableflows.stage_runner import StageRunner
from stableflows.webui.client import WebUIClient
from tasks.around import PreflightTarget, preflight, report
from tasks.stages import STAGE_TASKS

__all__ = ["render"]

DEPTH = 1
"""Calls at the server at once."""


class RunCancelled(StableflowsError):  # noqa: N818 (it is none)
    """The run was cancelled before its first call."""


def _flow_run_name() -> str:
    request = RenderRequest.model_validate(flow_run.parameters["request"])
    if request.packs:
        return ", ".join(Path(pack).stem for pack in request.packs)[:80]
    if request.again:
        return f"again {request.again}"
    return (request.prompt or request.title or (f"job {request.job[:8]}" if request.job else "images"))[:80]


@flow(name="render", flow_run_name=_flow_run_name, retries=0, persist_result=False, log_prints=False)
async def render(request: RenderRequest) -> State[None]:
    """Render prompt packs, or a prompt, through a Stable Diffusion WebUI.

    Args:
        request: What to render, and where.
    """
    hooks = HOOKS.get() or Hooks()
    reporter = hooks.reporter or LogReporter(get_run_logger())
    flow_run_id = str(flow_run.id)
    watcher = asyncio.create_task(watch_for_cancel(uuid.UUID(flow_run_id), hooks.cancel))
    try:
        ending = await _Run(request, hooks, reporter, flow_run_id).end_to_end()
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
    hooks.ending = ending
    if ending.code is ExitCode.OK:
        return Completed(message=ending.message)
    if ending.code is ExitCode.CANCELLED:
        return Cancelled(message=ending.message)
    return Failed(message=ending.message)


class _Run:
    """One run of a job, from its request to its last line in the history."""

    def __init__(self, request: RenderRequest, hooks: Hooks, reporter: Reporter, flow_run_id: str) -> None:
        self.request = request
        self.hooks = hooks
        self.cancel = hooks.cancel
        self.reporter = reporter
        self.flow_run_id = flow_run_id
        self.run_id = uuid.uuid4().hex[:12]
        self.started = time.monotonic()
        self.prepared: Prepared | None = None
        self.folder: RunFolder | None = None
        self.runner: StageRunner | None = None
        self.book: RunBook | None = None

    async def end_to_end(self) -> Ending:
        """Render, and write down what became of it, whatever happens."""
        error: StableflowsError | None = None
        try:
            check_writable(self.request.root)
            self.prepared = load(self.request)
            if self.prepared.calls:
                await self._with_server(self.prepared)
        except RunCancelled:
            pass
        except StableflowsError as caught:
            error = caught
            if self.book:
                self.book.log.emit(Event.ERROR, kind=type(error).__name__, error=str(error))
        status = self._status(error)
        result = self._write_results(status, error)
        if self.book and result:
            failed, images = result.failed, result.image_count
            if status is RunStatus.CANCELLED:
                self.book.log.emit(Event.EARLY_EXIT, reason="cancelled")
            self.book.log.emit(Event.RUN_COMPLETE, status=status, failed=failed, images=images)
        if result and self.folder:
            await report(result, self.folder.gallery_file)
        self._write_history(status, error, result)
        return self._ending(status, error, result)

    async def _with_server(self, prepared: Prepared) -> None:
        async with AsyncExitStack() as stack:
            config, sandbox = await stack.enter_async_context(serving(self.request.server, self.reporter.say))
            client = await stack.enter_async_context(WebUIClient(config))
            target = PreflightTarget(client, prepared.entries, self.request.root, sandbox, self.cancel)
            state: State[Any] = await preflight(target, return_state=True)
            if state.is_cancelled():
                raise RunCancelled("cancelled")
            server = await state.aresult()
            for warning in (*prepared.warnings, *server.warnings):
                self.reporter.say(f"Warning: {warning}")
            self._open(prepared, client, server)
            try:
                await execute(prepared.calls, self._call, cancel=self.cancel, depth=DEPTH)
            finally:
                await self._put_back(client, server)

    def _open(self, prepared: Prepared, client: WebUIClient, server: ServerState) -> None:
        """Everything that must be on disk before the first generating request."""
        now = datetime.now().astimezone()
        entries = settle(prepared.entries, server.options)
        save_job(prepared, self.request.root)
        self.folder = RunFolder.create(self.request.root, prepared.job.name, self.run_id, now)
        self.folder.write_plan(
            plan_record(prepared, entries, server, run_id=self.run_id, created=now.astimezone(UTC))
        )
        server.will_override(entries)
        self.book = RunBook(self.folder, self.hooks.callback)
        self.book.run_started(self.run_id, prepared.job, len(prepared.calls))
        self.runner = StageRunner(
            client=client,
            server=server,
            entries=entries,
            images=prepared.images,
            folder=self.folder,
            cancel=self.cancel,
            on_state=self.reporter.state,
        )
        self.reporter.planned(prepared, server, self.folder)

    async def _call(self, call: StageCall, before: ImageRecord | None) -> StageOutput | None:
        """Run one call as a task run, and record how it ended.

        Raises:
            ServerError: the server is gone for good: no other call could end better.
        """
        assert self.runner  # noqa: S101 (calls begin when it is there)
        assert self.book  # noqa: S101
        self.book.call_started(call)
        self.reporter.started(call)
        state: State[Any] = await STAGE_TASKS[call.stage_type](self.runner, call, before, return_state=True)
        attempts = self.runner.attempts.get(call.call_id, 1)
        if state.is_cancelled():
            self.book.call_cancelled(call, attempts=attempts)
            return None
        found = await state.aresult(raise_on_failure=False)
        if isinstance(found, StageOutput):
            self.book.call_done(call, found, attempts=attempts)
            self.reporter.done(call, found)
            return found
        self.book.call_failed(call, found, attempts=attempts)
        self.reporter.failed(call, found)
        if isinstance(found, ServerError) and found.exit_code is ExitCode.SERVER_UNREACHABLE:
            raise found
        if isinstance(found, OSError):
            raise StableflowsError(f"the disk cannot be written: {found}") from found
        return None

    async def _put_back(self, client: WebUIClient, server: ServerState) -> None:
        try:
            await server.changes.put_back(client)
        except ServerError as error:
            self.reporter.say(
                f"Warning: the server's options could not be put back: {error} The next run does it."
            )

    def _status(self, error: StableflowsError | None) -> RunStatus:
        if error is not None:
            return RunStatus.FAILED
        return RunStatus.CANCELLED if self.cancel.is_set() else RunStatus.COMPLETED

    def _write_results(self, status: RunStatus, error: StableflowsError | None) -> BatchResult | None:
        """Manifest, table and gallery. None if the run ended before it had a folder."""
        if self.folder is None:
            if self.prepared is None or self.prepared.calls:
                return None
            job = self.prepared.job
            return BatchResult(
                job_id=job.job_id, mode=job.mode, total_entries=0, output_dir=str(self.request.root)
            )
        result = manifest.compose(self.folder)
        if status is RunStatus.COMPLETED and result.failed:
            status = RunStatus.FAILED
        return manifest.write(
            self.folder,
            status=status,
            error=str(error) if error else None,
            duration=round(time.monotonic() - self.started, 3),
        ).result

    def _write_history(
        self, status: RunStatus, error: StableflowsError | None, result: BatchResult | None
    ) -> None:
        if result and result.failed and status is RunStatus.COMPLETED:
            status = RunStatus.FAILED
        job = self.prepared.job if self.prepared else None
        run_config = job.run_config if job else self.request.run_config
        try:
            history.append(
                self.request.root,
                history.HistoryLine(
                    job_id=job.job_id if job else "",
                    run_id=self.run_id,
                    flow_run_ids=(self.flow_run_id,),
                    timestamp=datetime.now(UTC).isoformat(timespec="milliseconds"),
                    status=status,
                    error=str(error) if error else _failed(result),
                    run_mode=run_config.run_mode if run_config else "direct",
                    source=run_config.source if run_config else "cli",
                    prompt_source=run_config.prompt_source if run_config else "pack",
                    prompt_pack_id=run_config.prompt_pack_id if run_config else None,
                    config_hash=job.config_hash if job else None,
                    duration=round(time.monotonic() - self.started, 3),
                    result=result,
                ),
            )
        except OSError as unwritable:
            self.reporter.say(f"Warning: the history could not be written: {unwritable}")

    def _ending(
        self, status: RunStatus, error: StableflowsError | None, result: BatchResult | None
    ) -> Ending:
        outcome = Outcome(error=str(error)) if error else Outcome(result=result)
        if error:
            return Ending(outcome, error.exit_code, str(error), self.folder)
        if status is RunStatus.CANCELLED:
            return Ending(outcome, ExitCode.CANCELLED, "Cancelled", self.folder)
        if failed := _failed(result):
            return Ending(outcome, ExitCode.ENTRIES_FAILED, failed, self.folder)
        images = result.image_count if result else 0
        entries = result.total_entries if result else 0
        done = f"{counted(entries, 'entry')}, {counted(images, 'image')}"
        return Ending(outcome, ExitCode.OK, done, self.folder)


def _failed(result: BatchResult | None) -> str | None:
    if result is None or not result.failed:
        return None
    return f"{result.failed} of {result.total_entries} entries failed"
