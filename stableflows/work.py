"""How much a call has to do, in units that decide how long a server takes over it.

Sources: the WebUI's own step counts (AUTOMATIC1111 v1.10.1): img2img runs the share of the steps that its
denoising strength leaves; a hires pass runs all of its own. ADetailer 25.3.0 repaints each find at the size
of the request unless a unit names another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from stableflows.calls import StageCall
from stableflows.config import ADetailerConfig, ADetailerUnit, Img2ImgConfig, Txt2ImgConfig
from stableflows.config.generation import GenerationConfig
from stableflows.config.upscale import ExtrasUpscale, Img2ImgUpscale, SDUpscale
from stableflows.entries import Entry
from stableflows.payload import output_size
from stableflows.stages import StageExecution

__all__ = ["Work", "work_of"]

Size = tuple[int, int]

_STEPS = 20
"""Steps of a stage that leaves them open."""
_UNIT_STRENGTH, _UNIT_STEPS = 0.4, 28
"""ADetailer's own defaults."""


@dataclass(frozen=True)
class Work:
    """What a call has to do.

    Attributes:
        kind: stage type; of upscaling its form too, for they have nothing in common.
        model: the checkpoint that it enters with, or the upscaler; empty: the server's own.
        sampler: "" where nothing is sampled.
        steps: sampling steps, of all its passes, tiles and units.
        megapixel_steps: the same, each times the million pixels that it works on.
        megapixels: million pixels of the images that come back.
    """

    kind: str
    model: str
    sampler: str
    steps: int
    megapixel_steps: float
    megapixels: float

    @property
    def samples(self) -> bool:
        """Whether it is diffusion, so that its steps cost about what those of other stages cost."""
        return self.steps > 0


def work_of(call: StageCall, entry: Entry) -> Work:
    """A call's work. An image whose size nobody knows counts as 512 by 512."""
    source: Size | None = None
    if entry.inputs:
        image = entry.inputs[min(call.index // entry.count, len(entry.inputs) - 1)]
        source = (image.width, image.height)
    stages = entry.plan.stages
    for execution in stages[: call.stage]:
        source = output_size(execution, source)
    execution = stages[call.stage]
    size = output_size(execution, source) or source or (512, 512)
    passes = list(_passes(execution, source or size, size))
    config = execution.generation
    kind = execution.stage_type.value
    if config is None or isinstance(config, Img2ImgUpscale | SDUpscale):
        kind = f"{kind} {execution.config.mode}"  # type: ignore[attr-defined]
    return Work(
        kind=kind,
        model=(config.checkpoint or "") if config else str(getattr(execution.config, "upscaler", "")),
        sampler=(config.sampler or "") if config else "",
        steps=sum(steps for steps, _ in passes),
        megapixel_steps=round(call.n * sum(steps * megapixels for steps, megapixels in passes), 4),
        megapixels=round(call.n * _megapixels(size), 4),
    )


def _passes(execution: StageExecution, source: Size, size: Size) -> Iterator[tuple[int, float]]:
    """Steps and million pixels of each sampling on the way."""
    config = execution.config
    if isinstance(config, ExtrasUpscale) or not isinstance(config, GenerationConfig):
        return
    steps = config.steps or _STEPS
    match config:
        case Txt2ImgConfig():
            yield steps, _megapixels((config.width, config.height))
            if config.hires.enabled:
                yield config.hires.steps or steps, _megapixels(size)
        case ADetailerConfig():
            yield 1, _megapixels((128, 128))  # the base pass that is skipped
            for unit in config.units:
                yield _unit_steps(unit, steps), _megapixels(_unit_size(unit, source))
        case SDUpscale():
            tile = config.tile_size
            stride = max(1, tile - config.tile_overlap)
            tiles = ceil(max(1, size[0] - config.tile_overlap) / stride) * ceil(
                max(1, size[1] - config.tile_overlap) / stride
            )
            yield tiles * _left(config.denoising_strength, steps), _megapixels((tile, tile))
        case Img2ImgConfig() if config.width and config.height:
            yield _left(config.denoising_strength, steps), _megapixels((config.width, config.height))
        case Img2ImgConfig() | Img2ImgUpscale():
            yield _left(config.denoising_strength, steps), _megapixels(size)


def _left(strength: float, steps: int) -> int:
    """The steps that img2img really runs."""
    return max(1, min(int(min(strength, 0.999) * steps) + 1, steps))


def _unit_steps(unit: ADetailerUnit, steps: int) -> int:
    strength = _UNIT_STRENGTH if unit.ad_denoising_strength is None else unit.ad_denoising_strength
    own = (unit.ad_steps or _UNIT_STEPS) if unit.ad_use_steps else steps
    return max(1, int(strength * own))


def _unit_size(unit: ADetailerUnit, source: Size) -> Size:
    if unit.ad_use_inpaint_width_height:
        return unit.ad_inpaint_width or 512, unit.ad_inpaint_height or 512
    return source


def _megapixels(size: Size) -> float:
    return size[0] * size[1] / 1e6
