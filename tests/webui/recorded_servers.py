"""What real servers answered, held in `recorded/`: requests, what was reported, sizes and formats of the
pictures.

The pictures themselves are not held: they are made again here, of the same size and format, with the
infotext that the real ones carried.
"""

from __future__ import annotations

import base64
import json
import struct
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import TypeAdapter

from stableflows.webui.calls import read_reply
from stableflows.webui.capabilities import ADetailerSupport, Capabilities, Family
from stableflows.webui.errors import CallSite
from stableflows.webui.models import (
    Checkpoint,
    Embeddings,
    Lora,
    Named,
    Sampler,
    Scheduler,
    ScriptInfo,
    Style,
    Upscaler,
    Vae,
    WebUIReply,
    WebUIRequest,
)
from stableflows.webui.names import ServerNames

RECORDED = Path(__file__).parent / "recorded"
SITE = CallSite("http://recorded", "POST", "/sdapi/v1/txt2img")


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDED / name).read_text().splitlines()]


@cache
def answers() -> dict[str, dict[str, Any]]:
    """Successful generating calls by ``server/name``."""
    return {f"{record['server']}/{record['name']}": record for record in _lines("answers.jsonl")}


@cache
def errors() -> dict[str, dict[str, Any]]:
    """Answers with an error status by ``server/name``."""
    return {f"{record['server']}/{record['name']}": record for record in _lines("errors.jsonl")}


@cache
def lists(family: str) -> dict[str, Any]:
    """What the GET paths of a family's server answered."""
    return dict(json.loads((RECORDED / f"{family}.json").read_text()))


def picture(
    size: tuple[int, int], *, form: str = "PNG", mode: str = "RGB", infotext: str | None = None
) -> bytes:
    """A plain picture with an infotext in it as a WebUI puts it there."""
    image, file = Image.new(mode, size, "gray"), BytesIO()
    if form == "PNG":
        chunks = PngInfo()
        if infotext is not None:
            chunks.add_text("parameters", infotext)
        image.save(file, form, pnginfo=chunks, compress_level=1)
    elif infotext is None:
        image.save(file, form)
    else:
        image.save(file, form, exif=user_comment(infotext))
    return file.getvalue()


def user_comment(text: str, *, order: str = "be") -> bytes:
    """An EXIF block with only a UserComment, written by hand (TIFF 6.0, EXIF 2.3)."""
    comment = b"UNICODE\0" + text.encode(f"utf-16-{order}")
    header = b"MM\0\x2a" + struct.pack(">I", 8)
    pointer = struct.pack(">HHHII", 1, 0x8769, 4, 1, 26) + struct.pack(">I", 0)
    entry = struct.pack(">HHHII", 1, 0x9286, 7, len(comment), 44) + struct.pack(">I", 0)
    return b"Exif\0\0" + header + pointer + entry + comment


def base64_picture(size: tuple[int, int], **more: Any) -> str:
    return base64.b64encode(picture(size, **more)).decode()


def _with_pictures(value: Any) -> Any:
    """The recorded request, with a picture where the recording keeps only its size."""
    if isinstance(value, dict):
        if set(value) == {"image"} and isinstance(value["image"], list):
            return base64_picture((value["image"][0], value["image"][1]))
        return {key: _with_pictures(inner) for key, inner in value.items()}
    return [_with_pictures(inner) for inner in value] if isinstance(value, list) else value


def request_of(record: dict[str, Any], *, n_images: int | None = None) -> WebUIRequest:
    body = _with_pictures(record["body"])
    asked = int(body.get("batch_size") or 1) * int(body.get("n_iter") or 1)
    return WebUIRequest(record["path"], body, n_images or asked)


def document_of(record: dict[str, Any]) -> dict[str, Any]:
    """The answer's JSON document, pictures made again."""
    listed = record["info"]["infotexts"] if record["info"] else []
    pictures = []
    for at, image in enumerate(record["images"]):
        text = image.get("infotext")
        size = (image["size"][0], image["size"][1])
        text = listed[at] if text == "as listed" else text
        pictures.append(base64_picture(size, form=image["format"], mode=image["mode"], infotext=text))
    if record["path"].endswith("extra-single-image"):
        return {"image": pictures[0], "html_info": record["html_info"]}
    return {"images": pictures, "parameters": {}, "info": json.dumps(record["info"])}


def reply_of(record: dict[str, Any]) -> WebUIReply:
    return read_reply(document_of(record), SITE, max_pixels=100_000_000)


def _read(kind: Any, items: Any) -> Any:
    return TypeAdapter(tuple[kind, ...]).validate_python(items)


@cache
def capabilities(family: str) -> Capabilities:
    recorded = lists(family)
    detailer = None
    if family == "a1111":
        detailer = ADetailerSupport(
            version=recorded["/adetailer/v1/version"]["version"],
            args=recorded["/adetailer/v1/schema"]["properties"],
            models=tuple(recorded["/adetailer/v1/ad_model"]["ad_model"]),
            max_units=4,
        )
    return Capabilities(
        family=Family(family),
        endpoints=frozenset(path for path in recorded if path.startswith("/")),
        has_task_ids=True,
        has_schedulers=True,
        vae="modules" if family == "forge" else "list",
        adetailer=detailer,
        options=frozenset(recorded["/sdapi/v1/options"]),
        scripts=_read(ScriptInfo, recorded["/sdapi/v1/script-info"]),
        request_fields={path: frozenset(names) for path, names in recorded["fields"].items()},
    )


@cache
def names(family: str) -> ServerNames:
    recorded = lists(family)
    caps = capabilities(family)
    return ServerNames(
        family=Family(family),
        samplers=_read(Sampler, recorded["/sdapi/v1/samplers"]),
        schedulers=_read(Scheduler, recorded["/sdapi/v1/schedulers"]),
        checkpoints=_read(Checkpoint, recorded["/sdapi/v1/sd-models"]),
        vaes=_read(Vae, recorded.get("/sdapi/v1/sd-vae", [])),
        upscalers=_read(Upscaler, recorded["/sdapi/v1/upscalers"]),
        latent_upscale_modes=_read(Named, recorded["/sdapi/v1/latent-upscale-modes"]),
        loras=_read(Lora, recorded["/sdapi/v1/loras"]),
        embeddings=Embeddings.model_validate(recorded["/sdapi/v1/embeddings"]),
        styles=_read(Style, recorded.get("/sdapi/v1/prompt-styles", [])),
        face_restorers=_read(Named, recorded.get("/sdapi/v1/face-restorers", [])),
        ad_models=caps.adetailer.models if caps.adetailer else (),
        has_adetailer=caps.adetailer is not None,
        scripts=caps.scripts,
        options=recorded["/sdapi/v1/options"],
    )
