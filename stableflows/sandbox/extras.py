"""The extras: enlarging images that exist already. They know no checkpoint."""

import hashlib
import json
from typing import Any

from PIL import Image

from stableflows.sandbox import draw, images, pixels
from stableflows.sandbox.errors import ServerError
from stableflows.sandbox.faults import Fault
from stableflows.sandbox.webui import Interrupted, WebUI

_NONE = ("None", "", None)


def run(webui: WebUI, request: dict[str, Any], fault: Fault | None) -> tuple[list[Image.Image], str]:
    """The images of an extras request inside the lock, and its ``html_info``.

    Raises:
        HTTPError: for an image that cannot be decoded: one bad image fails the whole batch.
        ServerError: AssertionError for an upscaler that does not exist; IndexError when interrupted.
    """
    single = "image" in request
    texts = [request["image"]] if single else [item["data"] for item in request["imageList"]]
    sources = [images.decode(text, webui.options) for text in texts]
    state = webui.state
    state.begin("extras")
    state.job_count = len(sources)
    made: list[Image.Image] = []
    facts: dict[str, Any] = {}
    try:
        for source in sources:
            if state.interrupted:
                break
            if fault is not None:
                fault.strike(webui)
            webui.sleep(webui.settings.step_seconds * 4)
            image, facts = _process(webui, request, source)
            made.append(image)
            state.next_job()
    except Interrupted:
        pass
    finally:
        state.end()
    if single and not made:
        raise ServerError("IndexError", "list index out of range")
    info = ", ".join(f"{key}: {value}" for key, value in facts.items())
    return made, f"<p>{info}</p>"


def _process(
    webui: WebUI, request: dict[str, Any], source: Image.Image
) -> tuple[Image.Image, dict[str, Any]]:
    facts: dict[str, Any] = {}
    image = source if source.mode in ("RGB", "RGBA") else source.convert("RGB")
    image = _upscale(webui, request, image, facts)
    for name, field in (("GFPGAN", "gfpgan_visibility"), ("CodeFormer", "codeformer_visibility")):
        if request[field] > 0:
            image = draw.restore_faces(image.convert("RGB"), name, request[field])
            facts[f"{name} visibility"] = _number(request, field)
            if name == "CodeFormer":
                facts["CodeFormer weight"] = _number(request, "codeformer_weight")
    if facts:
        image = draw.mark(
            image.copy(),
            _digest(webui, request, source),
            "upscale" if image.size != source.size else "extras",
        )
    existing = {key: value for key, value in source.info.items() if isinstance(value, str)}
    image.info = dict(existing)
    if webui.family != "forge":
        image.info["postprocessing"] = ", ".join(f"{key}: {value}" for key, value in facts.items())
    return image, facts


def _number(request: dict[str, Any], field: str) -> Any:
    return request[field]


def _digest(webui: WebUI, request: dict[str, Any], source: Image.Image) -> bytes:
    """Of what decides the pixels; what is switched off is left out."""
    names = ["upscaler_1"]
    if request["extras_upscaler_2_visibility"] > 0 and request["upscaler_2"] not in _NONE:
        names += ["upscaler_2", "extras_upscaler_2_visibility"]
    by_size = request["resize_mode"] == 1
    names += (
        ["upscaling_resize_w", "upscaling_resize_h", "upscaling_crop"] if by_size else ["upscaling_resize"]
    )
    restored = [name for name in ("gfpgan_visibility", "codeformer_visibility") if request[name] > 0]
    names += [*restored, "upscale_first"] if restored else []
    names += ["codeformer_weight"] if request["codeformer_visibility"] > 0 else []
    facts = {name: request[name] for name in names}
    facts["tiles"] = [webui.options[name] for name in pixels.TILE_OPTIONS]
    facts["source"] = pixels.digest_of(source)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).digest()


def _upscale(webui: WebUI, request: dict[str, Any], image: Image.Image, facts: dict[str, Any]) -> Image.Image:
    first, second = request["upscaler_1"], request["upscaler_2"]
    if first in _NONE:
        return image
    names = webui.upscaler_names()
    _check(first, names)
    by_size = request["resize_mode"] == 1
    width, height = request["upscaling_resize_w"], request["upscaling_resize_h"]
    if by_size:
        factor = max(width / image.width, height / image.height)
        facts["Postprocess upscale to"] = f"{width}x{height}"
        if request["upscaling_crop"]:
            facts["Postprocess crop to"] = f"{width}x{height}"
    else:
        factor = request["upscaling_resize"]
        facts["Postprocess upscale by"] = factor
    target = _target(image, factor)
    result = draw.enlarge(image, target, first)
    facts["Postprocess upscaler"] = first
    share = request["extras_upscaler_2_visibility"]
    if second not in _NONE and share > 0:
        _check(second, names)
        result = Image.blend(result, draw.enlarge(image, target, second), share)
        facts["Postprocess upscaler 2"] = second
    if by_size and request["upscaling_crop"]:
        cropped = Image.new(result.mode, (width, height))
        cropped.paste(result, ((width - result.width) // 2, (height - result.height) // 2))
        result = cropped
    return result


def _target(image: Image.Image, factor: float) -> tuple[int, int]:
    """Size floored to 8 like every upscaler's target; a tiny image keeps a pixel."""
    width, height = int(image.width * factor // 8 * 8), int(image.height * factor // 8 * 8)
    if width < 1 or height < 1:
        raise ServerError("ValueError", "height and width must be > 0")
    return width, height


def _check(name: str, names: list[str]) -> None:
    if name not in names:
        raise ServerError("AssertionError", f"could not find upscaler named {name}")


def png_info(image: Image.Image) -> tuple[str, dict[str, str]]:
    """The infotext of an image and its other text items.

    Raises:
        HTTPError: never for an image without text: that is an empty infotext.
    """
    items = {key: value for key, value in image.info.items() if isinstance(key, str)}
    exif = image.getexif().get_ifd(images.EXIF_IFD).get(images.USER_COMMENT)
    text = items.pop("parameters", "")
    if not text and isinstance(exif, bytes):
        text = exif.removeprefix(b"UNICODE\0").decode("utf-16-be", errors="replace")
    hidden = (
        "jfif",
        "jfif_version",
        "jfif_unit",
        "jfif_density",
        "dpi",
        "exif",
        "loop",
        "background",
        "timestamp",
        "duration",
        "progressive",
        "progression",
        "icc_profile",
        "chromaticity",
        "photoshop",
    )
    return str(text), {key: str(value) for key, value in items.items() if key not in hidden}
