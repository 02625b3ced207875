"""The ADetailer stage: find faces, hands or persons, and repaint each larger.

Argument names, types and ranges are those of ADetailer 25.3.0. The extension drops a unit without a word
when it has a key it does not know or a value out of range, so both are refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from stableflows.config.base import Local, Strict
from stableflows.config.generation import Fraction, GenerationConfig
from stableflows.webui.kinds import NameKind

__all__ = ["ADetailerConfig", "ADetailerUnit"]

Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]

TOGGLES = {
    "ad_use_inpaint_width_height": ("ad_inpaint_width", "ad_inpaint_height"),
    "ad_use_steps": ("ad_steps",),
    "ad_use_cfg_scale": ("ad_cfg_scale",),
    "ad_use_checkpoint": ("ad_checkpoint",),
    "ad_use_vae": ("ad_vae",),
    "ad_use_sampler": ("ad_sampler", "ad_scheduler"),
    "ad_use_noise_multiplier": ("ad_noise_multiplier",),
    "ad_use_clip_skip": ("ad_clip_skip",),
}
"""A toggle, and the values that are without effect while it is off."""


class ADetailerUnit(Strict):
    """One detection model and how what it finds is repainted. None: left to the extension's default.

    A value turns its `ad_use_...` toggle on; a toggle set to false keeps its values out of the request.
    """

    ad_model: Annotated[str, NameKind.AD_MODEL] = "face_yolov8n.pt"
    ad_model_classes: str | None = None
    ad_tab_enable: bool | None = None
    ad_prompt: str | None = None
    """Left open or empty: the stage's prompt."""
    ad_negative_prompt: str | None = None
    ad_confidence: Fraction | None = None
    ad_mask_filter_method: Literal["Area", "Confidence"] | None = None
    ad_mask_k: Natural | None = None
    ad_mask_min_ratio: Fraction | None = None
    ad_mask_max_ratio: Fraction | None = None
    ad_dilate_erode: int | None = None
    ad_x_offset: int | None = None
    ad_y_offset: int | None = None
    ad_mask_merge_invert: Literal["None", "Merge", "Merge and Invert"] | None = None
    ad_mask_blur: Natural | None = None
    ad_denoising_strength: Fraction | None = None
    ad_inpaint_only_masked: bool | None = None
    ad_inpaint_only_masked_padding: Natural | None = None
    ad_use_inpaint_width_height: bool | None = None
    ad_inpaint_width: Positive | None = None
    ad_inpaint_height: Positive | None = None
    ad_use_steps: bool | None = None
    ad_steps: Positive | None = None
    ad_use_cfg_scale: bool | None = None
    ad_cfg_scale: Annotated[float | None, Field(ge=0)] = None
    ad_use_checkpoint: bool | None = None
    ad_checkpoint: Annotated[str | None, NameKind.CHECKPOINT] = None
    ad_use_vae: bool | None = None
    ad_vae: Annotated[str | None, NameKind.VAE] = None
    ad_use_sampler: bool | None = None
    ad_sampler: Annotated[str | None, NameKind.SAMPLER] = None
    ad_scheduler: str | None = None
    """A scheduler's label, or "Use same scheduler"."""
    ad_use_noise_multiplier: bool | None = None
    ad_noise_multiplier: Annotated[float | None, Field(ge=0.5, le=1.5)] = None
    ad_use_clip_skip: bool | None = None
    ad_clip_skip: Annotated[int | None, Field(ge=1, le=12)] = None
    ad_restore_face: bool | None = None
    ad_controlnet_model: str | None = None
    ad_controlnet_module: str | None = None
    ad_controlnet_weight: Fraction | None = None
    ad_controlnet_guidance_start: Fraction | None = None
    ad_controlnet_guidance_end: Fraction | None = None

    @model_validator(mode="before")
    @classmethod
    def _toggles_follow_values(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        unit = dict(data)
        for toggle, values in TOGGLES.items():
            given = [name for name in values if unit.get(name) is not None]
            if unit.get(toggle) is False:
                unit = {key: value for key, value in unit.items() if key not in given}
            elif given:
                unit[toggle] = True
        return unit

    @model_validator(mode="after")
    def _models_are_named(self) -> ADetailerUnit:
        if self.ad_use_checkpoint and not self.ad_checkpoint:
            raise ValueError("ad_use_checkpoint is on but ad_checkpoint names none")
        if self.ad_use_vae and not self.ad_vae:
            raise ValueError("ad_use_vae is on but ad_vae names none")
        return self


class ADetailerConfig(GenerationConfig):
    """ADetailer as a stage of its own: an img2img call whose base pass is skipped."""

    units: Local[Annotated[tuple[ADetailerUnit, ...], Field(min_length=1)]] = (ADetailerUnit(),)

    @model_validator(mode="before")
    @classmethod
    def _one_unit_may_stand_alone(cls, data: object) -> object:
        if not isinstance(data, dict) or "units" in data:
            return data
        unit = {key: value for key, value in data.items() if str(key).startswith("ad_")}
        rest = {key: value for key, value in data.items() if key not in unit}
        return {**rest, "units": [unit]} if unit else data

    @field_validator("alwayson_scripts")
    @classmethod
    def _units_have_a_field(cls, value: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if any(title.casefold() == "adetailer" for title in value or {}):
            raise ValueError("the stage makes ADetailer's arguments; set them through the field `units`")
        return value
