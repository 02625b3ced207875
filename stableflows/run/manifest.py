"""The manifest: what a run resulted in, composed from plan.json and calls.jsonl alone, so that whoever
finds a run whose process died can compose it too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field

from stableflows.results import BatchResult, CallRecord, EntryResult, EntryStatus, Record, RunStatus
from stableflows.run import gallery, table
from stableflows.run.chains import chains_of, latest
from stableflows.run.files import write_whole
from stableflows.run.folder import RunFolder
from stableflows.run.plan_record import PlannedCall, PlannedEntry, PlanRecord, ServerRecord
from stableflows.stages import StageType

__all__ = ["Composed", "Manifest", "Totals", "compose", "write"]


class Totals(Record):
    """Counts of a run."""

    entries: int
    ok: int
    error: int
    cancelled: int
    not_reached: int
    images: int
    """Finished ones."""
    calls: int
    """Planned ones."""
    calls_done: int
    calls_cached: int
    """Of those done, how many were taken from the store."""


class Manifest(Record):
    """manifest.json."""

    version: Literal[1] = 1
    run_id: str
    job_id: str
    job_name: str
    status: RunStatus
    error: str | None = None
    """What ended the run, if not its end."""
    created: str
    """When the plan was written: UTC, ISO 8601."""
    ended: str
    """When this was composed: UTC, ISO 8601."""
    duration: float | None
    """Seconds of the (last) flow run; None if nobody saw its end."""
    server: ServerRecord
    run_config: dict[str, Any] = Field(default_factory=dict)
    totals: Totals
    grids: tuple[str, ...] = ()
    """Labelled grids of what was swept, relative to the run's folder."""
    result: BatchResult


@dataclass(frozen=True)
class Composed:
    """What a run resulted in so far, with the plan and the records (by call id) that say so."""

    folder: RunFolder
    plan: PlanRecord
    records: Mapping[str, CallRecord]
    result: BatchResult


def compose(folder: RunFolder) -> Composed:
    """Read what a run's folder says.

    Raises:
        StableflowsError: plan.json or calls.jsonl is missing or cannot be read.
    """
    plan, records = folder.plan(), latest(folder.calls())
    return Composed(folder, plan, records, _batch(folder, plan, records))


