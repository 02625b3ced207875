"""A picture from an answer: decoded once, wholly, before anyone trusts it."""

from __future__ import annotations

import base64
import binascii
import re
from io import BytesIO

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from .errors import CallSite, IncompleteResponse, UnexpectedAnswer, WebUIError
from .infotext import infotext_of
from .models import ImageBytes

__all__ = ["decode_image"]

_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,")
_Opener = type[PngImageFile] | type[JpegImageFile] | type[WebPImageFile]


def decode_image(text: str, site: CallSite, *, max_pixels: int) -> ImageBytes:
    """Decodes a base64 picture (bare, or as a data URI) and checks that it is whole.

    Args:
        text: what stands in ``images``.
        site: the call, for errors.
        max_pixels: more than that is refused from the header, before any pixel is decoded.

    Raises:
        IncompleteResponse: it breaks off, or its bytes are damaged.
        UnexpectedAnswer: no base64, no PNG, JPEG or WebP, or too many pixels.
    """
    prefix = _DATA_URI.match(text)
    try:
        data = base64.b64decode(text[prefix.end() :] if prefix else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnexpectedAnswer(f"a picture of the answer is no base64 ({error})", site) from None
    opener = _opener(data)
    if opener is None:
        raise UnexpectedAnswer("a picture of the answer is neither PNG nor JPEG nor WebP", site)
    try:
        return _decode(data, opener, site, max_pixels)
    except WebUIError:
        raise
    # Pillow's decoders raise many kinds for damaged bytes; each of them means the same here.
    except Exception as error:
        raise IncompleteResponse(
            f"a picture of the answer is damaged or cut short ({error})", site
        ) from error


def _opener(data: bytes) -> _Opener | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile
    if data.startswith(b"\xff\xd8\xff"):
        return JpegImageFile
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebPImageFile
    return None


def _decode(data: bytes, opener: _Opener, site: CallSite, max_pixels: int) -> ImageBytes:
    # Not Image.open: that has one limit for the whole process and warns where we must refuse.
    with opener(BytesIO(data)) as image:
        width, height = image.size
        if width * height > max_pixels:
            limit = f"{width}x{height}, more than {max_pixels / 1e6:.0f} megapixels"
            raise UnexpectedAnswer(f"a picture of the answer is too large: {limit}", site)
        if isinstance(image, PngImageFile):
            # Loading forgives a missing end and wrong checksums; verifying does not (and leaves it unusable).
            image.verify()
    with opener(BytesIO(data)) as image:
        image.load()
        return ImageBytes(data, _format(image), width, height, infotext_of(image))


def _format(image: Image.Image) -> str:
    return image.format or ""
