"""The X/Y/Z plot: axes by number, one generation a cell, the grid in front."""

import csv
import io
import re
from collections.abc import Callable
from typing import Any

from stableflows.sandbox import images
from stableflows.sandbox.errors import ServerError, runtime_error
from stableflows.sandbox.infotext import quoted
from stableflows.sandbox.job import Job, fixed_seed
from stableflows.sandbox.processing import Processed, process_images
from stableflows.sandbox.recorded import of_family, recorded
from stableflows.sandbox.sheets import lettered

_RANGE = re.compile(r"^\s*([+-]?\s*\d+)\s*-\s*([+-]?\s*\d+)(?:\s*\(([+-]\d+)\s*\))?\s*$")
_FIELDS: dict[str, tuple[str, type]] = {
    "Seed": ("seed", int),
    "Var. seed": ("subseed", int),
    "Var. strength": ("subseed_strength", float),
    "Steps": ("steps", int),
    "Hires steps": ("hr_second_pass_steps", int),
    "CFG Scale": ("cfg_scale", float),
    "Image CFG Scale": ("image_cfg_scale", float),
    "Sampler": ("sampler_name", str),
    "Hires sampler": ("hr_sampler_name", str),
    "Schedule type": ("scheduler", str),
    "Denoising": ("denoising_strength", float),
    "Hires upscaler": ("hr_upscaler", str),
    "Eta": ("eta", float),
    "Refiner checkpoint": ("refiner_checkpoint", str),
    "Refiner switch at": ("refiner_switch_at", float),
    "Styles": ("styles", str),
    "Prompt S/R": ("prompt", str),
    "Size": ("width", str),
}
_OPTIONS: dict[str, tuple[str, type]] = {
    "Checkpoint name": ("sd_model_checkpoint", str),
    "VAE": ("sd_vae", str),
    "Clip skip": ("CLIP_stop_at_last_layers", int),
    "RNG source": ("randn_source", str),
    "Face restore": ("face_restoration_model", str),
    "Token merging ratio": ("token_merging_ratio", float),
}
_CHOICES = (
    "Sampler",
    "Hires sampler",
    "Checkpoint name",
    "Schedule type",
    "Hires upscaler",
    "VAE",
    "Styles",
    "Face restore",
    "Refiner checkpoint",
    "RNG source",
)
"""Axes with choices: their values stand in the list argument, the text counts in csv mode only."""


class _Axis:
    def __init__(self, job: Job, number: Any, text: Any, listed: Any, *, csv_mode: bool) -> None:
        self.label = _label(job, number)
        self.text = str(text or "")
        if self.label == "Nothing":
            self.values: list[Any] = [0]
            return
        if self.label in _CHOICES and not csv_mode:
            self.given = list(listed or [])
            self.text = ",".join(map(str, self.given))
        else:
            self.given = [
                item.strip() for item in next(csv.reader(io.StringIO(self.text)), []) if item.strip()
            ]
        self.values = self._typed(job)

    def _typed(self, job: Job) -> list[Any]:
        kind = (_FIELDS.get(self.label) or _OPTIONS.get(self.label) or ("", str))[1]
        if kind is int:
            values: list[Any] = [number for item in self.given for number in _integers(str(item))]
            return [fixed_seed(value) for value in values] if "eed" in self.label else values
        if kind is float:
            return [float(item) for item in self.given]
        if self.label in ("Sampler", "Hires sampler"):
            names = [item["name"].lower() for item in of_family(job.webui.family, "samplers")]
            for value in self.given:
                if str(value).lower() not in names:
                    raise runtime_error(f"Unknown sampler: {value}")
        if self.label == "Checkpoint name":
            for value in self.given:
                if job.webui.weights.closest(str(value)) is None:
                    raise runtime_error(f"Unknown checkpoint: {value}")
        return list(self.given)

    def fields(self, job: Job, value: Any) -> dict[str, Any]:
        """The request fields of a cell."""
        if self.label == "Nothing":
            return {}
        if self.label in _OPTIONS:
            overrides = {**(job.r["override_settings"] or {}), _OPTIONS[self.label][0]: value}
            return {"override_settings": overrides}
        if self.label == "Size":
            width, height = str(value).lower().split("x")
            return {"width": int(width), "height": int(height)}
        if self.label == "Styles":
            return {"styles": [*(job.r["styles"] or []), *str(value).split(",")]}
        if self.label == "Prompt S/R":
            return {"prompt": str(job.r["prompt"]).replace(str(self.values[0]), str(value))}
        if self.label in _FIELDS:
            return {_FIELDS[self.label][0]: value}
        raise ServerError("NotImplementedError", f"the sandbox's X/Y/Z plot has no axis {self.label!r}")

    def title(self, value: Any) -> str:
        if self.label == "Nothing":
            return ""
        return str(value) if self.label in _CHOICES else f"{self.label}: {value}"

    def infotext(self, letter: str) -> dict[str, Any]:
        if self.label == "Nothing":
            return {}
        keys: dict[str, Any] = {f"{letter} Type": self.label, f"{letter} Values": self.text}
        if "eed" in self.label:
            keys[f"Fixed {letter} Values"] = ", ".join(map(str, self.values))
        return keys


