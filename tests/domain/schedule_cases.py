"""Entries for the tests of the schedule: each stage as the weights that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stableflows.config import ADetailerConfig, ADetailerUnit, Img2ImgConfig, Txt2ImgConfig
from stableflows.config.upscale import ExtrasUpscale
from stableflows.entries import Entry
from stableflows.job import EntrySpec, JobItem
from stableflows.payload import Texts
from stableflows.stages import StageExecution, StageExecutionPlan, StageType

_USUAL: dict[str, Any] = {"enabled": True, "steps": 20}
_EXTRAS = ExtrasUpscale(enabled=True)
_ITEM = JobItem(pack_id="p", name="p", entry=EntrySpec(prompt="a cat"), config_snapshot={})


def first(
    checkpoint: str | None, refiner: str | None = None, vae: str | None = None, **more: Any
) -> StageExecution:
    """txt2img; a refiner leaves its own checkpoint."""
    asked: dict[str, Any] = {**_USUAL, "checkpoint": checkpoint, "vae": vae, **more}
    if refiner:
        asked["refiner"] = {"enabled": True, "checkpoint": refiner}
    return _stage(StageType.TXT2IMG, Txt2ImgConfig(**asked))


def second(checkpoint: str | None, vae: str | None = None) -> StageExecution:
    """img2img."""
    return _stage(StageType.IMG2IMG, Img2ImgConfig(checkpoint=checkpoint, vae=vae, **_USUAL))


def extras() -> StageExecution:
    return _stage(StageType.UPSCALE, _EXTRAS)


def detailed(checkpoint: str | None, *units: str | None, vae: str | None = None) -> StageExecution:
    """ADetailer, with the checkpoint of each unit (None: the stage's)."""
    each = tuple(ADetailerUnit(ad_checkpoint=unit) for unit in units or (None,))
    return _stage(StageType.ADETAILER, ADetailerConfig(checkpoint=checkpoint, vae=vae, units=each, **_USUAL))


def _stage(kind: StageType, config: Any) -> StageExecution:
    return StageExecution(stage_type=kind, config_key=kind.value, config=config)


def entry(index: int, stages: Sequence[StageExecution], count: int = 1) -> Entry:
    plan = StageExecutionPlan(stages=tuple(stages))
    return Entry(index, _ITEM, Texts("a cat"), plan, count, None, None)


def entries_of(*plans: Sequence[StageExecution], count: int = 1) -> tuple[Entry, ...]:
    return tuple(entry(index, stages, count) for index, stages in enumerate(plans))
