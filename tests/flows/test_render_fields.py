"""A setting that changes pixels changes the call's key, and one that does not changes neither.

Each case renders an entry twice at a sandbox, without and with a change, through the same path as the flow:
plan, call, request, client, verification.
"""

import asyncio
import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from PIL import Image, ImageDraw
from pydantic import BaseModel

from stableflows.arrangement import arrange
from stableflows.config import (
    ADetailerConfig,
    ADetailerUnit,
    ExtrasUpscale,
    GenerationConfig,
    HiresConfig,
    Img2ImgConfig,
    Img2ImgUpscale,
    PipelineConfig,
    RefinerConfig,
    SDUpscale,
    Txt2ImgConfig,
)
from stableflows.durations import Times
from stableflows.identity import CallIdentity
from stableflows.preflight import preflight
from stableflows.request import RenderRequest, prepare
from stableflows.results import StageOutput
from stableflows.run.folder import RunFolder
from stableflows.sandbox import run_sandbox
from stableflows.server_state import ServerState
from stableflows.settling import settle
from stableflows.stage_runner import StageRunner
from stableflows.store import Store
from stableflows.timekeeping import Timekeeper
from stableflows.webui.client import WebUIClient
from stableflows.webui.server import ServerConfig

Settings = dict[str, Any]


@dataclass(frozen=True)
class Drawn:
    """What the last call of an entry made."""

    key: str
    file: bytes = field(repr=False)

    @property
    def pixels(self) -> str:
        """Their SHA-256."""
        with Image.open(io.BytesIO(self.file)) as image:
            return hashlib.sha256(image.tobytes()).hexdigest()


class Renderer:
    """Renders entries at one sandbox, which is asked once what it has."""

    def __init__(self, url: str, root: Path) -> None:
        self.config = ServerConfig(base_url=url)
        self.root = root
        self.input = root / "input.png"
        self.mask = root / "mask.png"
        self.server: ServerState = asyncio.run(self._preflight())

    async def _preflight(self) -> ServerState:
        prepared = prepare(RenderRequest(prompt="x"))
        async with WebUIClient(self.config) as client:
            return await preflight(client, prepared.entries, root=self.root, say=print)

    def draw(self, settings: Settings, **request: Any) -> Drawn:
        """The entry's first image, as its last stage made it."""
        wanted = RenderRequest(settings=settings, **{"prompt": "a portrait, a lighthouse", **request})
        return asyncio.run(self._draw(wanted))

    async def _draw(self, request: RenderRequest) -> Drawn:
        prepared = prepare(request)
        entries = settle(prepared.entries, self.server.options)
        folder = RunFolder.create(self.root, "fields", "run", datetime.now(UTC))
        outputs: dict[str, StageOutput] = {}
        async with WebUIClient(self.config) as client:
            times = Times()
            calls, cost = arrange(entries, self.server, times, done=(), window=None)
            runner = StageRunner(
                client=client,
                identity=CallIdentity(entries, self.server),
                images=prepared.images,
                folder=folder,
                store=Store(self.root),
                cancel=asyncio.Event(),
                stop=asyncio.Event(),
                on_state=lambda _id, _state: None,
                time=Timekeeper(cost, times, entries),
                fresh=True,  # equal keys must be found to have equal pixels, not given them
            )
            for call in calls:
                before = outputs[call.after].images[call.take] if call.after else None
                outputs[call.call_id] = await runner.run(call, before)
        output = [output for call, output in outputs.items() if call.endswith("/0")][-1]
        return Drawn(output.key, (self.root / output.images[0].path).read_bytes())


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Renderer]:
    root = tmp_path_factory.mktemp("fields")
    picture = Image.new("RGB", (96, 96), "navy")
    ImageDraw.Draw(picture).ellipse((20, 20, 60, 60), fill="orange")
    picture.save(root / "input.png")
    for name, left in (("mask.png", 24), ("other_mask.png", 40)):
        mask = Image.new("L", (96, 96), 0)
        ImageDraw.Draw(mask).rectangle((left, 24, 72, 72), fill=255)
        mask.save(root / name)
    with run_sandbox() as sandbox:
        yield Renderer(sandbox.url, root)