def _integers(item: str) -> list[int]:
    match = _RANGE.match(item)
    if match is None:
        return [int(item)]
    start, end = int(match.group(1)), int(match.group(2))
    step = int(match.group(3)) if match.group(3) else (1 if end >= start else -1)
    return list(range(start, end + (1 if step > 0 else -1), step))


def _label(job: Job, number: Any) -> str:
    kind = "init_images" in job.r
    name = "forge_script_info" if job.webui.family == "forge" else "a1111_script_info"
    for item in recorded(name):
        if item["name"] == "x/y/z plot" and item["is_img2img"] is kind:
            choices = item["args"][0]["choices"]
            return str(choices[number]) if isinstance(number, int) else str(number)
    raise ServerError("IndexError", "list index out of range")


def plot(job: Job, args: list[Any], fresh: Callable[..., Job]) -> Processed:
    """Run every cell; without sub images the answer is the grid alone."""
    csv_mode = bool(args[17])
    axes = [_Axis(job, args[at], args[at + 1], args[at + 2], csv_mode=csv_mode) for at in (0, 3, 6)]
    draw_legend, with_images = bool(args[9]), bool(args[10])
    job.r["seed"] = fixed_seed(job.r["seed"])
    # Every cell has the same variation seed.
    job.r["subseed"] = fixed_seed(job.r["subseed"])
    cells = [(x, y, z) for z in axes[2].values for y in axes[1].values for x in axes[0].values]
    if not cells:
        empty = fresh(job, seed=-1)
        empty.sampler = str(job.r["sampler_name"])
        return Processed([], [], empty.info())
    job.webui.state.job_count = len(cells)
    runs: list[Processed] = []
    for cell in cells:
        fields: dict[str, Any] = {"n_iter": 1, "save_images": False}
        once = fresh(job, **fields)
        for axis, value in zip(axes, cell, strict=True):
            once.r |= axis.fields(once, value)
        runs.append(process_images(once))
        if job.webui.state.interrupted:
            break
    shots = [done.images[0] for done in runs if done.images]
    columns = len(axes[0].values)
    sheet = images.tiled(shots, -(-len(shots) // columns), columns)
    if draw_legend:
        across = [axes[0].title(value) for value in axes[0].values]
        down = [axes[1].title(value) for value in axes[1].values]
        sheet = lettered(sheet, shots[0].size, across, down, int(args[16] or 0))
    texts = [done.infotexts[0] for done in runs]
    keys: dict[str, Any] = {"Script": "X/Y/Z plot"}
    for letter, axis in zip("XYZ", axes, strict=True):
        keys |= axis.infotext(letter)
    return Processed(
        [sheet, *shots] if with_images else [sheet], [_with_script(texts[0], keys), *texts], _merged(runs), 1
    )


def _merged(runs: list[Processed]) -> dict[str, Any]:
    info = dict(runs[0].info)
    info["all_prompts"] = [done.info["prompt"] for done in runs]
    info["all_seeds"] = [done.info["seed"] for done in runs]
    info["extra_generation_params"] = runs[-1].info["extra_generation_params"]
    return info


def _with_script(text: str, keys: dict[str, Any]) -> str:
    head, mark, version = text.rpartition(", Version: ")
    middle = ", ".join(f"{key}: {quoted(value)}" for key, value in keys.items())
    return f"{head}, {middle}{mark}{version}"
