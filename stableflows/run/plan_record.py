"""plan.json: all that decides what a run renders, written once before its first request.

With calls.jsonl beside it, it is enough to compose the manifest, to resume the run, and to find out what
became of one whose process died.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, JsonValue, model_validator

from stableflows.config.base import Many
from stableflows.job import Job
from stableflows.seeds import SeedChoice
from stableflows.stages import StageType

__all__ = [
    "InputRecord",
    "PlanRecord",
    "PlannedCall",
    "PlannedEntry",
    "PlannedStage",
    "ServerRecord",
]


class _Frozen(Many):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerRecord(_Frozen):
    """The server as it was when the run started."""

    name: str
    """As the user calls it: the block's name, or the URL's host."""
    url: str
    """Without credentials."""
    family: str
    version: str | None = None
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Server options that change pixels and stand in no request, as they were read."""
    settled: dict[str, JsonValue] = Field(default_factory=dict)
    """The server options that decided what the job left open: checkpoint, VAE, clip skip."""
    asked: str | None = None
    """What the request named it: a URL or a block. None: the environment or a default decided."""
    sandbox: bool
    """Whether it drew pictures instead of rendering; the gallery says so."""


class InputRecord(_Frozen):
    """An input image of an entry."""

    sha256: str
    path: str | None = None
    """Relative to the output root, with forward slashes; None: not kept."""
    width: int | None = None
    height: int | None = None


class PlannedStage(Many):
    """A `StageExecution`, dumped in JSON mode. Its config stays a mapping, so that a run of an older
    version can still be read."""

    model_config = ConfigDict(frozen=True, extra="allow")

    stage_type: StageType
    config_key: str
    config: dict[str, JsonValue] = Field(default_factory=dict)


class PlannedEntry(_Frozen):
    """One entry, resolved: nothing about it is left to be drawn or inherited."""

    pack_id: str
    pack_name: str
    entry: dict[str, Any]
    prompt: str
    """As sent."""
    negative_prompt: str = ""
    inputs: tuple[InputRecord, ...] = ()
    mode: str
    """The plan's mode: `txt2img_then_upscale`, ..."""
    seed: SeedChoice | None = None
    """Of the first image; None if its first stage has none (an upscale through extras)."""
    subseed: SeedChoice | None = None
    count: int = Field(ge=1)
    """Images; with inputs, images an input."""
    stages: tuple[PlannedStage, ...]
    calls: tuple[str, ...]
    """The ids of its calls."""
    randomizer: dict[str, JsonValue] | None = None
    """What was chosen for it, `{seed, values: {name: chosen}}`."""

    @property
    def total_images(self) -> int:
        return self.count * max(1, len(self.inputs))


class PlannedCall(_Frozen):
    """One request that the plan makes."""

    call_id: str
    entry: int = Field(ge=0)
    """Index of the entry in the run, from 0."""
    stage_type: StageType
    index: int = Field(ge=0)
    """Index of its first image among the entry's, from 0."""
    n: int = Field(ge=1)
    """Images that it brings."""
    after: str | None = None
    """The call whose output it continues."""


class PlanRecord(_Frozen):
    """The whole file. `calls` are in the order in which they are sent."""

    version: Literal[1] = 1
    run_id: str
    job_id: str
    job: Job
    created: str
    """UTC, ISO 8601."""
    server: ServerRecord
    draws: dict[str, int] = Field(default_factory=dict)
    """Every drawn seed by its name (`Draws.made`), so that a resume or `--again` uses it again."""
    entries: tuple[PlannedEntry, ...] = ()
    calls: tuple[PlannedCall, ...] = ()

    @model_validator(mode="after")
    def _calls_fit_entries(self) -> PlanRecord:
        by_id = {call.call_id: call for call in self.calls}
        if len(by_id) != len(self.calls):
            raise ValueError("two calls have the same id")
        for call in self.calls:
            if call.after is not None and call.after not in by_id:
                raise ValueError(f"call {call.call_id} comes after {call.after}, which is not planned")
        claimed = [(id_, number) for number, entry in enumerate(self.entries) for id_ in entry.calls]
        if sorted(claimed) != sorted((call.call_id, call.entry) for call in self.calls):
            raise ValueError("the entries' calls are not the plan's calls")
        return self
