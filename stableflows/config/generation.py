"""The generation stages: txt2img (with hires and refiner) and img2img (with masks).

Defaults are those of the WebUI's own page, except where a docstring says otherwise. None means "left
open": then the field is not sent, or is taken from where its docstring says. Field facts: the OpenAPI
document of AUTOMATIC1111 v1.10.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from stableflows.config.base import Local, Strict
from stableflows.webui.kinds import NameKind

__all__ = [
    "MAX_SEED",
    "GenerationConfig",
    "HiresConfig",
    "Img2ImgConfig",
    "RefinerConfig",
    "Sampling",
    "Seed",
    "Side",
    "Txt2ImgConfig",
]

MAX_SEED = 2**32 - 1
"""Largest seed that the WebUI itself draws."""

Seed = Annotated[int, Field(ge=-1, le=MAX_SEED)]
Side = Annotated[int, Field(ge=8, le=16384)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Steps = Annotated[int, Field(ge=1, le=150)]

MANAGED_OPTIONS = {
    "sd_model_checkpoint": "checkpoint",
    "sd_vae": "vae",
    "CLIP_stop_at_last_layers": "clip_skip",
    "refiner_switch_by_sample_steps": "refiner.switch_step",
}


class Sampling(Strict):
    """How an image is sampled. A later stage takes each of these that it leaves open from the generation
    stage before it, the first from the pipeline or its default."""

    sampler: Annotated[str | None, NameKind.SAMPLER] = Field(None, serialization_alias="sampler_name")
    """Default "Euler", the API's own."""
    scheduler: Annotated[str | None, NameKind.SCHEDULER] = None
    """Noise schedule, by name or label. Left open, the server takes the sampler's own ("Automatic")."""
    steps: Steps | None = None
    """Sampling steps; default 20 (the page's; the API's own 50 is nobody's choice)."""
    cfg_scale: Annotated[float | None, Field(ge=0, le=100)] = None
    """Classifier-free guidance scale; default 7."""
    styles: Annotated[tuple[str, ...] | None, NameKind.STYLE] = None
    tiling: bool | None = None
    eta: Annotated[float | None, Field(ge=0)] = None
    s_min_uncond: Annotated[float | None, Field(ge=0)] = None
    s_churn: Annotated[float | None, Field(ge=0)] = None
    s_tmin: Annotated[float | None, Field(ge=0)] = None
    s_tmax: Annotated[float | None, Field(ge=0)] = None
    s_noise: Annotated[float | None, Field(ge=0)] = None
    checkpoint: Local[Annotated[str | None, NameKind.CHECKPOINT]] = None
    """Left open everywhere, the one the server has loaded when the run starts."""
    vae: Local[Annotated[str | None, NameKind.VAE]] = None
    """A VAE's file name with extension, "None", or "Automatic"."""
    clip_skip: Local[Annotated[int | None, Field(ge=1, le=12)]] = None
    override_settings: Local[dict[str, JsonValue] | None] = None
    """Other server options for these requests, by their names in GET /sdapi/v1/options."""

    @field_validator("override_settings")
    @classmethod
    def _managed_options_have_fields(cls, value: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        for option in value or {}:
            if option in MANAGED_OPTIONS:
                raise ValueError(f"set {option} through the field `{MANAGED_OPTIONS[option]}`")
        return value


class GenerationConfig(Sampling):
    """What txt2img, img2img and ADetailer requests have in common."""

    enabled: Local[bool] = False
    prompt: Local[str | None] = None
    """In place of the entry's prompt."""
    negative_prompt: Local[str | None] = None
    seed: Local[Seed | None] = None
    """-1 draws anew at each run. Left open: derived from the job's seed and the entry's content; in a
    later stage, the seed of the image that it continues."""
    subseed: Local[Seed | None] = None
    """Variation seed; of effect only with a subseed_strength above 0. Left open or -1: as for `seed`."""
    subseed_strength: Fraction | None = None
    seed_resize_from_w: Side | None = None
    seed_resize_from_h: Side | None = None
    restore_faces: bool | None = None
    alwayson_scripts: Local[dict[str, JsonValue] | None] = None
    """Always-on scripts by title, each {"args": [...]}, passed through (ControlNet and others). A value
    {"image_file": PATH} anywhere inside is replaced by that image."""

    @field_validator("alwayson_scripts")
    @classmethod
    def _scripts_have_args(cls, value: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        for title, script in (value or {}).items():
            # The WebUI ignores any other shape without a word.
            if not (isinstance(script, Mapping) and isinstance(script.get("args"), list)):
                raise ValueError(f'{title!r} must be {{"args": [...]}}')
        return value


class HiresConfig(Strict):
    """The second, larger pass of txt2img ("Hires. fix")."""

    enabled: Local[bool] = False
    upscaler: Annotated[str, NameKind.HIRES_UPSCALER] = Field("Latent", serialization_alias="hr_upscaler")
    scale: Annotated[float, Field(ge=1, le=8, serialization_alias="hr_scale")] = 2.0
    width: Side | None = Field(None, serialization_alias="hr_resize_x")
    """Target size in pixels, in place of `scale`."""
    height: Side | None = Field(None, serialization_alias="hr_resize_y")
    steps: Annotated[int | None, Field(ge=0, le=150, serialization_alias="hr_second_pass_steps")] = None
    """Left open or 0: as many as the first pass."""
    denoising_strength: Fraction = 0.7
    sampler: Annotated[str | None, NameKind.SAMPLER] = Field(None, serialization_alias="hr_sampler_name")
    scheduler: Annotated[str | None, NameKind.SCHEDULER] = Field(None, serialization_alias="hr_scheduler")
    checkpoint: Annotated[str | None, NameKind.CHECKPOINT] = Field(
        None, serialization_alias="hr_checkpoint_name"
    )
    prompt: str | None = Field(None, serialization_alias="hr_prompt")
    negative_prompt: str | None = Field(None, serialization_alias="hr_negative_prompt")

    @model_validator(mode="after")
    def _both_sides(self) -> HiresConfig:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height go together; to keep the proportions use scale")
        return self


class RefinerConfig(Strict):
    """A second checkpoint that takes over in the middle of sampling."""

    enabled: Local[bool] = False
    checkpoint: Annotated[str | None, NameKind.CHECKPOINT] = Field(
        None, serialization_alias="refiner_checkpoint"
    )
    switch_at: Annotated[float | None, Field(gt=0, lt=1, serialization_alias="refiner_switch_at")] = None
    """Fraction of the sampling after which the refiner takes over; default 0.8."""
    switch_step: Local[Annotated[int | None, Field(ge=1, le=150)]] = None
    """The same as a step number; needs the server's option refiner_switch_by_sample_steps."""

    @model_validator(mode="after")
    def _is_whole(self) -> RefinerConfig:
        if self.enabled and not self.checkpoint:
            raise ValueError("the refiner is on but names no checkpoint")
        if self.switch_at is not None and self.switch_step is not None:
            raise ValueError("give switch_at or switch_step, not both")
        return self


class Txt2ImgConfig(GenerationConfig):
    """Images from a prompt."""

    width: Side = 512
    height: Side = 512
    batch_size: Local[Annotated[int, Field(ge=1, le=64)]] = 1
    """Images in one request. The same seed in another batch size gives other pixels."""
    hires: Local[HiresConfig] = HiresConfig()
    refiner: Local[RefinerConfig] = RefinerConfig()


class Img2ImgConfig(GenerationConfig):
    """Images from images; with a mask, inpainting."""

    denoising_strength: Fraction = 0.75
    width: Side | None = None
    """Left open: the input's own size (the API's own default is 512)."""
    height: Side | None = None
    resize_mode: Literal[0, 1, 2, 3] = 0
    """0 stretch, 1 crop, 2 fill, 3 latent upscale."""
    image_cfg_scale: Annotated[float | None, Field(ge=0)] = None
    initial_noise_multiplier: Annotated[float | None, Field(ge=0)] = None
    mask: Local[str | None] = None
    """An image file, relative to the pack; white is repainted. In a job, a reference to its content.
    The fields below reach the request only with it."""
    mask_blur: Annotated[int | None, Field(ge=0)] = None
    mask_blur_x: Annotated[int | None, Field(ge=0)] = None
    mask_blur_y: Annotated[int | None, Field(ge=0)] = None
    mask_round: bool | None = None
    inpainting_fill: Literal[0, 1, 2, 3] | None = None
    """What the masked area starts from: 0 fill, 1 original, 2 latent noise, 3 latent nothing."""
    inpaint_full_res: bool | None = None
    """True: only the masked area is rendered, at full resolution."""
    inpaint_full_res_padding: Annotated[int | None, Field(ge=0)] = None
    inpainting_mask_invert: Literal[0, 1] | None = None

    @model_validator(mode="after")
    def _mask_fields_need_a_mask(self) -> Img2ImgConfig:
        needing = [
            name
            for name in type(self).model_fields
            if name.startswith(("mask_", "inpaint")) and getattr(self, name) is not None
        ]
        if self.mask is None and needing:
            raise ValueError(f"{', '.join(needing)} without a mask")
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height go together")
        return self
