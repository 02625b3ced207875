"""One picture a size for every answer, so that drawing and packing take nothing from what is measured.

Each file still has its own infotext, so that no two answers are the same bytes; its pixels are a drawn
picture's, so that whoever decodes it has as much to do as ever.
"""

import io
import threading

from PIL import Image, PngImagePlugin

from stableflows.sandbox import draw
from stableflows.sandbox.images import text_chunks

_HEAD = 8 + 25
"""Bytes of a PNG before its first optional chunk: the signature and IHDR."""
_PNG_LEVEL = 1


class Stock:
    """The pictures that were needed so far, by their size."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._drawn: dict[tuple[int, int], tuple[Image.Image, bytes]] = {}

    def picture(self, size: tuple[int, int]) -> Image.Image:
        """A copy of the picture of this size."""
        return self._of(size)[0].copy()

    def file(self, image: Image.Image) -> bytes:
        """The PNG of the picture of this image's size, with this image's text."""
        plain = self._of(image.size)[1]
        text = text_chunks(image.info)
        more = io.BytesIO()
        for name, data, *_ in text.chunks if text else ():
            PngImagePlugin.putchunk(more, name, data)
        return plain[:_HEAD] + more.getvalue() + plain[_HEAD:]

    def _of(self, size: tuple[int, int]) -> tuple[Image.Image, bytes]:
        with self._guard:
            if size not in self._drawn:
                recipe = draw.Recipe({"stock": size}, prompt="a lighthouse", checkpoint="stock")
                image = draw.generate(recipe, *size)
                buffer = io.BytesIO()
                image.save(buffer, "PNG", compress_level=_PNG_LEVEL)
                self._drawn[size] = (image, buffer.getvalue())
            return self._drawn[size]
