"""A job: what is submitted, previewed and recorded. Packs, pipeline config and run config as one record."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, ConfigDict, Field, JsonValue, ValidationError, model_validator

from stableflows.config.base import Many, Strict
from stableflows.config.generation import Seed
from stableflows.config.layers import Layer, explain
from stableflows.errors import InvalidInputs
from stableflows.packs.model import Globals

__all__ = ["EntrySpec", "Job", "JobItem", "Lora", "RunConfig", "RunMode", "SubmittedAs", "SweepPoint"]


RunMode = Literal["direct", "queue"]
SubmittedAs = Literal["run", "run_now", "add_to_queue", "schedule", "ui", "cli", "api"]


class Lora(Strict):
    """A LoRA appended to every positive prompt as `<lora:name:weight>`, unless it stands there."""

    name: str
    weight: Annotated[float, Field(ge=-10, le=10)] = 1.0

    @property
    def tag(self) -> str:
        return f"<lora:{self.name}:{self.weight:g}>"


class RunConfig(Strict):
    """How a job runs, and settings of the whole job, which win over pack and entry. None: left open."""

    run_mode: RunMode = "direct"
    source: SubmittedAs = "cli"
    prompt_source: Literal["text", "pack", "image"] = "pack"
    prompt_pack_id: str | None = None
    config_hash: str | None = None
    learning: bool = False
    randomizer: dict[str, JsonValue] | None = None
    txt2img_enabled: bool | None = None
    img2img_enabled: bool | None = None
    upscale_enabled: bool | None = None
    adetailer_enabled: bool | None = None
    width: Annotated[int | None, Field(ge=8, le=16384)] = None
    height: Annotated[int | None, Field(ge=8, le=16384)] = None
    batch_size: Annotated[int | None, Field(ge=1, le=64)] = None
    upscale_factor: Annotated[float | None, Field(ge=1, le=8)] = None
    upscale_model: str | None = None
    upscale_tile_size: Annotated[int | None, Field(ge=0, le=2048)] = None
    loras: tuple[Lora, ...] = ()
    on_memory_error: Literal["fail", "smaller"] = "fail"

    @classmethod
    def read(cls, layer: Layer) -> RunConfig:
        """A run config as somebody wrote it.

        Raises:
            InvalidInputs: everything that is wrong, with file, line and field.
        """
        try:
            return cls.model_validate(dict(layer.values))
        except ValidationError as error:
            raise InvalidInputs(explain(error, cls, layer=layer)) from None

    def settings(self) -> dict[str, Any]:
        """The job-wide settings as a config layer in the flat and nested forms' words."""
        toggles = {
            f"{stage}_enabled": getattr(self, f"{stage}_enabled")
            for stage in ("txt2img", "img2img", "upscale", "adetailer")
        }
        txt2img = {"width": self.width, "height": self.height, "batch_size": self.batch_size}
        upscale = {
            "factor": self.upscale_factor,
            "upscaler": self.upscale_model,
            "tile_size": self.upscale_tile_size,
        }
        layer: dict[str, Any] = {name: value for name, value in toggles.items() if value is not None}
        for stage, settings in (("txt2img", txt2img), ("upscale", upscale)):
            given = {name: value for name, value in settings.items() if value is not None}
            if given:
                layer[stage] = given
        return layer


class SweepPoint(Strict):
    """Which point of a sweep an entry is."""

    of: str
    """The same for all points of one sweep, and for no other."""
    axes: tuple[dict[str, JsonValue], ...]
    """For each axis, the slowest first, its fields and their values."""


class EntrySpec(Strict):
    """One prompt, as the job has it: nothing in it is left to be drawn.

    Attributes:
        inputs: the images that its first stage continues, by SHA-256; their files are in the store.
    """

    prompt: str = ""
    negative_prompt: str = ""
    name: str | None = None
    globals: Globals = Globals()
    inputs: tuple[str, ...] = ()
    sweep: SweepPoint | None = None


class JobItem(Many):
    """One entry of a pack in a job."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    pack_id: str = Field("", validation_alias=AliasChoices("pack_id", "id"))
    name: str = ""
    """The pack's name."""
    entry: EntrySpec = EntrySpec()
    config_snapshot: dict[str, JsonValue] = Field(default_factory=dict)
    """The config of pack and entry, as a diff in the nested form."""
    randomizer: dict[str, JsonValue] | None = None
    """What was chosen for its prompts and its sweep, `{seed, values: {name: chosen}}`; None: nothing was."""

    @property
    def chosen(self) -> dict[str, Any]:
        """What was chosen for it, by name."""
        values = (self.randomizer or {}).get("values")
        return values if isinstance(values, dict) else {}

    @model_validator(mode="before")
    @classmethod
    def _prompt_may_stand_in_the_config(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        entry, config = dict(data.get("entry") or {}), dict(data.get("config_snapshot") or {})
        for field in ("prompt", "negative_prompt"):
            fallback = config.pop(field, None)
            if not entry.get(field) and fallback:
                entry[field] = fallback
        return {**data, "entry": entry, "config_snapshot": config}


class Job(Strict):
    """Everything that decides what a run renders, but for draws of seed -1 and the server's own state."""

    version: Literal[1] = 1
    name: str
    packs: tuple[JobItem, ...] = ()
    pipeline: dict[str, JsonValue] = Field(default_factory=dict)
    """The job's config, below packs and entries, as a diff in the nested form."""
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    """The command line's config, above all others."""
    run_config: RunConfig = RunConfig()
    seed: Annotated[int, Field(ge=0)] = 0
    """What seeds that are left out are derived from."""
    first_seed: Seed | None = None
    """Of every entry's first image, in place of what packs say."""

    @property
    def job_id(self) -> str:
        """SHA-256 of the job's content: the same job has the same id."""
        return _sha256(self.model_dump(mode="json"))

    @property
    def config_hash(self) -> str:
        """What the job's maker calls its config, else SHA-256 of the config above and below the packs."""
        return self.run_config.config_hash or _sha256({"pipeline": self.pipeline, "settings": self.settings})

    @property
    def mode(self) -> Literal["prompt_pack_batch", "single"]:
        return "single" if self.run_config.prompt_source == "text" else "prompt_pack_batch"


def _sha256(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
