"""The request of a stage: one builder per stage type, and the pixels that its answer must have.

A setting that is on always reaches the request, one that is off never does. Images stand in a body as
whatever their `data` is: a reference to their content until just before sending, or base64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stableflows.config import (
    ADetailerConfig,
    ExtrasUpscale,
    GenerationConfig,
    Img2ImgConfig,
    Img2ImgUpscale,
    SDUpscale,
    Txt2ImgConfig,
)
from stableflows.config.base import request_fields
from stableflows.embeddings import bare_embeddings
from stableflows.stages import StageExecution, StageType

__all__ = ["EXTRAS", "SourceImage", "StageRequest", "Texts", "build_request", "output_size"]

GenerationPath = Literal["/sdapi/v1/txt2img", "/sdapi/v1/img2img", "/sdapi/v1/extra-single-image"]

TXT2IMG: GenerationPath = "/sdapi/v1/txt2img"
IMG2IMG: GenerationPath = "/sdapi/v1/img2img"
EXTRAS: GenerationPath = "/sdapi/v1/extra-single-image"

Size = tuple[int, int]


@dataclass(frozen=True)
class SourceImage:
    """An image that a stage continues. `size` is None where nobody can know it (a stub's image)."""

    data: str
    size: Size | None
    seed: int | None = None


@dataclass(frozen=True)
class Texts:
    """An entry's prompts: with globals, and its own alone, which ADetailer takes."""

    prompt: str
    negative_prompt: str = ""
    own_prompt: str | None = None
    own_negative_prompt: str | None = None


@dataclass(frozen=True)
class StageRequest:
    """One call's request.

    Attributes:
        n_images: images that the answer must have at least.
        size: their (width, height) in pixels; None if the source's size is unknown.
    """

    stage_type: StageType
    path: GenerationPath
    body: dict[str, Any]
    n_images: int
    size: Size | None


@dataclass(frozen=True)
class _Call:
    execution: StageExecution
    texts: Texts
    seed: int | None
    subseed: int | None
    n: int
    source: SourceImage | None


def build_request(
    execution: StageExecution,
    texts: Texts,
    *,
    seed: int | None = None,
    subseed: int | None = None,
    n: int = 1,
    source: SourceImage | None = None,
) -> StageRequest:
    """The request of one call.

    Args:
        seed: of the first image; None only where a stage needs none (extras).
        subseed: variation seed of the first image; sent only with a subseed_strength above 0.
        n: images of the call, for txt2img; every other stage takes one image and gives one.
        source: the image to continue; txt2img has none.

    Raises:
        ValueError: `source` is missing or superfluous. A plan never asks for that.
    """
    call = _Call(execution, texts, seed, subseed, n, source)
    path, body = _BUILDERS[execution.stage_type](call)
    size = output_size(execution, source.size if source else None)
    return StageRequest(execution.stage_type, path, body, n, size)


def output_size(execution: StageExecution, source: Size | None) -> Size | None:
    """Pixels of a stage's images. The WebUI renders in steps of 8 and floors to them without a word."""
    config = execution.config
    match config:
        case Txt2ImgConfig():
            return _txt2img_size(config)
        case ExtrasUpscale():
            return _extras_size(config, source)
        case ADetailerConfig():
            return source  # with its base pass skipped, it repaints the input itself
        case Img2ImgConfig(mask=str()) if config.inpaint_full_res is not False:
            return source  # what was rendered is pasted back into the input
        case Img2ImgConfig():
            return _img2img_size(config, source)
    factor = config.factor if isinstance(config, Img2ImgUpscale | SDUpscale) else 1.0
    return _floor8(source[0] * factor, source[1] * factor) if source else None


def _img2img_size(config: Img2ImgConfig, source: Size | None) -> Size | None:
    """Pixels that are rendered: the config's, else the input's own."""
    if config.width and config.height:
        return _floor8(config.width, config.height)
    return _floor8(*source) if source else None


def _txt2img_size(config: Txt2ImgConfig) -> Size:
    hires = config.hires
    if not hires.enabled:
        return _floor8(config.width, config.height)
    if hires.width and hires.height:
        return _floor8(hires.width, hires.height)
    return _floor8(config.width * hires.scale, config.height * hires.scale)


def _extras_size(config: ExtrasUpscale, source: Size | None) -> Size | None:
    if config.width and config.height and config.crop is not False and config.upscaler != "None":
        return config.width, config.height
    if source is None or config.upscaler == "None":
        return source
    factor = config.factor
    if config.width and config.height:
        factor = max(config.width / source[0], config.height / source[1])
    return _floor8(source[0] * factor, source[1] * factor)


def _floor8(width: float, height: float) -> Size:
    return int(width) // 8 * 8, int(height) // 8 * 8


def _generation(call: _Call, config: GenerationConfig) -> dict[str, Any]:
    """What txt2img and img2img requests share."""
    own = isinstance(config, ADetailerConfig)
    texts = call.texts
    prompt = texts.own_prompt if own and texts.own_prompt is not None else texts.prompt
    negative = (
        texts.own_negative_prompt if own and texts.own_negative_prompt is not None else texts.negative_prompt
    )
    body: dict[str, Any] = {
        "prompt": prompt if config.prompt is None else bare_embeddings(config.prompt),
        "negative_prompt": (
            negative if config.negative_prompt is None else bare_embeddings(config.negative_prompt)
        ),
        "n_iter": 1,
        "batch_size": call.n,
        **request_fields(config),
        # Its default, true, would swap the checkpoint back after every image.
        "override_settings_restore_afterwards": False,
    }
    if call.seed is not None:
        body["seed"] = call.seed
    if config.subseed_strength and call.subseed is not None:
        body["subseed"] = call.subseed
    managed = {
        "sd_model_checkpoint": config.checkpoint,
        "sd_vae": config.vae,
        "CLIP_stop_at_last_layers": config.clip_skip,
    }
    overrides = {
        **(config.override_settings or {}),
        **{option: value for option, value in managed.items() if value is not None},
    }
    if overrides:
        body["override_settings"] = overrides
    if config.alwayson_scripts:
        body["alwayson_scripts"] = dict(config.alwayson_scripts)
    return body


def _prompts_bare(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: bare_embeddings(value) if name.endswith("prompt") else value for name, value in fields.items()
    }


def _txt2img(call: _Call) -> tuple[GenerationPath, dict[str, Any]]:
    config = call.execution.config
    assert isinstance(config, Txt2ImgConfig)  # noqa: S101 (the sequencer built it)
    if call.source is not None:
        raise ValueError("txt2img continues no image")
    body = _generation(call, config)
    if config.hires.enabled:
        body |= {"enable_hr": True, **_prompts_bare(request_fields(config.hires))}
        if config.hires.width:  # a target size overrides the scale; send only what counts
            del body["hr_scale"]
    if config.refiner.enabled:
        body |= request_fields(config.refiner)
        if config.refiner.switch_step is not None:
            body["refiner_switch_at"] = config.refiner.switch_step / (config.steps or 1)
            body.setdefault("override_settings", {})["refiner_switch_by_sample_steps"] = True
        # Without a point to switch at, the WebUI switches before the first step.
        body.setdefault("refiner_switch_at", 0.8)
    return TXT2IMG, body


def _img2img_body(call: _Call, config: GenerationConfig, size: Size | None) -> dict[str, Any]:
    body = {**_generation(call, config), "init_images": [_source(call).data]}
    if size:  # left out, the API would take 512 by 512
        body |= {"width": size[0], "height": size[1]}
    return body


def _source(call: _Call) -> SourceImage:
    if call.source is None:
        raise ValueError(f"{call.execution.stage_type} continues an image, and none was given")
    return call.source


def _img2img(call: _Call) -> tuple[GenerationPath, dict[str, Any]]:
    config = call.execution.config
    assert isinstance(config, Img2ImgConfig)  # noqa: S101
    body = _img2img_body(call, config, _img2img_size(config, _source(call).size))
    if config.mask is not None:
        body["mask"] = config.mask
    return IMG2IMG, body


def _upscale(call: _Call) -> tuple[GenerationPath, dict[str, Any]]:
    config, source = call.execution.config, _source(call)
    if isinstance(config, ExtrasUpscale):
        body = {"image": source.data, "resize_mode": 0, **request_fields(config)}
        if config.width is not None:
            body["resize_mode"] = 1
            del body["upscaling_resize"]
        return EXTRAS, body
    if isinstance(config, Img2ImgUpscale):
        return IMG2IMG, _img2img_body(call, config, output_size(call.execution, source.size))
    assert isinstance(config, SDUpscale)  # noqa: S101
    body = _img2img_body(call, config, (config.tile_size, config.tile_size))
    body |= {
        "script_name": "SD upscale",
        # Positional: (unused text), tile overlap, upscaler, scale factor.
        "script_args": ["", config.tile_overlap, config.upscaler, config.factor],
    }
    return IMG2IMG, body


def _adetailer(call: _Call) -> tuple[GenerationPath, dict[str, Any]]:
    config = call.execution.config
    assert isinstance(config, ADetailerConfig)  # noqa: S101
    body = _img2img_body(call, config, output_size(call.execution, _source(call).size))
    units = [_prompts_bare(request_fields(unit)) for unit in config.units]
    scripts = body.setdefault("alwayson_scripts", {})
    # The two leading booleans: enable, and skip the base img2img pass. Without them every further unit
    # of the extension keeps its page's default, and an unasked one runs.
    scripts["ADetailer"] = {"args": [True, True, *units]}
    return IMG2IMG, body


_BUILDERS: Mapping[StageType, Callable[[_Call], tuple[GenerationPath, dict[str, Any]]]] = {
    StageType.TXT2IMG: _txt2img,
    StageType.IMG2IMG: _img2img,
    StageType.UPSCALE: _upscale,
    StageType.ADETAILER: _adetailer,
}
