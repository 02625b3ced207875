"""The whole configuration of an entry: which stages run, and how."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stableflows.config.adetailer import ADetailerConfig
from stableflows.config.base import Strict
from stableflows.config.generation import Img2ImgConfig, Txt2ImgConfig
from stableflows.config.upscale import ExtrasUpscale, UpscaleConfig
from stableflows.webui.kinds import NameKind

__all__ = ["PipelineConfig"]


class PipelineConfig(Strict):
    """One config a stage, and what they share. A stage runs if it is enabled."""

    checkpoint: Annotated[str | None, NameKind.CHECKPOINT] = None
    """For the first generation stage, unless it names its own; later stages follow the one before them."""
    vae: Annotated[str | None, NameKind.VAE] = None
    clip_skip: Annotated[int | None, Field(ge=1, le=12)] = None
    count: Annotated[int, Field(ge=1, le=1000)] = 1
    """Images an entry (with input images: an input image), with seeds seed, seed+1, ..."""
    names: str | None = None
    """Template of the finished images' names, such as "{pack}/{entry:04}-{slug}-{seed}"; see
    `stableflows.run.name_template`. It decides no pixel."""
    txt2img: Txt2ImgConfig = Txt2ImgConfig()
    img2img: Img2ImgConfig = Img2ImgConfig()
    upscale: UpscaleConfig = ExtrasUpscale()
    adetailer: ADetailerConfig = ADetailerConfig()