def merged(base: Settings, change: Settings) -> Settings:
    """`change` laid over `base`, section by section."""
    result = dict(base)
    for name, value in change.items():
        inner = result.get(name)
        in_both = isinstance(value, dict) and isinstance(inner, dict)
        result[name] = merged(inner, value) if in_both and name not in WHOLE else value
    return result


WHOLE = {"alwayson_scripts", "override_settings"}

FACE = {"args": [True, False, {"ad_model": "face_yolov8n.pt"}]}
REFINER = {"enabled": True, "checkpoint": "sandbox_anime_xl", "switch_at": 0.5}
HIRES = {"enabled": True, "scale": 1.5, "steps": 2}
MASK = {"mask": "mask.png"}
CONTROLNET = {"ad_controlnet_model": "x"}

# A field: the settings without it (besides those of the stage), and its value in place of what it is without.
Case = tuple[Settings, Any]

GENERATION: dict[str, Case] = {
    "sampler": ({}, "DPM++ 2M"),
    "scheduler": ({}, "Karras"),
    "steps": ({}, 5),
    "cfg_scale": ({}, 5.0),
    "styles": ({}, ["sharp focus"]),
    "tiling": ({}, True),
    "eta": ({"sampler": "DDIM"}, 0.5),
    "s_min_uncond": ({}, 0.2),
    "s_churn": ({}, 1.0),
    "s_tmin": ({}, 0.1),
    "s_tmax": ({}, 0.9),
    "s_noise": ({}, 1.1),
    "checkpoint": ({}, "sandbox_anime_xl"),
    "vae": ({}, "sandbox_vae.safetensors"),
    "clip_skip": ({}, 2),
    "override_settings": ({}, {"randn_source": "CPU"}),
    "prompt": ({}, "a portrait of someone else"),
    "negative_prompt": ({}, "blurry"),
    "seed": ({}, 8),
    "subseed": ({"subseed_strength": 0.3, "subseed": 3}, 4),
    "subseed_strength": ({"subseed_strength": 0.3, "subseed": 3}, 0.4),
    "seed_resize_from_w": ({"seed_resize_from_w": 64, "seed_resize_from_h": 64}, 72),
    "seed_resize_from_h": ({"seed_resize_from_w": 64, "seed_resize_from_h": 64}, 72),
    "restore_faces": ({}, True),
    "alwayson_scripts": ({}, {"ADetailer": FACE}),
}
OWN: dict[type[BaseModel], dict[str, Case]] = {
    Txt2ImgConfig: {"width": ({}, 104), "height": ({}, 104)},
    HiresConfig: {
        "upscaler": ({}, "Lanczos"),
        "scale": ({}, 2.0),
        "width": ({"width": 120, "height": 120}, 128),
        "height": ({"width": 120, "height": 120}, 128),
        "steps": ({}, 3),
        "denoising_strength": ({}, 0.5),
        "sampler": ({}, "DDIM"),
        "scheduler": ({}, "Exponential"),
        "checkpoint": ({}, "sandbox_anime_xl"),
        "prompt": ({}, "a portrait in fog"),
        "negative_prompt": ({}, "blurry"),
    },
    RefinerConfig: {
        "checkpoint": ({}, "sandbox_portrait_v2"),
        "switch_at": ({}, 0.75),
        "switch_step": ({"switch_at": None, "switch_step": 1}, 3),
    },
    Img2ImgConfig: {
        "denoising_strength": ({}, 0.5),
        "width": ({"width": 64, "height": 64}, 72),
        "height": ({"width": 64, "height": 64}, 72),
        "resize_mode": ({"width": 64, "height": 96}, 1),
        "image_cfg_scale": ({}, 1.2),
        "initial_noise_multiplier": ({}, 0.9),
        "mask": (MASK, "other_mask.png"),
        "mask_blur": (MASK, 8),
        "mask_blur_x": (MASK, 8),
        "mask_blur_y": (MASK, 8),
        "mask_round": ({**MASK, "mask_blur": 8}, False),
        "inpainting_fill": (MASK, 1),
        "inpaint_full_res": (MASK, False),
        "inpaint_full_res_padding": ({**MASK, "inpaint_full_res": True}, 16),
        "inpainting_mask_invert": (MASK, 1),
    },
    ExtrasUpscale: {
        "upscaler": ({}, "Lanczos"),
        "factor": ({}, 1.5),
        "width": ({"width": 120, "height": 144}, 144),
        "height": ({"width": 120, "height": 144}, 120),
        "crop": ({"width": 120, "height": 144}, False),
        "upscaler_2": ({"upscaler_2": "Nearest", "upscaler_2_visibility": 0.5}, "Lanczos"),
        "upscaler_2_visibility": ({"upscaler_2": "Lanczos", "upscaler_2_visibility": 0.5}, 0.7),
        "gfpgan_visibility": ({}, 0.5),
        "codeformer_visibility": ({}, 0.5),
        "codeformer_weight": ({"codeformer_visibility": 0.5}, 0.7),
        "upscale_first": ({"gfpgan_visibility": 0.5}, True),
        "tile_size": ({}, 256),
    },
    Img2ImgUpscale: {"factor": ({}, 1.5), "denoising_strength": ({}, 0.5)},
    SDUpscale: {
        "upscaler": ({}, "Lanczos"),
        "factor": ({}, 1.5),
        "tile_size": ({}, 128),
        "tile_overlap": ({}, 16),
        "denoising_strength": ({}, 0.5),
    },
    ADetailerConfig: {
        "units": ({}, [{"ad_model": "face_yolov8s.pt"}]),
        "alwayson_scripts": ({}, {"soft inpainting": {"args": [True]}}),
    },
    ADetailerUnit: {
        "ad_model": ({}, "face_yolov8s.pt"),
        "ad_model_classes": ({}, "face"),
        "ad_tab_enable": ({}, False),
        "ad_prompt": ({}, "smiling"),
        "ad_negative_prompt": ({}, "sad"),
        "ad_confidence": ({}, 0.4),
        "ad_mask_filter_method": ({"ad_mask_k": 1}, "Confidence"),
        "ad_mask_k": ({}, 1),
        "ad_mask_min_ratio": ({}, 0.1),
        "ad_mask_max_ratio": ({}, 0.02),
        "ad_dilate_erode": ({}, 8),
        "ad_x_offset": ({}, 2),
        "ad_y_offset": ({}, 2),
        "ad_mask_merge_invert": ({}, "Merge and Invert"),
        "ad_mask_blur": ({}, 8),
        "ad_denoising_strength": ({}, 0.6),
        "ad_inpaint_only_masked": ({}, False),
        "ad_inpaint_only_masked_padding": ({}, 16),
        "ad_use_inpaint_width_height": ({"ad_inpaint_width": 256, "ad_inpaint_height": 256}, False),
        "ad_inpaint_width": ({"ad_inpaint_width": 256, "ad_inpaint_height": 256}, 320),
        "ad_inpaint_height": ({"ad_inpaint_width": 256, "ad_inpaint_height": 256}, 320),
        "ad_use_steps": ({"ad_steps": 9}, False),
        "ad_steps": ({"ad_steps": 9}, 8),
        "ad_use_cfg_scale": ({"ad_cfg_scale": 5.0}, False),
        "ad_cfg_scale": ({"ad_cfg_scale": 5.0}, 4.0),
        "ad_use_checkpoint": ({"ad_checkpoint": "sandbox_anime_xl"}, False),
        "ad_checkpoint": ({"ad_checkpoint": "sandbox_anime_xl"}, "sandbox_portrait_v2"),
        "ad_use_vae": ({"ad_vae": "sandbox_vae.safetensors"}, False),
        "ad_vae": ({"ad_vae": "sandbox_vae.safetensors"}, "sandbox_soft.vae.safetensors"),
        "ad_use_sampler": ({"ad_sampler": "DDIM"}, False),
        "ad_sampler": ({"ad_sampler": "DDIM"}, "DPM++ 2M"),
        "ad_scheduler": ({"ad_sampler": "DPM++ 2M", "ad_scheduler": "Karras"}, "Exponential"),
        "ad_use_noise_multiplier": ({"ad_noise_multiplier": 0.9}, False),
        "ad_noise_multiplier": ({"ad_noise_multiplier": 0.9}, 0.8),
        "ad_use_clip_skip": ({"ad_clip_skip": 2}, False),
        "ad_clip_skip": ({"ad_clip_skip": 2}, 3),
        "ad_restore_face": ({}, True),
        "ad_controlnet_model": ({}, "control_v11p_sd15_openpose"),
        "ad_controlnet_module": (CONTROLNET, "openpose"),
        "ad_controlnet_weight": (CONTROLNET, 0.5),
        "ad_controlnet_guidance_start": (CONTROLNET, 0.1),
        "ad_controlnet_guidance_end": (CONTROLNET, 0.9),
    },
    PipelineConfig: {
        "checkpoint": ({}, "sandbox_anime_xl"),
        "vae": ({}, "sandbox_vae.safetensors"),
        "clip_skip": ({}, 2),
    },
}

