"""What each image of an entry went through: drawn, changed, enlarged, retouched, as far as it came."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stableflows.results import CallRecord, ImageRecord
from stableflows.run.plan_record import PlannedEntry
from stableflows.stages import StageType

__all__ = ["Chain", "Step", "chains_of", "latest"]


@dataclass(frozen=True)
class Step:
    """One image, and the call that brought it."""

    stage_type: StageType
    image: ImageRecord
    call: CallRecord


@dataclass(frozen=True)
class Chain:
    """One image of an entry, from its first stage on.

    Attributes:
        index: among the entry's images, from 0.
        steps: of the stages that are done, in order.
        final: the image of the entry's last stage, if it is done.
    """

    index: int
    steps: tuple[Step, ...]
    final: ImageRecord | None


def latest(records: Iterable[CallRecord]) -> dict[str, CallRecord]:
    """By call id, the record that counts: the last, for a resume makes a call again."""
    return {record.call_id: record for record in records}


def chains_of(entry: PlannedEntry, records: Sequence[CallRecord]) -> list[Chain]:
    """The chains of an entry that have at least one image, by index.

    Args:
        records: those of the entry that count (see `latest`).
    """
    steps: dict[tuple[int, StageType], Step] = {}
    for record in records:
        if record.status == "ok" and record.output:
            for place, image in enumerate(record.output.images):
                step = Step(record.stage_type, image, record)
                steps[record.index + place, record.stage_type] = step
    order = [stage.stage_type for stage in entry.stages]
    chains = []
    for index in sorted({index for index, _ in steps}):
        done = tuple(steps[index, stage] for stage in order if (index, stage) in steps)
        finished = bool(done) and done[-1].stage_type is order[-1]
        chains.append(Chain(index, done, done[-1].image if finished else None))
    return chains
