"""What the readers of other programs' metadata share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stableflows.config.generation import MAX_SEED
from stableflows.images.metadata import Program
from stableflows.images.recipe import Recipe, Unreadable

__all__ = ["Common", "Foreign", "lora_tags", "model_name", "recipe_from", "validated"]

Model = TypeVar("Model", bound=BaseModel)


class Foreign(BaseModel):
    """Of others' data: what is not named here is not read."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class Common(Foreign):
    seed: int | None = Field(None, ge=0)
    steps: int | None = Field(None, ge=1, le=150)
    width: int | None = None
    height: int | None = None


def recipe_from(
    program: Program,
    common: Common,
    *,
    prompt: str,
    negative_prompt: str,
    sampling: Mapping[str, Any],
    models: Mapping[str, Any],
    obstacles: tuple[str, ...] = (),
) -> Recipe:
    """What the readers of all programs end with."""
    if common.seed is not None and common.seed > MAX_SEED:
        raise Unreadable(f"its seed {common.seed} is larger than those of a WebUI (at most {MAX_SEED})")
    txt2img = {**common.model_dump(exclude_none=True), **sampling}
    return Recipe(
        prompt=prompt.strip(),
        negative_prompt=negative_prompt.strip(),
        config={"txt2img": {key: value for key, value in txt2img.items() if value is not None}, **models},
        seed=common.seed,
        obstacles=obstacles if prompt.strip() else (*obstacles, "it holds no prompt"),
        program=str(program),
        foreign=True,
    )


def model_name(name: str | None) -> dict[str, str]:
    """A checkpoint as a setting, without folder and suffix, by which a WebUI lists it."""
    stem = re.split(r"[/\\]", name)[-1] if name else ""
    return {"checkpoint": re.sub(r"\.(safetensors|ckpt|sft|gguf)$", "", stem)} if stem else {}


def lora_tags(loras: Mapping[str, float]) -> str:
    return "".join(
        f" <lora:{model_name(name).get('checkpoint', name)}:{weight:g}>" for name, weight in loras.items()
    )


def validated(model: type[Model], data: Any, program: Program) -> Model:
    """Raises: Unreadable: the data is not of the form that the program writes."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise Unreadable(f"its {program} metadata cannot be read: {field}: {first['msg'].lower()}") from None
