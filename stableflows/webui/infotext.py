"""The infotext: what a WebUI writes beside (and into) each picture about how it was made.

Prompt, then ``Negative prompt: ...``, each of any number of lines, then one line ``Key: value, Key: value``.
That line counts only with three or more pairs; a value with a comma, a colon or a newline is a JSON string
(AUTOMATIC1111 v1.10.1, ``modules/infotext_utils.py``). In a PNG it is the text chunk ``parameters``; in JPEG
and WebP the EXIF field UserComment.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from PIL import Image, UnidentifiedImageError

__all__ = ["Infotext", "infotext_of", "parse_infotext", "read_infotext"]

# A key begins only where no character of a key stands before it, and is never tried shorter: a server's text
# may be a megabyte of words, and each of them a beginning.
_PAIR = re.compile(r'(?<![\w \-/])[ \-/]*+(\w[\w \-/]++):\s*+("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_FEWEST_PAIRS = 3
_NEGATIVE = "Negative prompt:"
_CIVITAI_HASHES = re.compile(r",\s*Hashes:\s*(?=\{)")
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_COMMENT_HEADER = 8


@dataclass(frozen=True, slots=True)
class Infotext:
    """A parsed infotext. ``params`` keeps the server's keys and order; its values are unquoted text."""

    prompt: str = ""
    negative_prompt: str = ""
    params: Mapping[str, str] = field(default_factory=dict)

    def number(self, key: str) -> float | None:
        """The value of a key as a number, if it is there and one; infinity is none."""
        try:
            value = float(self.params[key])
        except (KeyError, ValueError):
            return None
        return value if math.isfinite(value) else None

    @property
    def seed(self) -> int | None:
        text = self.params.get("Seed", "").strip()
        return int(text) if re.fullmatch(r"-?\d{1,20}", text) else None

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height *asked for* in the first pass: the pixels of the picture may be others."""
        found = re.fullmatch(r"(\d{1,9})x(\d{1,9})", self.params.get("Size", "").strip())
        return (int(found[1]), int(found[2])) if found else None

    @property
    def lora_hashes(self) -> dict[str, str]:
        """Name as written in the prompt's tag (without ``:`` and ``,``) to hash."""
        return _hashes(self.params.get("Lora hashes", ""))

    @property
    def embedding_hashes(self) -> dict[str, str]:
        """Only of prompts that were newly encoded: absence proves nothing."""
        return _hashes(self.params.get("TI hashes", ""))


def _hashes(text: str) -> dict[str, str]:
    pairs = (part.rpartition(": ") for part in text.split(", ") if ": " in part)
    return {name.strip(): value.strip() for name, _, value in pairs}


def parse_infotext(text: str) -> Infotext:
    """Reads an infotext as AUTOMATIC1111's "PNG Info" does; text of another form is all prompt."""
    lines = text.strip().split("\n")
    last, civitai = _without_civitai_hashes(lines[-1])
    pairs = _PAIR.findall(last)
    if len(pairs) >= _FEWEST_PAIRS:
        lines.pop()
    else:
        pairs, civitai = [], {}
    prompt, negative = _prompts(lines)
    return Infotext(prompt, negative, {key: _unquoted(value) for key, value in pairs} | civitai)


def _without_civitai_hashes(line: str) -> tuple[str, dict[str, str]]:
    # Civitai's extension writes this one value as bare JSON, commas and all.
    found = _CIVITAI_HASHES.search(line)
    if not found:
        return line, {}
    try:
        value, end = json.JSONDecoder().raw_decode(line, found.end())
    except (ValueError, RecursionError):
        return line, {}
    return line[: found.start()] + line[end:], {"Hashes": json.dumps(value)}


def _prompts(lines: list[str]) -> tuple[str, str]:
    prompt: list[str] = []
    negative: list[str] = []
    current = prompt
    for line in lines:
        text = line.strip()
        if text.startswith(_NEGATIVE):
            current = negative
            text = text.removeprefix(_NEGATIVE).strip()
        current.append(text)
    return "\n".join(prompt).strip("\n"), "\n".join(negative).strip("\n")


def _unquoted(value: str) -> str:
    text = value.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        try:
            loaded = json.loads(text)
        except ValueError:
            return text
        return loaded if isinstance(loaded, str) else text
    return text


def infotext_of(image: Image.Image) -> str | None:
    """The infotext in an opened picture, or None.

    PNG text after the pixels is seen only once they are loaded.
    """
    text = image.info.get("parameters")
    if isinstance(text, str):
        return text
    exif: Any = image.getexif().get_ifd(_EXIF_IFD)
    comment = exif.get(_USER_COMMENT)
    return _user_comment(comment) if isinstance(comment, bytes) and comment else None


def _user_comment(comment: bytes) -> str | None:
    header, text = comment[:_COMMENT_HEADER], comment[_COMMENT_HEADER:]
    if header == b"UNICODE\0":
        # The standard leaves the byte order open. Mostly Latin text has its zero bytes in the high halves.
        order = "utf-16-le" if text[1::2].count(0) > text[0::2].count(0) else "utf-16-be"
        return text.decode(order, "replace").rstrip("\0") or None
    if header == b"ASCII\0\0\0":
        text = text.rstrip(b"\0")
    elif b"\0" in header:
        text = text.strip(b"\0")
    else:
        text = comment
    return text.decode("utf-8", "replace") or None


def read_infotext(data: bytes) -> str | None:
    """The infotext in a picture file's bytes; None if it has none or is no picture."""
    try:
        with Image.open(BytesIO(data)) as image:
            image.load()
            return infotext_of(image)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
