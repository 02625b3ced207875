"""The flat form of a configuration, and the synonyms of its fields, made into the nested form.

    {"txt2img_enabled": true, "txt2img_config": {"steps": 20}, "hires_enabled": true, "hires_scale_factor": 2}
    {"txt2img": {"enabled": true, "steps": 20, "hires": {"enabled": true, "scale": 2}}}

say the same. One setting under two names is accepted while the values are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from stableflows.errors import InputError, Where

__all__ = ["Path", "nested", "set_in"]

Path = tuple[str, ...]

STAGES = ("txt2img", "img2img", "upscale", "adetailer")

SECTIONS: frozenset[Path] = frozenset(
    {*((stage,) for stage in STAGES), ("txt2img", "hires"), ("txt2img", "refiner")}
)
"""Where settings are nested in settings; anything else is a value, whatever its type."""

FLAT: dict[str, Path] = {
    **{f"{stage}_enabled": (stage, "enabled") for stage in STAGES},
    **{f"{stage}_config": (stage,) for stage in STAGES},
    "model_name": ("checkpoint",),
    "vae_name": ("vae",),
    "refiner_enabled": ("txt2img", "refiner", "enabled"),
    "refiner_model_name": ("txt2img", "refiner", "checkpoint"),
    "refiner_switch_step": ("txt2img", "refiner", "switch_step"),
    "refiner_switch_at": ("txt2img", "refiner", "switch_at"),
    "hires_enabled": ("txt2img", "hires", "enabled"),
    "hires_upscaler_name": ("txt2img", "hires", "upscaler"),
    "hires_denoise_strength": ("txt2img", "hires", "denoising_strength"),
    "hires_denoise": ("txt2img", "hires", "denoising_strength"),
    "hires_scale_factor": ("txt2img", "hires", "scale"),
    "hires_upscale_factor": ("txt2img", "hires", "scale"),
    "hires_steps": ("txt2img", "hires", "steps"),
}
"""A flat key of the whole config, and where it belongs."""

IN_STAGE: dict[str, Path] = {
    "model_name": ("checkpoint",),
    "vae_name": ("vae",),
    "sampler_name": ("sampler",),
    "refiner_checkpoint": ("refiner", "checkpoint"),
    **{flat: path[1:] for flat, path in FLAT.items() if len(path) == 3},
}
"""A synonym inside a stage's config."""


def set_in(target: dict[str, Any], path: Path, value: Any) -> None:
    """Set `path` in nested dicts, making those in between."""
    for key in path[:-1]:
        target = target.setdefault(key, {})
    target[path[-1]] = value


def _leaves(
    values: Mapping[str, Any], at: Path = (), written_at: Path = ()
) -> Iterator[tuple[Path, Path, Any]]:
    """(where it was written, where it belongs, value) of each setting; an empty section says nothing."""
    for key, value in values.items():
        written = (*written_at, key)
        if not at:
            belongs = FLAT.get(key, (key,))
        else:
            belongs = (*at, *(IN_STAGE.get(key, (key,)) if len(at) == 1 else (key,)))
        if belongs not in SECTIONS:
            yield written, belongs, value
        elif isinstance(value, Mapping):
            yield from _leaves(value, belongs, written)
        elif value is not None:
            yield written, belongs, value


def nested(
    values: Mapping[str, Any], place: Callable[[Path], Where] | None = None
) -> tuple[dict[str, Any], dict[Path, Path]]:
    """`values` in the nested form, and where each leaf was written.

    Args:
        place: says where a key stands, for messages.

    Raises:
        InputError: one setting has two values under two names, or a stage is not a mapping.
    """
    result: dict[str, Any] = {}
    origin: dict[Path, Path] = {}
    seen: dict[Path, Any] = {}
    place = place or (lambda written: Where(field=".".join(written)))
    for written, belongs, value in _leaves(values):
        if belongs in SECTIONS:
            raise InputError(
                f"must be a mapping of settings, not {value!r}; to switch it on, write {{enabled: true}}.",
                where=place(written),
            )
        if belongs in seen and seen[belongs] != value:
            raise InputError(
                f"says {value!r}, but {'.'.join(origin[belongs])} is the same setting "
                f"and says {seen[belongs]!r}; keep one.",
                where=place(written),
            )
        seen[belongs], origin[belongs] = value, written
        set_in(result, belongs, value)
    return result, origin