def write(
    composed: Composed,
    *,
    status: RunStatus,
    error: str | None = None,
    ended: datetime | None = None,
    duration: float | None = None,
) -> Manifest:
    """Write manifest.json, results.csv and index.html, in place of earlier ones.

    Args:
        error: what ended the run before its end.
        ended: aware; now, if left out.
        duration: seconds of the flow run.

    Raises:
        OSError: a file cannot be written.
    """
    from stableflows.run.grid import write_grids  # not at the top: a plan draws nothing

    folder, plan, records, result = composed.folder, composed.plan, composed.records, composed.result
    manifest = Manifest(
        run_id=plan.run_id,
        job_id=plan.job_id,
        job_name=plan.job.name,
        status=status,
        error=error,
        created=plan.created,
        ended=(ended or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds"),
        duration=duration,
        server=plan.server,
        run_config=plan.job.run_config.model_dump(mode="json"),
        totals=_totals(plan, records, result),
        grids=tuple(grid.relative_to(folder.path).as_posix() for grid in write_grids(folder, plan, records)),
        result=result,
    )
    write_whole(folder.csv_file, table.render(folder, plan, records, result))
    write_whole(folder.gallery_file, gallery.render(folder, plan, records, manifest))
    # Last: who waits for a manifest finds the other two.
    folder.write_manifest(manifest)
    return manifest


def _batch(folder: RunFolder, plan: PlanRecord, records: Mapping[str, CallRecord]) -> BatchResult:
    calls: dict[int, list[PlannedCall]] = {}
    for call in plan.calls:
        calls.setdefault(call.entry, []).append(call)
    run_config = plan.job.run_config.model_dump(mode="json")
    return BatchResult(
        job_id=plan.job_id,
        mode=plan.job.mode,
        total_entries=len(plan.entries),
        results=tuple(
            _entry(entry, calls.get(number, []), records, run_config)
            for number, entry in enumerate(plan.entries)
        ),
        output_dir=str(folder.path),
    )


def _entry(
    entry: PlannedEntry,
    calls: Sequence[PlannedCall],
    records: Mapping[str, CallRecord],
    run_config: dict[str, Any],
) -> EntryResult:
    recorded = [records[call.call_id] for call in calls if call.call_id in records]
    done = [record for record in recorded if record.status == "ok" and record.output]
    images = tuple(chain.final for chain in chains_of(entry, recorded) if chain.final)
    status, error = _status(calls, recorded)
    return EntryResult(
        pack_id=entry.pack_id,
        pack_name=entry.pack_name,
        entry=entry.entry,
        prompt=entry.prompt,
        status=status,
        error=error,
        run_config=run_config,
        pipeline_mode=entry.mode,
        image_count=len(images),
        images=images,
        duration=round(sum(r.output.duration for r in done if r.output and not r.output.cached), 3),
        randomizer=entry.randomizer or run_config.get("randomizer"),
        result=_details(entry, done),
    )


def _status(calls: Sequence[PlannedCall], recorded: Sequence[CallRecord]) -> tuple[EntryStatus, str | None]:
    failed = [record for record in recorded if record.status == "error"]
    if failed:
        text = f"{_what(failed[0], calls)}: {failed[0].error or 'failed, and nobody said why'}"
        more = f" ({len(failed) - 1} more of its calls failed)" if failed[1:] else ""
        return EntryStatus.ERROR, text + more
    if not recorded and calls:
        return EntryStatus.NOT_REACHED, None
    done = {record.call_id for record in recorded if record.status == "ok"}
    missing = next((call for call in calls if call.call_id not in done), None)
    if missing is None:
        return EntryStatus.OK, None
    return EntryStatus.CANCELLED, f"The run ended before {_what(missing, calls)} was done."


def _what(call: CallRecord | PlannedCall, calls: Sequence[PlannedCall]) -> str:
    """`upscale of image 2`; the number only where the entry has several."""
    several = any(one.index or one.n > 1 for one in calls)
    return f"{call.stage_type} of image {call.index + 1}" if several else call.stage_type.value


def _details(entry: PlannedEntry, done: Sequence[CallRecord]) -> dict[str, Any]:
    outputs = [record.output for record in sorted(done, key=lambda r: r.index) if record.output]
    details: dict[str, Any] = {
        "stages": {
            stage.stage_type.value: [
                output.model_dump(mode="json") for output in outputs if output.stage_type is stage.stage_type
            ]
            for stage in entry.stages
        },
        "seeds": entry.seed.model_dump(mode="json") if entry.seed else None,
        "unverified": _distinct(text for output in outputs for text in output.unverified),
        "warnings": _distinct(text for output in outputs for text in output.warnings),
    }
    for stage in entry.stages:
        if stage.stage_type is StageType.UPSCALE:
            details["upscale"] = {
                "factor": stage.config.get("factor"),
                "model": stage.config.get("upscaler"),
                "tile_size": stage.config.get("tile_size"),
            }
    return details


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _totals(plan: PlanRecord, records: Mapping[str, CallRecord], result: BatchResult) -> Totals:
    statuses = [entry.status for entry in result.results]
    done = [record.output for record in records.values() if record.status == "ok" and record.output]
    return Totals(
        entries=result.total_entries,
        ok=statuses.count(EntryStatus.OK),
        error=statuses.count(EntryStatus.ERROR),
        cancelled=statuses.count(EntryStatus.CANCELLED),
        not_reached=statuses.count(EntryStatus.NOT_REACHED),
        images=result.image_count,
        calls=len(plan.calls),
        calls_done=len(done),
        calls_cached=sum(output.cached for output in done),
    )
