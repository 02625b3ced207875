"""A stage's settings in one line, as a person would name them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stableflows.run.plan_record import PlannedStage
from stableflows.stages import StageType

__all__ = ["STAGE_WORDS", "stage_settings"]

STAGE_WORDS = {
    StageType.TXT2IMG: "drawn",
    StageType.IMG2IMG: "changed",
    StageType.UPSCALE: "enlarged",
    StageType.ADETAILER: "retouched",
}
"""What a stage did to a picture."""


def stage_settings(stage: PlannedStage) -> str:
    """`DPM++ 2M Karras · 30 steps · CFG 6 · 1024×1408 · juggernaut · hires ×1.5 Latent`."""
    config = stage.config
    parts = {
        StageType.TXT2IMG: _txt2img,
        StageType.IMG2IMG: _img2img,
        StageType.UPSCALE: _upscale,
        StageType.ADETAILER: _adetailer,
    }[stage.stage_type](config)
    return " · ".join(part for part in parts if part)


def _txt2img(config: dict[str, Any]) -> Iterator[str]:
    yield from _sampling(config)
    yield _size(config)
    yield _checkpoint(config)
    refiner, hires = config.get("refiner") or {}, config.get("hires") or {}
    if hires.get("enabled"):
        yield " ".join(filter(None, ("hires", _growth(hires, "scale"), str(hires.get("upscaler") or ""))))
    if refiner.get("enabled"):
        step = refiner.get("switch_step")
        at = f"step {step}" if step else f"{_percent(refiner.get('switch_at') or 0.8)}"
        yield f"refiner {_stem(refiner.get('checkpoint'))} from {at}"


def _img2img(config: dict[str, Any]) -> Iterator[str]:
    yield _denoising(config)
    yield "masked" if config.get("mask") else ""
    yield from _sampling(config)
    yield _size(config)
    yield _checkpoint(config)


def _upscale(config: dict[str, Any]) -> Iterator[str]:
    yield _growth(config, "factor")
    yield str(config.get("upscaler") or "")
    second = config.get("upscaler_2")
    yield f"{second} {_percent(config.get('upscaler_2_visibility'))}" if second else ""
    for field, name in (("gfpgan_visibility", "GFPGAN"), ("codeformer_visibility", "CodeFormer")):
        yield f"{name} {_percent(config[field])}" if config.get(field) else ""
    if config.get("mode") != "extras":
        yield "SD upscale" if config.get("mode") == "sd_upscale" else "img2img"
        yield _denoising(config)
        yield from _sampling(config)
    yield f"tile {config['tile_size']}" if config.get("tile_size") else ""


def _adetailer(config: dict[str, Any]) -> Iterator[str]:
    for unit in config.get("units") or ():
        yield _stem(unit.get("ad_model"))
    yield from _sampling(config)


def _sampling(config: dict[str, Any]) -> Iterator[str]:
    yield " ".join(str(config[name]) for name in ("sampler", "scheduler") if config.get(name))
    yield f"{config['steps']} steps" if config.get("steps") else ""
    yield f"CFG {_short(config['cfg_scale'])}" if config.get("cfg_scale") is not None else ""


def _size(config: dict[str, Any]) -> str:
    return f"{config['width']}×{config['height']}" if config.get("width") and config.get("height") else ""


def _growth(config: dict[str, Any], factor: str) -> str:
    """A target size, else a factor."""
    return _size(config) or (f"×{_short(config[factor])}" if config.get(factor) else "")


def _denoising(config: dict[str, Any]) -> str:
    strength = config.get("denoising_strength")
    return f"denoising {_short(strength)}" if strength is not None else ""


def _checkpoint(config: dict[str, Any]) -> str:
    return _stem(config.get("checkpoint"))


def _stem(name: Any) -> str:
    """A model's file without folders and ending."""
    text = str(name or "").replace("\\", "/").rpartition("/")[2]
    for ending in (".safetensors", ".ckpt", ".pt", ".pth"):
        text = text.removesuffix(ending)
    return text


def _short(value: Any) -> str:
    """A number as people write it. A plan is a file, which may hold anything in its place."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _percent(value: Any) -> str:
    return f"{value:.0%}" if isinstance(value, int | float) else str(value)