TXT2IMG = {"enabled": True, "width": 96, "height": 96, "steps": 4, "seed": 7}
OFF = {"txt2img": {"enabled": False}}
LATER = {"enabled": True, "steps": 4, "seed": 7}
# A model: what stands around its settings, where they stand, and whether it continues the input image.
PLACES: dict[type[BaseModel], tuple[Settings, tuple[str, ...], bool]] = {
    PipelineConfig: ({"txt2img": TXT2IMG}, (), False),
    Txt2ImgConfig: ({"txt2img": TXT2IMG}, ("txt2img",), False),
    HiresConfig: ({"txt2img": {**TXT2IMG, "hires": HIRES}}, ("txt2img", "hires"), False),
    RefinerConfig: ({"txt2img": {**TXT2IMG, "refiner": REFINER}}, ("txt2img", "refiner"), False),
    Img2ImgConfig: ({**OFF, "img2img": LATER}, ("img2img",), True),
    ExtrasUpscale: ({**OFF, "upscale": {"enabled": True}}, ("upscale",), True),
    Img2ImgUpscale: ({**OFF, "upscale": {**LATER, "mode": "img2img"}}, ("upscale",), True),
    SDUpscale: ({**OFF, "upscale": {**LATER, "mode": "sd_upscale", "tile_size": 96}}, ("upscale",), True),
    ADetailerConfig: ({"txt2img": TXT2IMG, "adetailer": LATER}, ("adetailer",), False),
    ADetailerUnit: ({"txt2img": TXT2IMG, "adetailer": LATER}, ("adetailer", "units"), False),
}
SWITCHES = {
    *("enabled", "txt2img", "img2img", "upscale", "adetailer", "hires", "refiner", "mode"),
    *("count", "batch_size", "names"),
}
"""Not fields of a call but whether there is one, which and how many; and other models."""


