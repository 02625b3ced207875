"""The runner seam: drives one entry's plan through any `run_stage`, a stub in a test for instance."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from PIL import Image, UnidentifiedImageError

from stableflows.calls import FirstSeeds, next_request
from stableflows.config import PipelineConfig, Txt2ImgConfig
from stableflows.payload import SourceImage, Texts
from stableflows.sequencer import StageSequencer
from stableflows.stages import StageExecutionPlan, StageType

__all__ = ["RunStage", "run_plan"]

RunStage = Callable[[StageType, dict[str, Any]], Mapping[str, Any]]
"""(stage type, request body) -> {"images": [...], "meta": {...}}; images as base64, or whatever the
runner hands on."""


class Flag(Protocol):
    """What can be asked whether it is set: a threading or an asyncio event."""

    def is_set(self) -> bool: ...


def run_plan(
    plan_or_config: StageExecutionPlan | PipelineConfig | Mapping[str, Any],
    run_stage: RunStage,
    *,
    cancel: Flag | None = None,
    log: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Run the stages of one entry in order, every image of a stage going into the next.

    Args:
        plan_or_config: a plan, or a pipeline config (model, nested or flat mapping) to make one from. The
            prompt is the first stage's own; `init_images` of a mapping are what the first stage continues.
        run_stage: renders one call.
        cancel: looked at before each stage; once set, no further stage starts and what is finished is kept.
        log: gets a line at each stage's start and stop.

    Returns:
        {"images": [...], "meta": {...}}: the images of the last finished stage and what each stage said.
        An empty plan gives {"images": [], "meta": {}} and no call.

    Raises:
        InvalidInputs, InvalidStagePlanError: the config makes no plan.
        ValueError: the first stage continues images, and there are none.
    """
    say = log or (lambda _line: None)
    inputs: list[Any] = []
    if isinstance(plan_or_config, Mapping):
        given = dict(plan_or_config)
        inputs = list(given.pop("init_images", []))
        plan_or_config = given
    plan = (
        plan_or_config
        if isinstance(plan_or_config, StageExecutionPlan)
        else StageSequencer().build_plan(plan_or_config)
    )
    if plan.needs_input_images and not inputs:
        raise ValueError(f"the first stage is {plan.stages[0].stage_type}; give it init_images to continue")
    images = [_source(image, None) for image in inputs]
    meta: dict[str, Any] = {}
    for number, execution in enumerate(plan):
        if cancel is not None and cancel.is_set():
            say(f"cancelled before {execution.stage_type}")
            break
        say(f"{execution.stage_type} starts")
        texts = _texts(plan)
        batches: list[tuple[SourceImage | None, int]]
        if execution.stage_type is StageType.TXT2IMG:
            config = execution.config
            batches = [(None, config.batch_size if isinstance(config, Txt2ImgConfig) else 1)]
        else:
            batches = [(image, 1) for image in images]
        made: list[SourceImage] = []
        answers = []
        for source, n in batches:
            first = FirstSeeds(execution.generation.seed if execution.generation else None)
            request = next_request(
                execution, texts, first=first if number == 0 else FirstSeeds(), source=source, n=n
            )
            answer = run_stage(execution.stage_type, request.body)
            answers.append(dict(answer.get("meta") or {}))
            seed = request.body.get("seed", source.seed if source else None)
            made += [
                _source(image, None if seed is None else seed + place, request.size)
                for place, image in enumerate(answer["images"])
            ]
        images = made
        meta[execution.stage_type.value] = answers[0] if len(answers) == 1 else answers
        say(f"{execution.stage_type} stops: {len(images)} image{'s' * (len(images) != 1)}")
    return {"images": [image.data for image in images] if meta else [], "meta": meta}


def _texts(plan: StageExecutionPlan) -> Texts:
    first = next((stage.generation for stage in plan if stage.generation), None)
    return Texts((first and first.prompt) or "", (first and first.negative_prompt) or "")


def _source(image: Any, seed: int | None, size: tuple[int, int] | None = None) -> SourceImage:
    """An image with its own size where it can be decoded, else the one that the request asked for."""
    if isinstance(image, str):
        try:
            data = base64.b64decode(image.rpartition("base64,")[2], validate=True)
            with Image.open(io.BytesIO(data)) as decoded:
                size = decoded.size
        except (binascii.Error, ValueError, UnidentifiedImageError):
            pass  # a stub's image: a name, a path, anything
    return SourceImage(image, size, seed)
