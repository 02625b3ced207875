"""Stage types, and the plan of one entry: which stages run, in what order, with what."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from pydantic import ConfigDict, SerializeAsAny, computed_field

from stableflows.config.base import Many, Strict
from stableflows.config.generation import GenerationConfig, Txt2ImgConfig

__all__ = ["StageExecution", "StageExecutionPlan", "StageType"]


class StageType(StrEnum):
    """What a stage does. The order of definition is the order in which stages run."""

    TXT2IMG = "txt2img"
    IMG2IMG = "img2img"
    UPSCALE = "upscale"
    ADETAILER = "adetailer"


GENERATION = frozenset({StageType.TXT2IMG, StageType.IMG2IMG})


class StageExecution(Many):
    """One stage of a plan, with its whole configuration: nothing is left to be inherited.

    Hires and refiner are metadata of the txt2img stage, read from its config; they are never stages.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage_type: StageType
    config_key: str
    """Where the config stood in the pipeline config: `txt2img`, `img2img`, `upscale`, `adetailer`."""
    config: SerializeAsAny[Strict]

    @property
    def generation(self) -> GenerationConfig | None:
        """The config, if this stage samples (all but an upscale through extras)."""
        return self.config if isinstance(self.config, GenerationConfig) else None

    @property
    def _txt2img(self) -> Txt2ImgConfig | None:
        return self.config if isinstance(self.config, Txt2ImgConfig) else None

    def _of_refiner(self, field: str) -> Any:
        txt2img = self._txt2img
        return getattr(txt2img.refiner, field) if txt2img and txt2img.refiner.enabled else None

    def _of_hires(self, field: str) -> Any:
        txt2img = self._txt2img
        return getattr(txt2img.hires, field) if txt2img and txt2img.hires.enabled else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def refiner_enabled(self) -> bool:
        return bool(self._of_refiner("enabled"))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def refiner_model_name(self) -> str | None:
        name: str | None = self._of_refiner("checkpoint")
        return name

    @computed_field  # type: ignore[prop-decorator]
    @property
    def refiner_switch_at(self) -> float | None:
        """Fraction of the sampling."""
        at: float | None = self._of_refiner("switch_at")
        return at

    @computed_field  # type: ignore[prop-decorator]
    @property
    def refiner_switch_step(self) -> int | None:
        step: int | None = self._of_refiner("switch_step")
        return step

    @computed_field  # type: ignore[prop-decorator]
    @property
    def hires_enabled(self) -> bool:
        return bool(self._of_hires("enabled"))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def hires_upscaler_name(self) -> str | None:
        name: str | None = self._of_hires("upscaler")
        return name

    @computed_field  # type: ignore[prop-decorator]
    @property
    def hires_denoise_strength(self) -> float | None:
        strength: float | None = self._of_hires("denoising_strength")
        return strength

    @computed_field  # type: ignore[prop-decorator]
    @property
    def hires_scale_factor(self) -> float | None:
        scale: float | None = self._of_hires("scale")
        return scale

    @computed_field  # type: ignore[prop-decorator]
    @property
    def adetailer_enabled(self) -> bool:
        return self.stage_type is StageType.ADETAILER


class StageExecutionPlan(Many):
    """The stages of one entry in the order in which they run. Iterating it gives its stages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stages: tuple[StageExecution, ...] = ()

    def __iter__(self) -> Iterator[StageExecution]:  # type: ignore[override]
        return iter(self.stages)

    def __len__(self) -> int:
        return len(self.stages)

    def is_empty(self) -> bool:
        return not self.stages

    def has_generation_stage(self) -> bool:
        """Whether txt2img or img2img is in the plan."""
        return any(stage.stage_type in GENERATION for stage in self.stages)

    def get_stage_types(self) -> list[StageType]:
        return [stage.stage_type for stage in self.stages]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def mode(self) -> str:
        """`txt2img_only`, `txt2img_then_upscale`, ...; `empty` for a plan without stages."""
        names = [stage.stage_type.value for stage in self.stages]
        if not names:
            return "empty"
        return f"{names[0]}_only" if len(names) == 1 else "_then_".join(names)

    @property
    def needs_input_images(self) -> bool:
        """Whether the first stage continues images rather than drawing them from a prompt."""
        return bool(self.stages) and self.stages[0].stage_type is not StageType.TXT2IMG
