"""The upscale stage, in its three forms: extras, one img2img pass, and the tiled script "SD upscale"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from stableflows.config.base import Local, Strict
from stableflows.config.generation import Fraction, GenerationConfig, Side
from stableflows.webui.kinds import NameKind

__all__ = ["ExtrasUpscale", "Img2ImgUpscale", "SDUpscale", "UpscaleConfig"]

Factor = Annotated[float, Field(ge=1, le=8)]

DEFAULT_UPSCALER = "R-ESRGAN 4x+"


class ExtrasUpscale(Strict):
    """Upscaling by `extra-single-image`: no diffusion, no checkpoint, no seed."""

    enabled: Local[bool] = False
    mode: Local[Literal["extras"]] = "extras"
    upscaler: Annotated[str, NameKind.UPSCALER] = Field(DEFAULT_UPSCALER, serialization_alias="upscaler_1")
    factor: Factor = Field(2.0, serialization_alias="upscaling_resize")
    width: Side | None = Field(None, serialization_alias="upscaling_resize_w")
    """Target size in pixels, in place of `factor`."""
    height: Side | None = Field(None, serialization_alias="upscaling_resize_h")
    crop: bool | None = Field(None, serialization_alias="upscaling_crop")
    """Crop to the target size (the default), or only fill it; with width and height only."""
    upscaler_2: Annotated[str | None, NameKind.UPSCALER] = None
    upscaler_2_visibility: Fraction | None = Field(None, serialization_alias="extras_upscaler_2_visibility")
    gfpgan_visibility: Fraction | None = None
    codeformer_visibility: Fraction | None = None
    codeformer_weight: Fraction | None = None
    upscale_first: bool | None = None
    """Upscale before restoring faces."""
    tile_size: Local[Annotated[int | None, Field(ge=0, le=2048)]] = None
    """Tile of ESRGAN and DAT upscalers in pixels (server options ESRGAN_tile and DAT_tile); 0 is untiled."""

    @model_validator(mode="after")
    def _parts_fit(self) -> ExtrasUpscale:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height go together; to keep the proportions use factor")
        if self.crop is not None and self.width is None:
            raise ValueError("crop needs width and height")
        if self.upscaler_2_visibility is not None and self.upscaler_2 is None:
            raise ValueError("upscaler_2_visibility without upscaler_2")
        if self.upscaler_2 is not None and not self.upscaler_2_visibility:
            raise ValueError("upscaler_2 is invisible: give upscaler_2_visibility above 0")
        if self.codeformer_weight is not None and not self.codeformer_visibility:
            raise ValueError("codeformer_weight is without effect: give codeformer_visibility above 0")
        return self


class Img2ImgUpscale(GenerationConfig):
    """One untiled img2img pass at the larger size; the last word in detail, and the first in memory."""

    mode: Local[Literal["img2img"]] = "img2img"
    factor: Local[Factor] = 2.0
    denoising_strength: Fraction = 0.35


class SDUpscale(GenerationConfig):
    """The WebUI's script "SD upscale": an upscaler, then img2img tile by tile."""

    mode: Local[Literal["sd_upscale"]] = "sd_upscale"
    upscaler: Local[Annotated[str, NameKind.UPSCALER]] = DEFAULT_UPSCALER
    factor: Local[Factor] = 2.0
    tile_size: Local[Annotated[int, Field(ge=64, le=2048)]] = 512
    """Width and height of a tile in pixels."""
    tile_overlap: Local[Annotated[int, Field(ge=0, le=256)]] = 64
    denoising_strength: Fraction = 0.2


def _mode(value: Any) -> str:
    return str(value.get("mode", "extras") if isinstance(value, Mapping) else getattr(value, "mode", ""))


UpscaleConfig = Annotated[
    Annotated[ExtrasUpscale, Tag("extras")]
    | Annotated[Img2ImgUpscale, Tag("img2img")]
    | Annotated[SDUpscale, Tag("sd_upscale")],
    Discriminator(
        _mode,
        custom_error_type="upscale_mode",
        custom_error_message="mode must be extras, img2img or sd_upscale",
    ),
]
