"""Images in and out: base64, the formats of ``samples_format``, sizes, grids."""

import base64
import io
import math
from typing import Any

from PIL import Image, ImageOps, PngImagePlugin

from stableflows.sandbox.errors import HTTPError
from stableflows.sandbox.options import Options

USER_COMMENT = 0x9286
EXIF_IFD = 0x8769
LANCZOS = Image.Resampling.LANCZOS
_PNG_LEVEL = 1  # A test waits for these: speed counts more than size.


def decode(text: str, options: Options) -> Image.Image:
    """A request's image. It is never fetched from a URL.

    Raises:
        HTTPError: 500 with the text that the real server answers.
    """
    if text.startswith(("http://", "https://")):
        if not options["api_enable_requests"]:
            raise HTTPError(500, "Requests not allowed")
        if options["api_forbid_local_requests"]:
            raise HTTPError(500, "Request to local resource not allowed")
        raise HTTPError(500, "Invalid image url")
    if text.startswith("data:image/"):
        text = text.split(";")[1].split(",")[1] if ";" in text and "," in text else ""
    try:
        image = Image.open(io.BytesIO(base64.b64decode(text)))
        image.load()
    except Exception as error:
        raise HTTPError(500, "Invalid encoded image") from error
    upright = ImageOps.exif_transpose(image)
    return upright if upright is not None else image


def flatten(image: Image.Image, background: str) -> Image.Image:
    """Without transparency, on the option's background colour."""
    if image.mode == "RGBA":
        ground = Image.new("RGBA", image.size, background)
        ground.alpha_composite(image)
        return ground.convert("RGB")
    return image.convert("RGB")


def encode(image: Image.Image, options: Options) -> bytes:
    """The bytes of an answer's image in the option's format, its text kept.

    Raises:
        HTTPError: for a format that the server does not know.
    """
    kind = str(options["samples_format"]).lower()
    buffer = io.BytesIO()
    if kind == "png":
        image.save(buffer, "PNG", pnginfo=text_chunks(image.info), compress_level=_PNG_LEVEL)
    elif kind in ("jpg", "jpeg", "webp"):
        exif = Image.Exif()
        comment = str(image.info.get("parameters") or "")
        exif.get_ifd(EXIF_IFD)[USER_COMMENT] = b"UNICODE\0" + comment.encode("utf-16-be")
        plain = image.convert("RGB") if image.mode in ("RGBA", "P") else image
        if kind == "webp":
            lossless = bool(options["webp_lossless"])
            plain.save(buffer, "WEBP", exif=exif, quality=int(options["jpeg_quality"]), lossless=lossless)
        else:
            plain.save(buffer, "JPEG", exif=exif, quality=int(options["jpeg_quality"]))
    else:
        raise HTTPError(500, "Invalid image format")
    return buffer.getvalue()


def text_chunks(info: dict[Any, Any]) -> PngImagePlugin.PngInfo | None:
    """An image's text as PNG chunks."""
    chunks = PngImagePlugin.PngInfo()
    found = False
    for key, value in info.items():
        if isinstance(key, str) and isinstance(value, str):
            chunks.add_text(key, value)
            found = True
    return chunks if found else None


def resize(mode: int, image: Image.Image, width: int, height: int) -> Image.Image:
    """img2img's resize modes: 0 and 3 stretch, 1 crops to fill, 2 fits and fills the rest with the edges."""
    if (mode in (0, 3)) or image.size == (width, height):
        return image.resize((width, height), LANCZOS)
    if mode == 1:
        return ImageOps.fit(image, (width, height), LANCZOS)
    inner = ImageOps.contain(image, (width, height), LANCZOS)
    ground = image.resize((width, height), LANCZOS)
    ground.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    return ground


def grid(images: list[Image.Image], batch_size: int, options: Options) -> Image.Image:
    """All images in one, in as many rows as the option ``n_rows`` says (-1: about a square)."""
    rows_wanted = int(options["n_rows"])
    if rows_wanted > 0:
        rows = rows_wanted
    elif rows_wanted == 0:
        rows = batch_size
    else:
        rows = round(math.sqrt(len(images)))
    rows = max(1, min(rows, len(images)))
    return tiled(images, rows, math.ceil(len(images) / rows))


def tiled(images: list[Image.Image], rows: int, columns: int) -> Image.Image:
    width = max(image.width for image in images)
    height = max(image.height for image in images)
    sheet = Image.new("RGB", (columns * width, rows * height), "black")
    for number, image in enumerate(images[: rows * columns]):
        sheet.paste(image, (number % columns * width, number // columns * height))
    return sheet


def tiles(image: Image.Image, width: int, height: int, overlap: int) -> list[tuple[int, int, Image.Image]]:
    """The overlapping tiles of "SD upscale": left, top and picture of each.

    Raises:
        ServerError-like ZeroDivisionError is the caller's: an overlap as large as the tile has no answer.
    """
    columns = max(1, math.ceil((image.width - overlap) / (width - overlap)))
    rows = max(1, math.ceil((image.height - overlap) / (height - overlap)))
    step_x = (image.width - width) / (columns - 1) if columns > 1 else 0
    step_y = (image.height - height) / (rows - 1) if rows > 1 else 0
    result = []
    for row in range(rows):
        top = min(int(row * step_y), max(0, image.height - height))
        for column in range(columns):
            left = min(int(column * step_x), max(0, image.width - width))
            result.append((left, top, image.crop((left, top, left + width, top + height))))
    return result
