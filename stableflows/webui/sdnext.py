"""What SD.Next (vladmandic/sdnext) calls the things that the other WebUIs have too.

From its source, at or near commit 058a7f0 of July 2026; never observed on a running one. A name stands here
only where both mean the same method, or the same file.
"""

from __future__ import annotations

from collections.abc import Collection
from types import MappingProxyType
from typing import Final

from .kinds import NameKind
from .models import Scheduler

__all__ = ["DETAIL", "SCHEDULES", "UPSCALERS", "own_name", "sigma_of"]

DETAIL: Final = "/sdapi/v1/detail"
"""Its built-in detailer on one finished image, without sampling that image anew."""

UPSCALERS = MappingProxyType(
    {
        "Lanczos": "Resize Lanczos",
        "Nearest": "Resize Nearest",
        "Latent": "Latent Bilinear",
        "Latent (antialiased)": "Latent Bilinear antialias",
        "Latent (bicubic)": "Latent Bicubic",
        "Latent (bicubic antialiased)": "Latent Bicubic antialias",
        "Latent (nearest)": "Latent Nearest",
        "Latent (nearest-exact)": "Latent Nearest exact",
        "R-ESRGAN 4x+": "RealESRGAN 4x+",
        "R-ESRGAN 4x+ Anime6B": "RealESRGAN 4x+ Anime6B",
        "R-ESRGAN 2x+": "RealESRGAN 2x+",
        "R-ESRGAN General 4xV3": "RealESRGAN 4x General V3",
        "R-ESRGAN General WDN 4xV3": "RealESRGAN 4x General WDN V3",
        "R-ESRGAN AnimeVideo": "RealESRGAN 4x AnimeVideo V3",
        "ESRGAN_4x": "ESRGAN 4x GAN",
        "SwinIR_4x": "SwinIR 4x GAN",
        "ScuNET GAN": "SCUNet GAN 1x",
        "ScuNET PSNR": "SCUNet PSNR 1x",
    }
)
"""AUTOMATIC1111's upscalers and latent modes, and what SD.Next calls the same file or method."""

SCHEDULES = (
    Scheduler(name="default", label="Automatic"),
    Scheduler(name="karras", label="Karras"),
    Scheduler(name="exponential", label="Exponential"),
)
"""The values of its option `schedulers_sigma` that are schedules of AUTOMATIC1111 too. Its path `/schedulers`
lists samplers, with the classes that they are made of."""


def own_name(kind: NameKind, name: str, existing: Collection[str]) -> str:
    """What SD.Next calls `name`; `name` itself, if it has that or nothing that is the same.

    A user's own upscaler is listed behind its kind, a detection model without the ending of its file.
    """
    if name in existing:
        return name
    candidates: tuple[str, ...] = ()
    if kind in (NameKind.UPSCALER, NameKind.HIRES_UPSCALER):
        candidates = (UPSCALERS.get(name, name), f"ESRGAN {name}", f"RealESRGAN {name}")
    elif kind is NameKind.AD_MODEL:
        candidates = (name.removesuffix(".pt"),)
    return next((candidate for candidate in candidates if candidate in existing), name)


def sigma_of(scheduler: str) -> str:
    """The value of `schedulers_sigma` for a schedule's name or label in any case.

    Raises:
        ValueError: it has no such schedule; preflight looks it up before.
    """
    folded = scheduler.casefold()
    for schedule in SCHEDULES:
        if folded in (schedule.name, schedule.label.casefold()):
            return schedule.name
    raise ValueError(f"SD.Next has no schedule {scheduler!r}")
