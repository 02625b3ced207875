"""What a stage, an entry and a run result in. Images never stand in here, only what finds and proves them."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field

from stableflows.config.base import Many
from stableflows.stages import StageType

__all__ = [
    "BatchResult",
    "CallRecord",
    "EntryResult",
    "EntryStatus",
    "ImageRecord",
    "Outcome",
    "RunStatus",
    "StageOutput",
]


class Record(Many):
    """Frozen; fields that a later version adds are kept out of an older reader's way."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


def _inside(path: str) -> str:
    """Records are files, which anybody may have edited: none may lead out of the output root."""
    odd = re.search(r"[\x00-\x1f\\:]", path)
    if odd or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"{path[:200]!r} is no path below the output folder")
    return path


class ImageRecord(Record):
    """One image on disk.

    Attributes:
        path: relative to the output root, with forward slashes.
        sha256: of the file's bytes, which are those that the server sent.
        width, height: pixels, from the decoded image.
        seed: the image's own, None for an upscale through extras of an image without one.
        infotext: the generation parameters that the server wrote into the image.
    """

    path: Annotated[str, AfterValidator(_inside)]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    width: int
    height: int
    seed: int | None = None
    infotext: str = ""


class StageOutput(Record):
    """What one call of a stage brought."""

    stage_type: StageType
    images: tuple[ImageRecord, ...]
    key: str
    """Identity of the call, see `stableflows.keys`."""
    duration: float
    """Seconds that the server took: from the request, or the end of the call before it, to the answer."""
    cached: bool = False
    unverified: tuple[str, ...] = ()
    """What was asked but is not reported by the server, so that nobody can tell whether it was done."""
    warnings: tuple[str, ...] = ()
    reported: dict[str, Any] = Field(default_factory=dict)
    """What the server says it did: sampler, checkpoint, hashes, version."""


class CallRecord(Record):
    """A line of calls.jsonl: one finished call, also a failed one."""

    call_id: str
    entry: int
    """Index of the entry in the run, from 0."""
    stage_type: StageType
    index: int
    """Index of the call's first image among the entry's, from 0."""
    key: str | None = None
    status: str
    """`ok`, `error`, `cancelled`."""
    output: StageOutput | None = None
    error: str | None = None
    error_kind: str | None = None
    started: str
    """UTC, ISO 8601."""
    attempts: int = 1


class EntryStatus(StrEnum):
    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"
    NOT_REACHED = "not_reached"


UNFINISHED = frozenset({EntryStatus.CANCELLED, EntryStatus.NOT_REACHED})


class RunStatus(StrEnum):
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    CRASHED = "CRASHED"


class EntryResult(Record):
    """What became of one entry. `images` are those of its last stage, in order of their index: of an entry
    that failed on the way, those that reached it; what the stages before made is under `result.stages`."""

    pack_id: str
    pack_name: str
    entry: dict[str, Any]
    """The entry as the job has it: name, prompt, negative prompt, inputs."""
    prompt: str
    """As sent: globals and LoRAs included."""
    status: EntryStatus
    error: str | None = None
    run_config: dict[str, Any] = Field(default_factory=dict)
    pipeline_mode: str
    image_count: int = 0
    images: tuple[ImageRecord, ...] = ()
    duration: float = 0.0
    """Seconds that its calls took, added up."""
    randomizer: dict[str, Any] | None = None
    result: dict[str, Any] = Field(default_factory=dict)
    """`stages`: {stage type: [StageOutput, ...]}; `upscale`: {factor, model, tile_size} if there is one;
    `seeds`: {value, how (fixed, derived, drawn)}; `unverified`, `warnings`."""


class BatchResult(Record):
    """What a run resulted in."""

    job_id: str
    mode: str
    """`prompt_pack_batch`, or `single` for a free-text prompt."""
    total_entries: int
    results: tuple[EntryResult, ...] = ()
    output_dir: str

    def brief(self) -> BatchResult:
        """Without the stages' outputs, which the manifest has: a night's history line is 20 kB, not 1 MB."""
        results = tuple(
            entry.model_copy(
                update={"result": {name: value for name, value in entry.result.items() if name != "stages"}}
            )
            for entry in self.results
        )
        return self.model_copy(update={"results": results})

    def listed(self, most: int) -> list[tuple[int, EntryResult]]:
        """The entries to list where there is room for `most`, each with its number from 1: all, or those that
        are not as wanted before the others."""
        numbered = list(enumerate(self.results, 1))
        if len(numbered) <= most:
            return numbered
        by_need = sorted(numbered, key=lambda each: each[1].status is EntryStatus.OK)
        return sorted(by_need[:most], key=lambda each: each[0])

    @property
    def failed(self) -> int:
        return sum(result.status is EntryStatus.ERROR for result in self.results)

    @property
    def unfinished(self) -> int:
        """Entries that a resume would go on with."""
        return sum(result.status in UNFINISHED for result in self.results)

    @property
    def image_count(self) -> int:
        return sum(result.image_count for result in self.results)


class Outcome(Record):
    """What `--json` prints: a result, or the error that kept the run from having one."""

    result: BatchResult | None = None
    error: str | None = None
