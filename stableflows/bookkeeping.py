"""What a run writes while it goes: its plan, each call as it ends, its log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from stableflows.calls import StageCall
from stableflows.entries import Entry
from stableflows.job import Job
from stableflows.request import Prepared
from stableflows.results import CallRecord, StageOutput
from stableflows.run.folder import RunFolder
from stableflows.run.plan_record import (
    InputRecord,
    PlannedCall,
    PlannedEntry,
    PlannedStage,
    PlanRecord,
)
from stableflows.run.runlog import Event, RunLog
from stableflows.server_state import ServerState

__all__ = ["RunBook", "plan_record"]


def plan_record(
    prepared: Prepared, entries: Sequence[Entry], server: ServerState, *, run_id: str, created: datetime
) -> PlanRecord:
    """What plan.json says: all that decides what the run renders."""
    calls = [
        PlannedCall(
            call_id=call.call_id,
            entry=call.entry,
            stage_type=call.stage_type,
            index=call.index,
            n=call.n,
            after=call.after,
        )
        for call in prepared.calls
    ]
    by_entry: dict[int, list[str]] = {entry.index: [] for entry in entries}
    for call in calls:
        by_entry[call.entry].append(call.call_id)
    return PlanRecord(
        run_id=run_id,
        job_id=prepared.job.job_id,
        job=prepared.job,
        created=created.isoformat(timespec="seconds"),
        server=server.record(prepared.server),
        draws=dict(prepared.draws),
        entries=tuple(_planned(entry, by_entry[entry.index]) for entry in entries),
        calls=tuple(calls),
    )


def _planned(entry: Entry, calls: Sequence[str]) -> PlannedEntry:
    return PlannedEntry(
        pack_id=entry.item.pack_id,
        pack_name=entry.item.name,
        entry=entry.item.entry.model_dump(mode="json"),
        prompt=entry.texts.prompt,
        negative_prompt=entry.texts.negative_prompt,
        inputs=tuple(
            InputRecord(
                sha256=image.sha256,
                path=f"store/inputs/{image.sha256}{image.suffix}",
                width=image.width,
                height=image.height,
            )
            for image in entry.inputs
        ),
        mode=entry.plan.mode,
        seed=entry.seed,
        subseed=entry.subseed,
        count=entry.count,
        stages=tuple(PlannedStage.model_validate(stage.model_dump(mode="json")) for stage in entry.plan),
        calls=tuple(calls),
        randomizer=entry.item.randomizer,
    )


class RunBook:
    """Records each call of a run, in calls.jsonl and in the run's log.

    Attributes:
        ended: calls that are done or have failed, also in an earlier part of the run.
    """

    def __init__(
        self,
        folder: RunFolder,
        callback: Callable[[dict[str, Any]], object] | None = None,
        *,
        ended: int = 0,
    ) -> None:
        """Args: callback: gets every event of the run's log too."""
        self.folder = folder
        self.ended = ended
        self.log = RunLog(folder.log_file, callback)
        self._started: dict[str, str] = {}

    def run_started(self, run_id: str, job: Job, *, calls: int, flow_run_id: str) -> None:
        self.log.emit(
            Event.RUN_START,
            run_id=run_id,
            job_id=job.job_id,
            config_hash=job.config_hash,
            calls=calls,
            flow_run_id=flow_run_id,
        )

    def call_started(self, call: StageCall) -> None:
        self._started[call.call_id] = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.log.emit(Event.STAGE_START, call=call.call_id, stage=call.stage_type, label=call.label)

    def call_done(self, call: StageCall, output: StageOutput, *, attempts: int, left: float) -> None:
        """Args: left: seconds that the rest of the run is expected to take."""
        self._record(call, "ok", attempts, output=output, key=output.key)
        self.ended += 1
        self.log.emit(
            Event.STAGE_STOP,
            call=call.call_id,
            stage=call.stage_type,
            status="ok",
            seconds=output.duration,
            left=round(left, 1),
            images=[image.path for image in output.images],
        )

    def call_failed(self, call: StageCall, error: BaseException, *, attempts: int) -> None:
        text = str(error) or type(error).__name__
        self._record(call, "error", attempts, error=text, error_kind=type(error).__name__)
        self.ended += 1
        self.log.emit(
            Event.ERROR, call=call.call_id, stage=call.stage_type, kind=type(error).__name__, error=text
        )

    def call_cancelled(self, call: StageCall, *, attempts: int) -> None:
        self._record(call, "cancelled", attempts)
        self.log.emit(Event.STAGE_STOP, call=call.call_id, stage=call.stage_type, status="cancelled")

    def _record(self, call: StageCall, status: str, attempts: int, **fields: Any) -> None:
        self.folder.record_call(
            CallRecord(
                call_id=call.call_id,
                entry=call.entry,
                stage_type=call.stage_type,
                index=call.index,
                status=status,
                started=self._started.pop(call.call_id),
                attempts=attempts,
                **fields,
            )
        )