def cases() -> Iterator[Any]:
    for model, fields in OWN.items():
        shared = GENERATION if issubclass(model, GenerationConfig) else {}
        for name, (base, value) in {**shared, **fields}.items():
            yield pytest.param(model, name, base, value, id=f"{model.__name__}.{name}")


def placed(model: type[BaseModel], values: Settings) -> Settings:
    around, path, _ = PLACES[model]
    nested: Any = [values] if path[-1:] == ("units",) else values
    for part in reversed(path):
        nested = {part: nested}
    return merged(around, nested)


def files_of(renderer: Renderer, values: Settings) -> Settings:
    """Masks by their place."""
    return {name: str(renderer.root / value) if name == "mask" else value for name, value in values.items()}


def test_every_field_of_every_model_is_tried() -> None:
    for model, fields in OWN.items():
        shared = set(GENERATION) if issubclass(model, GenerationConfig) else set()
        assert set(model.model_fields) - SWITCHES == set(fields) | shared, model
    used: set[type[BaseModel]] = {PipelineConfig}
    waiting: list[Any] = [info.annotation for info in PipelineConfig.model_fields.values()]
    while waiting:
        annotation = waiting.pop()
        waiting += get_args(annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            used.add(annotation)
            waiting += [info.annotation for info in annotation.model_fields.values()]
    assert used == set(OWN)


@pytest.mark.parametrize(("model", "field", "base", "value"), list(cases()))
def test_a_field_that_changes_pixels_changes_the_key(
    model: type[BaseModel], field: str, base: Settings, value: Any, renderer: Renderer
) -> None:
    request: Mapping[str, Any] = {"inputs": (str(renderer.input),)} if PLACES[model][2] else {}
    base = files_of(renderer, base)
    one = renderer.draw(placed(model, base), **request)
    other = renderer.draw(placed(model, {**base, **files_of(renderer, {field: value})}), **request)
    assert one.pixels != other.pixels
    assert one.key != other.key


def test_the_batch_size_changes_pixels_and_key(renderer: Renderer) -> None:
    """As on a real server: the first image of two is not the image that comes alone."""
    one, other = (renderer.draw(placed(Txt2ImgConfig, {"batch_size": size}), count=2) for size in (1, 2))
    assert one.pixels != other.pixels
    assert one.key != other.key


UNUSED: dict[str, tuple[Settings, Settings]] = {
    "how many images there are": ({}, {"count": 3}),
    "hires that is off": ({}, {"txt2img": {"hires": {"enabled": False, "upscaler": "Lanczos", "steps": 9}}}),
    "a refiner that is off": ({}, {"txt2img": {"refiner": {"checkpoint": "sandbox_anime_xl"}}}),
    "a stage that is off": ({}, {"img2img": {"denoising_strength": 0.2, "mask": None}}),
    "a subseed without strength": ({}, {"txt2img": {"subseed": 5}}),
    "a scale beside a size": (
        {"txt2img": {"hires": {**HIRES, "width": 120, "height": 120}}},
        {"txt2img": {"hires": {"scale": 3.0}}},
    ),
    "a unit's value that is off": (
        {"adetailer": {"enabled": True, "units": [{"ad_use_steps": False}]}},
        {"adetailer": {"units": [{"ad_use_steps": False, "ad_steps": 9}]}},
    ),
    "a number's way of writing": ({"txt2img": {"cfg_scale": 6}}, {"txt2img": {"cfg_scale": 6.0}}),
    "a flat key": ({"txt2img": {"cfg_scale": 6}}, {"txt2img_config": {"cfg_scale": 6}}),
    "a default that is written": ({}, {"txt2img": {"sampler": "Euler", "cfg_scale": 7}}),
    "the server's checkpoint by name": ({}, {"checkpoint": "sandbox_base_v1.safetensors"}),
}


@pytest.mark.parametrize("what", UNUSED)
def test_what_is_not_used_changes_no_byte_and_not_the_key(what: str, renderer: Renderer) -> None:
    base, change = UNUSED[what]
    base = merged({"txt2img": TXT2IMG}, base)
    assert renderer.draw(merged(base, change)) == renderer.draw(base)


def test_what_a_job_is_called_changes_no_byte_and_not_the_key(renderer: Renderer) -> None:
    """Nor who asked for it, nor what it says of learning."""
    plain = renderer.draw({"txt2img": TXT2IMG})
    other = renderer.draw(
        {"txt2img": TXT2IMG},
        title="another title",
        server="http://127.0.0.1:9",
        run_config={"source": "api", "learning": True, "prompt_pack_id": "x"},
    )
    assert other == plain


def test_an_inputs_name_does_not_count_but_its_content(renderer: Renderer) -> None:
    copy = renderer.root / "copy.png"
    copy.write_bytes(renderer.input.read_bytes())
    around = PLACES[Img2ImgConfig][0]
    plain = renderer.draw(around, inputs=(str(renderer.input),))
    assert renderer.draw(around, inputs=(str(copy),)) == plain
    with Image.open(copy) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(copy)
    other = renderer.draw(around, inputs=(str(copy),))
    assert other.pixels != plain.pixels
    assert other.key != plain.key
