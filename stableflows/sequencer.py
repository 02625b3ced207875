"""The only place that decides which stages run, in what order and with what configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from stableflows.config import ExtrasUpscale, GenerationConfig, PipelineConfig
from stableflows.config.base import Strict
from stableflows.config.flat import nested
from stableflows.config.generation import Sampling
from stableflows.config.layers import explain
from stableflows.errors import InvalidInputs, InvalidStagePlanError
from stableflows.stages import StageExecution, StageExecutionPlan, StageType

__all__ = ["StageSequencer", "pipeline_config"]

DEFAULT_SAMPLING: dict[str, Any] = {"sampler": "Euler", "steps": 20, "cfg_scale": 7.0}
MODEL_FIELDS = ("checkpoint", "vae", "clip_skip")


def pipeline_config(config: PipelineConfig | Mapping[str, Any]) -> PipelineConfig:
    """`config` as a model; a mapping may be in the flat form.

    Raises:
        InvalidInputs: every field that is unknown, of a wrong type or out of range.
    """
    if isinstance(config, PipelineConfig):
        return config
    values, _ = nested(config)
    try:
        return PipelineConfig.model_validate(values)
    except ValidationError as error:
        raise InvalidInputs(explain(error, PipelineConfig)) from None


class StageSequencer:
    """Turns a pipeline config into the plan of one entry."""

    def build_plan(
        self, config: PipelineConfig | Mapping[str, Any], *, of_finished_images: bool = False
    ) -> StageExecutionPlan:
        """The stages that are enabled, in the order txt2img, img2img, upscale, adetailer.

        Each generation stage takes the sampling fields that it leaves open from the one before it, the
        first from the pipeline's `checkpoint`, `vae`, `clip_skip` and the defaults. All toggles off gives
        an empty plan.

        Args:
            of_finished_images: what the first stage continues was generated before, and brings its prompt.

        Raises:
            InvalidInputs: the mapping is no valid pipeline config.
            InvalidStagePlanError: ADetailer without a generation stage; hires or refiner while txt2img
                is off.
        """
        pipeline = pipeline_config(config)
        enabled = [stage for stage in StageType if getattr(pipeline, stage.value).enabled]
        self._refuse_nonsense(pipeline, enabled, of_finished_images)
        inherited: dict[str, Any] = {
            **DEFAULT_SAMPLING,
            **{field: getattr(pipeline, field) for field in MODEL_FIELDS},
        }
        stages = []
        for stage in enabled:
            own: Strict = getattr(pipeline, stage.value)
            if isinstance(own, GenerationConfig):
                own = _inherit(own, inherited)
                inherited = {field: getattr(own, field) for field in Sampling.model_fields}
            stages.append(StageExecution(stage_type=stage, config_key=stage.value, config=own))
        return StageExecutionPlan(stages=tuple(stages))

    def _refuse_nonsense(
        self, pipeline: PipelineConfig, enabled: list[StageType], of_finished_images: bool
    ) -> None:
        generating = of_finished_images or {StageType.TXT2IMG, StageType.IMG2IMG} & set(enabled)
        if StageType.ADETAILER in enabled and not generating:
            raise InvalidStagePlanError(
                "ADetailer requires at least one generation stage (txt2img or img2img)."
            )
        if StageType.TXT2IMG not in enabled:
            for part in ("hires", "refiner"):
                if getattr(pipeline.txt2img, part).enabled:
                    raise InvalidStagePlanError(
                        f"txt2img.{part} is on while txt2img is off; enable txt2img, or switch {part} off."
                    )
        if (
            enabled == [StageType.UPSCALE]
            and pipeline.count > 1
            and isinstance(pipeline.upscale, ExtrasUpscale)
        ):
            raise InvalidStagePlanError(
                f"count is {pipeline.count}, but upscaling an image {pipeline.count} times "
                "gives the same image each time; leave count out."
            )


def _inherit(own: GenerationConfig, inherited: Mapping[str, Any]) -> GenerationConfig:
    taken = {
        field: value
        for field, value in inherited.items()
        if value is not None and getattr(own, field) is None
    }
    return own.model_copy(update=taken)
