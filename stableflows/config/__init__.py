"""Configuration models: frozen, and an unknown key is an error."""

from stableflows.config.adetailer import ADetailerConfig, ADetailerUnit
from stableflows.config.generation import (
    GenerationConfig,
    HiresConfig,
    Img2ImgConfig,
    RefinerConfig,
    Txt2ImgConfig,
)
from stableflows.config.pipeline import PipelineConfig
from stableflows.config.upscale import ExtrasUpscale, Img2ImgUpscale, SDUpscale, UpscaleConfig

__all__ = [
    "ADetailerConfig",
    "ADetailerUnit",
    "ExtrasUpscale",
    "GenerationConfig",
    "HiresConfig",
    "Img2ImgConfig",
    "Img2ImgUpscale",
    "PipelineConfig",
    "RefinerConfig",
    "SDUpscale",
    "Txt2ImgConfig",
    "UpscaleConfig",
]
