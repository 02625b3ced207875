"""The end of a run: manifest, table, gallery and history line are written, and what it ended with is said."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from stableflows.errors import ExitCode, StableflowsError
from stableflows.job import Job, RunConfig
from stableflows.results import BatchResult, Outcome, RunStatus
from stableflows.run import history, manifest
from stableflows.run.folder import RunFolder

__all__ = ["Ending", "RunFacts", "close"]


@dataclass(frozen=True, repr=False)  # `asyncio.run` makes the repr of what it returns: of a large job, 110 MB
class Ending:
    """How a run ended: what `--json` prints, the exit code, a line for people, where it is, and what was made
    (also of a run that an error ended)."""

    outcome: Outcome
    code: ExitCode
    status: RunStatus
    message: str
    folder: RunFolder | None = None
    result: BatchResult | None = None


@dataclass
class RunFacts:
    """What is known of a run so far; filled in while it goes.

    Attributes:
        job: None until it was read.
        folder: None until the server passed preflight.
        flow_run_ids: all Prefect flow runs that it spans.
        started: by the monotonic clock, in seconds.
        resumed: an earlier run was taken up again.
        stopped: why the run ended before its end without a cancel ("until 07:00", "paused").
    """

    root: Path
    run_id: str
    job: Job | None = None
    run_config: RunConfig | None = None
    folder: RunFolder | None = None
    flow_run_ids: tuple[str, ...] = ()
    started: float = field(default_factory=time.monotonic)
    resumed: bool = False
    stopped: str | None = None

    @cached_property
    def job_id(self) -> str:
        """Of the job that was read; computed once, for of a large job it takes the whole text."""
        assert self.job  # noqa: S101 (nobody asks before)
        return self.job.job_id

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self.started, 3)


def close(
    facts: RunFacts,
    *,
    error: BaseException | None = None,
    cancelled: bool = False,
    result: BatchResult | None = None,
) -> Ending:
    """Write down what became of a run.

    Args:
        error: what ended it, if not its end.
        cancelled: it was cancelled, and ended itself.
        result: of a run that has no folder; else it is composed from the folder's records.

    Raises:
        StableflowsError: the folder's records cannot be read.
        OSError: the history cannot be written.
    """
    composed: manifest.Composed | None = None
    if facts.folder is not None:
        facts.job = None  # the plan has the same once more: of ten thousand entries, one is enough
        composed = manifest.compose(facts.folder)
        result, facts.job = composed.result, composed.plan.job
    cancelled = cancelled or bool(facts.stopped and result and result.unfinished)
    status = _status(error, cancelled, result)
    message = str(error) or type(error).__name__ if error else _failed(result)
    cached = 0
    if composed is not None:
        written = manifest.write(composed, status=status, error=message, duration=facts.seconds)
        cached = written.totals.calls_cached
        del written
        composed = None  # a large job's plan and records are written: the history needs their room
    if facts.root.is_dir():  # else nothing could be written at all, which is the error
        history.append(facts.root, _line(facts, status, message, result))
    outcome = Outcome(error=message) if error else Outcome(result=result)
    said = message or _done(status, result, facts.stopped, cached)
    return Ending(outcome, _code(error, status), status, said, facts.folder, result)


def _status(error: BaseException | None, cancelled: bool, result: BatchResult | None) -> RunStatus:
    if error is not None:
        return RunStatus.FAILED
    if cancelled:
        return RunStatus.CANCELLED
    return RunStatus.FAILED if result and result.failed else RunStatus.COMPLETED


def _code(error: BaseException | None, status: RunStatus) -> ExitCode:
    if error is not None:
        return error.exit_code if isinstance(error, StableflowsError) else ExitCode.ENTRIES_FAILED
    if status is RunStatus.CANCELLED:
        return ExitCode.CANCELLED
    return ExitCode.ENTRIES_FAILED if status is RunStatus.FAILED else ExitCode.OK


def _failed(result: BatchResult | None) -> str | None:
    if result is None or not result.failed:
        return None
    return f"{result.failed} of {result.total_entries} entries failed"


def _done(status: RunStatus, result: BatchResult | None, stopped: str | None, cached: int) -> str:
    images = result.image_count if result else 0
    done = f"{images} image{'' if images == 1 else 's'}"
    if cached:
        done += f", {cached} request{'' if cached == 1 else 's'} answered by the store"
    if status is not RunStatus.CANCELLED:
        return f"All rendered: {done}"
    how = f"Stopped ({stopped})" if stopped else "Cancelled"
    return f"{how}; {done} finished, --resume makes the rest"


def _line(
    facts: RunFacts, status: RunStatus, error: str | None, result: BatchResult | None
) -> history.HistoryLine:
    job = facts.job
    run_config = job.run_config if job else facts.run_config or RunConfig()
    return history.HistoryLine(
        job_id=facts.job_id if job else "",
        run_id=facts.run_id,
        flow_run_ids=facts.flow_run_ids,
        timestamp=datetime.now(UTC).isoformat(timespec="milliseconds"),
        status=status,
        error=error,
        run_mode=run_config.run_mode,
        source=run_config.source,
        prompt_source=run_config.prompt_source,
        prompt_pack_id=run_config.prompt_pack_id,
        config_hash=job.config_hash if job else None,
        duration=facts.seconds,
        resumed=facts.resumed,
        result=result.brief() if result else None,
    )
