"""The flow: a job's plans become stage task runs that chain their outputs, one flow run a job.

Direct mode calls it in-process, queue mode through its deployment; what it renders is the same.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import Task, flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.runtime import deployment, flow_run
from prefect.states import Cancelled, Completed, Failed

from flows.events import job_ended, job_started
from flows.hooks import HOOKS, Hooks, LogReporter, Reporter
from flows.prefect_api import cancel_on_interrupt, watch_for_cancel
from flows.progress_artifact import shown_progress
from flows.server import serving
from flows.stopping import moment, watch_for_stop
from flows.taking_up import taken_up
from stableflows.arrangement import arrange
from stableflows.bookkeeping import RunBook, plan_record
from stableflows.calls import StageCall
from stableflows.closing import Ending, RunFacts, close
from stableflows.durations import Times
from stableflows.errors import ExitCode, ServerError, StableflowsError
from stableflows.executor import execute
from stableflows.forecast import forecast
from stableflows.identity import CallIdentity
from stableflows.jobs import load, save_job, waits_no_longer
from stableflows.mending import mend
from stableflows.network_hashes import network_hashes, remember
from stableflows.request import Prepared, RenderRequest
from stableflows.results import BatchResult, ImageRecord, RunStatus, StageOutput
from stableflows.run.files import check_writable
from stableflows.run.folder import RunFolder
from stableflows.run.runlog import Event
from stableflows.server_state import ServerState
from stableflows.settling import settle
from stableflows.slot import Slot
from stableflows.stage_runner import StageRunner
from stableflows.store import Store
from stableflows.timekeeping import Timekeeper
from stableflows.waiting import WaitCancelled
from stableflows.webui.client import WebUIClient
from tasks.around import PreflightTarget, ReportSubject, preflight, report
from tasks.stages import STAGE_TASKS

__all__ = ["render"]

AHEAD = 2
"""Calls that are prepared or recorded meanwhile."""


def _interruptible(cancel: asyncio.Event) -> AbstractContextManager[None]:
    """SIGINT and SIGTERM set `cancel` while the flow runs; Prefect's own handler would end the process in the
    middle of everything. Python has signal handlers on the main thread only."""
    on_main_thread = threading.current_thread() is threading.main_thread()
    return cancel_on_interrupt(cancel) if on_main_thread else nullcontext()


def _flow_run_name() -> str:
    request = RenderRequest.model_validate(flow_run.parameters["request"])
    if request.title:
        return request.title[:80]
    if request.packs:
        return ", ".join(Path(pack).stem for pack in request.packs)[:80]
    if request.again:
        return f"again {request.again}"
    return (request.prompt or (f"job {request.job[:8]}" if request.job else "images"))[:80]


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
        with _interruptible(hooks.cancel):
            run = _Run(request, hooks, reporter, flow_run_id)
            ending = await run.end_to_end()
            await job_ended(run.facts, ending)
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
    hooks.ending = ending
    if ending.code is ExitCode.OK:
        return Completed(message=ending.message)
    if ending.code is ExitCode.CANCELLED:
        return Cancelled(message=ending.message, name="Paused" if run.facts.stopped == "paused" else None)
    return Failed(message=ending.message)


class _Run:
    """One run of a job, from its request to its last line in the history."""

    def __init__(self, request: RenderRequest, hooks: Hooks, reporter: Reporter, flow_run_id: str) -> None:
        self.request = request
        self.hooks = hooks
        self.cancel = hooks.cancel
        self.stop = asyncio.Event()
        self.reporter = reporter
        self.flow_run_id = flow_run_id
        self.store = Store(request.root)
        self.facts = RunFacts(
            root=request.root,
            run_id=uuid.uuid4().hex[:12],
            run_config=request.run_config,
            flow_run_ids=(flow_run_id,),
        )
        self.runner: StageRunner | None = None
        self.book: RunBook | None = None

    async def end_to_end(self) -> Ending:
        """Render, and write down what became of it, whatever happens."""
        async with AsyncExitStack() as stack:
            error: BaseException | None = None
            result: BatchResult | None = None
            try:
                check_writable(self.request.root)
                for line in mend(self.request.root):
                    self.reporter.say(line)
                self.request = taken_up(self.request, self.flow_run_id)
                result = await self._render(self._load(), stack)
            except WaitCancelled:
                pass
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not self.cancel.is_set() or task is None:
                    raise
                task.uncancel()  # a second Ctrl-C: what is under way is given up, what is done is kept
            except StableflowsError as caught:
                error = caught
            except Exception as fault:
                close(self.facts, error=fault)
                raise
            if self.runner is not None:
                self.runner.let_go()  # the close needs the room for what came of the entries
            ending = close(self.facts, error=error, cancelled=self.cancel.is_set(), result=result)
            await self._report(ending)
        return ending

    def _load(self) -> Prepared:
        queued = deployment.id is not None
        return load(
            self.request, run_mode="queue" if queued else "direct", submitted="ui" if queued else None
        )

    async def _report(self, ending: Ending) -> None:
        done = ending.result
        if self.book is None or ending.folder is None or done is None:
            return
        if ending.outcome.error:
            self.book.log.emit(Event.ERROR, error=ending.outcome.error)
        if ending.status is RunStatus.CANCELLED:
            self.book.log.emit(Event.EARLY_EXIT, reason=self.facts.stopped or "cancelled")
        self.book.log.emit(
            Event.RUN_COMPLETE, status=ending.status, failed=done.failed, images=done.image_count
        )
        await report(ReportSubject(done, ending.folder.gallery_file))

    async def _render(self, prepared: Prepared, folder_lock: AsyncExitStack) -> BatchResult | None:
        """What is to be done of a job, at its server; a result only where there is no folder to compose it
        from.

        Args:
            folder_lock: takes the lock of the run's folder, held until the run's last line is written.
        """
        self.facts.job = prepared.job
        if not prepared.calls:
            return _nothing_to_do(prepared, self.request.root)
        done: dict[str, StageOutput | None] = {}
        if earlier := prepared.continued:
            self.facts.run_id, self.facts.resumed = earlier.plan.run_id, True
            folder_lock.enter_context(earlier.folder.held())
            earlier.folder.begin_again()
            spanned = (*earlier.folder.flow_run_ids(), self.flow_run_id)
            self.facts.flow_run_ids = tuple(dict.fromkeys(spanned))
            self.facts.folder = earlier.folder
            done = await asyncio.to_thread(earlier.done, prepared.calls, self.store, self.reporter.say)
            if len(done) == len(prepared.calls):
                self.reporter.say("Nothing is left to be done.")
                return None
        async with AsyncExitStack() as stack:
            config, sandbox = await stack.enter_async_context(serving(prepared.server, self.reporter.say))
            if not sandbox:  # which is this process's own
                await stack.enter_async_context(self._slot(config.server_identity, prepared))
            client = await stack.enter_async_context(WebUIClient(config))
            server = await self._preflight(prepared, client, sandbox)
            # What was there before is let go: a large job is held once.
            prepared = replace(prepared, entries=settle(prepared.entries, server.options))
            server.will_override(prepared.entries)
            identity = CallIdentity(prepared.entries, server)
            hits = await self._hits(prepared, client, identity, done)
            times = Times.load(self.request.root, server.config.server_identity)
            calls, cost = arrange(
                prepared.entries, server, times, done={*hits, *done}, window=self.request.window
            )
            prepared = replace(prepared, calls=calls)
            time = Timekeeper(cost, times, prepared.entries)
            await self._with_server(prepared, client, identity, time, done=done, folder_lock=folder_lock)
        return None

    def _slot(self, server_identity: str, prepared: Prepared) -> AbstractAsyncContextManager[None]:
        return Slot(server_identity).held(
            run_id=self.facts.run_id,
            name=prepared.job.name,
            wait=self.request.wait,
            cancel=self.cancel,
            say=self.reporter.say,
        )

    async def _preflight(self, prepared: Prepared, client: WebUIClient, sandbox: bool) -> ServerState:
        target = PreflightTarget(
            client,
            prepared.entries,
            root=self.request.root,
            sandbox=sandbox,
            cancel=self.cancel,
            say=self.reporter.say,
        )
        check: Task[Any, Any] = preflight
        state: State[Any] = await check(target, return_state=True)
        target.entries = ()  # timers of its requests keep the task's context, and that the target
        if state.is_cancelled():
            raise WaitCancelled
        server: ServerState = await state.aresult()
        for warning in (*prepared.warnings, *server.warnings):
            self.reporter.say(f"Warning: {warning}")
        return server

    async def _with_server(
        self,
        prepared: Prepared,
        client: WebUIClient,
        identity: CallIdentity,
        time: Timekeeper,
        *,
        done: dict[str, StageOutput | None],
        folder_lock: AsyncExitStack,
    ) -> None:
        """Send the calls, in their order.

        Args:
            prepared: settled and arranged.
        """
        server, calls = identity.server, prepared.calls
        folder = self.facts.folder or self._new_folder(prepared, server, folder_lock)
        self.book = RunBook(folder, self.hooks.callback, ended=len(done))
        self.book.run_started(
            self.facts.run_id, prepared.job, calls=len(calls) - len(done), flow_run_id=self.flow_run_id
        )
        self.runner = StageRunner(
            client=client,
            identity=identity,
            images=prepared.images,
            folder=folder,
            store=self.store,
            cancel=self.cancel,
            stop=self.stop,
            on_state=self.reporter.state,
            time=time,
            depth=server.config.depth,
            fresh=self.request.fresh,
            smaller=prepared.job.run_config.on_memory_error == "smaller",
        )
        self.reporter.planned(prepared, server, folder, time.estimate)
        await job_started(self.facts)
        stopping = asyncio.create_task(self._watch_for_stop(folder))
        try:
            async with shown_progress(self.book, len(calls)):
                await execute(
                    calls, self._call, stop=self.stop, done=done, depth=server.config.depth, ahead=AHEAD
                )
        finally:
            stopping.cancel()
            await asyncio.gather(stopping, return_exceptions=True)
            time.save()
            remember(self.request.root, server.config.server_identity, identity.server.hashes)
            await self._put_back(client, server)

    async def _hits(
        self,
        prepared: Prepared,
        client: WebUIClient,
        identity: CallIdentity,
        done: Mapping[str, StageOutput | None],
    ) -> frozenset[str]:
        """The calls that the store has."""
        if self.request.fresh:
            return frozenset()
        found = await asyncio.to_thread(forecast, prepared.calls, identity, self.store, done)
        if found.needs_hashes:
            told = await network_hashes(client, prepared.entries, identity.server, self.reporter.say)
            identity.server = replace(identity.server, hashes={**identity.server.hashes, **told})
            found = await asyncio.to_thread(forecast, prepared.calls, identity, self.store, done)
        return found.hits

    def _new_folder(self, prepared: Prepared, server: ServerState, lock: AsyncExitStack) -> RunFolder:
        """Everything that must be on disk before the first generating request."""
        now = datetime.now().astimezone()
        save_job(prepared, self.request.root)
        run_id = self.facts.run_id
        folder = RunFolder.create(self.request.root, prepared.job.name, run_id, now)
        lock.enter_context(folder.held())
        folder.write_plan(
            plan_record(prepared, prepared.entries, server, run_id=run_id, created=now.astimezone(UTC))
        )
        waits_no_longer(self.request.root, self.facts.job_id)
        self.facts.folder = folder
        return folder

    async def _watch_for_stop(self, folder: RunFolder) -> None:
        until = self.request.until
        at = moment(until, datetime.now().astimezone()) if until else None
        self.facts.stopped = await watch_for_stop(folder, at, stop=self.stop, cancel=self.cancel)

    async def _call(self, call: StageCall, before: ImageRecord | None) -> StageOutput | None:
        """Run one call as a task run, and record how it ended.

        Raises:
            ServerError: the server is gone for good: no other call could end better.
        """
        assert self.runner  # noqa: S101 (calls begin when it is there)
        assert self.book  # noqa: S101
        self.book.call_started(call)
        self.reporter.started(call)
        stage: Task[Any, Any] = STAGE_TASKS[call.stage_type]
        # Here, not in the task: its place in line is that in which it was started.
        self.runner.door.stand(call.call_id)
        try:
            state: State[Any] = await stage(self.runner, call, before, return_state=True)
        finally:
            self.runner.door.step_out(call.call_id)  # also if Prefect never came to run the task
            _forget_results()
        attempts = self.runner.attempts.get(call.call_id, 1)
        if state.is_cancelled():
            self.book.call_cancelled(call, attempts=attempts)
            return None
        found = await state.aresult(raise_on_failure=False)
        if isinstance(found, StageOutput):
            if found.cached:
                self.runner.time.unanswered(call)
            left = self.runner.time.seconds_left
            self.book.call_done(call, found, attempts=attempts, left=left)
            self.reporter.done(call, found)
            self.reporter.left(left)
            return found
        self.runner.time.unanswered(call)
        self.reporter.failed(call, found)
        if (end := _ends_the_run(found)) is not None:
            # Not the entry's fault: a resume makes it. The other calls need not find out by themselves.
            self.cancel.set()
            self.book.call_cancelled(call, attempts=attempts)
            raise end
        self.book.call_failed(call, found, attempts=attempts)
        return None

    async def _put_back(self, client: WebUIClient, server: ServerState) -> None:
        """Put the server's options back, unless another run of ours waits for it: that one starts from the
        same originals, and would only load its checkpoint once more."""
        if Slot(server.config.server_identity).somebody_waits():
            return
        try:
            await server.changes.put_back(client, self.reporter.say)
        except ServerError as error:
            self.reporter.say(
                f"Warning: the server's options could not be put back: {error} The next run does it."
            )


def _forget_results() -> None:
    """Prefect keeps, for the whole flow, a state for each part of each result, to find what a task continues
    when it is passed on. No task of ours is passed a result as it was: 5 kB a call are held for nothing."""
    if context := FlowRunContext.get():
        context.run_results.clear()


def _ends_the_run(error: BaseException) -> StableflowsError | None:
    """What the run ends with, if no other call could end better: the server is gone, or the disk is full."""
    if isinstance(error, ServerError) and error.exit_code is ExitCode.SERVER_UNREACHABLE:
        return error
    if isinstance(error, OSError):
        return StableflowsError(f"the disk cannot be written: {error}")
    return None


def _nothing_to_do(prepared: Prepared, root: Path) -> BatchResult:
    """A job without entries is no error: no server is asked, and no folder made."""
    job = prepared.job
    return BatchResult(job_id=job.job_id, mode=job.mode, total_entries=0, output_dir=str(root))
