"""What a picture file says of how it was made: text chunks and EXIF comment, and which program wrote them.

Nothing is decoded but the header, unless a PNG carries its text behind the pixels.
"""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from stableflows.errors import InputError, Where
from stableflows.inputs import FORMATS, MAX_PIXELS

__all__ = ["IMAGE_SUFFIXES", "Metadata", "Program", "read_metadata"]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
MAX_FILE_BYTES = 512 * 1024 * 1024
MAX_TEXT = 1_000_000
"""Characters of a text that is read; long prompts have some 1,000, ComfyUI's largest graphs some 100,000."""

BROKEN = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, struct.error)
"""What Pillow raises on files that are no whole pictures, or whose EXIF block is none."""


class Program(StrEnum):
    """Who wrote the metadata."""

    WEBUI = "a WebUI"
    SWARMUI = "SwarmUI"
    COMFYUI = "ComfyUI"
    INVOKEAI = "InvokeAI"
    UNKNOWN = "an unknown program"


@dataclass(frozen=True)
class Metadata:
    """What was found.

    Attributes:
        text: the infotext of a WebUI; else "".
        data: the JSON of another program; else empty.
        postprocessing: what a WebUI's extras wrote beside the infotext of the picture that they enlarged.
    """

    program: Program
    text: str = ""
    data: Mapping[str, Any] | None = None
    postprocessing: str = ""


def read_metadata(file: Path) -> Metadata | None:
    """The generation parameters in a picture; None if it has none.

    Raises:
        InputError: it is missing, no whole PNG, JPEG or WebP, too large, or its metadata cannot be read.
    """
    where = Where(file)
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"is larger than {MAX_FILE_BYTES // 2**20} MB.", where=where)
    except FileNotFoundError:
        raise InputError("there is no such image.", where=where) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}.", where=where) from None
    texts = _texts(file, where)
    for name, text in texts.items():
        if len(text) > MAX_TEXT:
            raise InputError(
                f"its metadata ({name}) has {len(text)} characters; at most {MAX_TEXT} are read.", where=where
            )
    return _recognised(texts, where)


def _texts(file: Path, where: Where) -> dict[str, str]:
    from PIL import Image, UnidentifiedImageError  # not at the top: most plans read no image

    from stableflows.webui.infotext import infotext_of

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images (the limit is ours) and odd EXIF
            with Image.open(file, formats=list(FORMATS)) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise InputError(
                        f"has {image.width}×{image.height} pixels; at most {MAX_PIXELS // 1_000_000} million "
                        "are accepted.",
                        where=where,
                    )
                if image.format == "PNG" and not _own_texts(image.info):
                    image.load()  # text may stand behind the pixels
                texts = _own_texts(image.info)
                parameters = infotext_of(image)
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError("is no PNG, JPEG or WebP image.", where=where) from None
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise InputError(f"is a broken image: {error}.", where=where) from None
    return {**texts, "parameters": parameters} if parameters else texts


CHUNKS = ("parameters", "postprocessing", "prompt", "workflow", "invokeai_metadata", "sd-metadata")
"""Names of text chunks that some program keeps its parameters in."""


def _own_texts(info: Mapping[Any, Any]) -> dict[str, str]:
    return {name: str(info[name]) for name in CHUNKS if isinstance(info.get(name), str)}


def _recognised(texts: Mapping[str, str], where: Where) -> Metadata | None:
    """The metadata by who wrote it. Other programs first: SwarmUI writes into the WebUI's own chunk, and what
    ComfyUI saved may carry an infotext of a plug-in, which says less than its graph."""
    for name in ("invokeai_metadata", "sd-metadata"):
        if name in texts:
            return Metadata(Program.INVOKEAI, data=_json(name, texts[name], where))
    parameters = texts.get("parameters", "").strip()
    if parameters.startswith("{"):
        found = _json_or_none(parameters)
        if found is not None:
            known = "sui_image_params" in found
            return Metadata(Program.SWARMUI if known else Program.UNKNOWN, data=found)
    if parameters:
        return Metadata(Program.WEBUI, text=parameters, postprocessing=texts.get("postprocessing", ""))
    if "prompt" in texts:
        return Metadata(Program.COMFYUI, data=_json("prompt", texts["prompt"], where))
    if "workflow" in texts:
        return Metadata(Program.COMFYUI, data={})
    return None


def _json(name: str, text: str, where: Where) -> dict[str, Any]:
    found = _json_or_none(text)
    if found is None:
        raise InputError(f"its metadata ({name}) is no whole JSON.", where=where)
    return found


def _json_or_none(text: str) -> dict[str, Any] | None:
    try:
        # ComfyUI writes NaN, which JSON has not.
        loaded = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return loaded if isinstance(loaded, dict) else None
