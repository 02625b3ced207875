"""How far a run is, from its folder alone."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean

from pydantic import BaseModel, ConfigDict

from stableflows.results import CallRecord
from stableflows.run.chains import latest
from stableflows.run.files import read_lines
from stableflows.run.folder import RunFolder
from stableflows.run.plan_record import PlanRecord
from stableflows.run.runlog import Event
from stableflows.stages import StageType

__all__ = ["Progress", "progress_of"]


class Progress(BaseModel):
    """Counts of a run that goes on, and what it does now.

    Attributes:
        entry: from 1; the call that was begun last and has not ended.
        remaining: seconds, estimated from the calls that were made so far; None before the first ended.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    job_id: str
    entry: int | None = None
    entry_name: str | None = None
    stage: str | None = None
    images_done: int
    images_total: int
    requests_done: int
    requests_total: int
    failed: int
    remaining: float | None = None


def progress_of(folder: RunFolder) -> Progress:
    """How far the run in this folder is.

    Raises:
        StableflowsError: it has no plan yet, or its records cannot be read.
    """
    plan = folder.plan()
    records = latest(folder.calls())
    done = {call_id: record for call_id, record in records.items() if record.status == "ok"}
    failed = sum(record.status == "error" for record in records.values())
    last = {number: entry.stages[-1].stage_type for number, entry in enumerate(plan.entries)}
    now = _begun_and_not_ended(folder, plan)
    call = next((call for call in plan.calls if call.call_id == now), None)
    entry = plan.entries[call.entry] if call else None
    return Progress(
        run_id=plan.run_id,
        job_id=plan.job_id,
        entry=call.entry + 1 if call else None,
        entry_name=(entry.entry.get("name") or entry.prompt) if entry else None,
        stage=call.stage_type.value if call else None,
        images_done=sum(
            len(record.output.images)
            for record in done.values()
            if record.output and record.stage_type is last[record.entry]
        ),
        images_total=sum(one.total_images for one in plan.entries),
        requests_done=len(done),
        requests_total=len(plan.calls),
        failed=failed,
        remaining=_remaining(plan, records),
    )


def _begun_and_not_ended(folder: RunFolder, plan: PlanRecord) -> str | None:
    """The call that was begun first of those that have not ended: the later one waits at the server."""
    open_calls: dict[str, None] = {}
    for line in read_lines(folder.log_file):
        call_id = str(line.get("call"))
        if line.get("event") == Event.RUN_START:
            open_calls.clear()  # what an earlier process had begun
        elif line.get("event") == Event.STAGE_START:
            open_calls[call_id] = None
        elif line.get("event") in (Event.STAGE_STOP, Event.ERROR):
            open_calls.pop(call_id, None)
    return next(iter(open_calls), None)


def _remaining(plan: PlanRecord, records: dict[str, CallRecord]) -> float | None:
    """Calls that are left, each as long as the mean of those of its stage; of all, where none ended."""
    took: defaultdict[StageType, list[float]] = defaultdict(list)
    for record in records.values():
        if record.output and not record.output.cached:
            took[record.stage_type].append(record.output.duration)
    every = [seconds for some in took.values() for seconds in some]
    left = [call.stage_type for call in plan.calls if call.call_id not in records]
    if not left:
        return 0.0
    if not every:
        return None
    return round(sum(fmean(took[stage] or every) for stage in left), 1)
