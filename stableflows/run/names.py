"""Names of folders and images: unique by construction, short, legal on Windows and on Linux."""

from __future__ import annotations

import re
import unicodedata
from datetime import date

from stableflows.stages import StageType

__all__ = ["image_name", "run_name", "slug", "stage_image_name"]

RESERVED = frozenset(
    {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}
)
"""Device names, which Windows refuses as a file's stem (learn.microsoft.com, "Naming Files, Paths, and
Namespaces")."""

NETWORK_TAG = re.compile(r"<[^<>:]*:[^<>]*>")
"""`<lora:name:0.8>`: says little about the picture, and would fill a name."""

SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")


def slug(text: str, max_length: int = 40) -> str:
    """`text` as a part of a file name: ASCII letters and digits, lower case, words joined by "-".

    Cut at the end of a word where there is one in its second half. Never empty: text without any letter or
    digit that ASCII knows becomes "untitled".

    Args:
        max_length: in characters, at least 8.
    """
    if max_length < 8:
        raise ValueError(f"max_length {max_length} is less than 8")
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")
    if len(words) > max_length:
        end = words.rfind("-", max_length // 2, max_length + 1)
        words = words[: end if end > 0 else max_length].strip("-")
    if words in RESERVED:
        words = f"x-{words}"
    return words or "untitled"


def run_name(day: date, job_name: str, short_id: str) -> str:
    """Name of a run's folder: `2026-11-21-nightly-portraits-3f2a9c1b`."""
    return f"{day:%Y-%m-%d}-{slug(job_name, 32)}-{slug(short_id, 8)}"


def image_name(entry_number: int, prompt: str, seed: int | None, *, index: int, n: int, suffix: str) -> str:
    """Name of a finished image: `0001-a-lighthouse-at-dusk-1234.png`.

    Of several images of an entry, each also has its number: `0001-a-lighthouse-at-dusk-1234-2.png`; for
    equal seeds happen (several inputs, one seed). Within a run an entry's number and `index` make the name
    unique, whatever prompt and seed are.

    Args:
        entry_number: from 1.
        seed: None for an image without one.
        index: of the image among the entry's `n`, from 0.
        suffix: of the file, with its dot, lower case.
    """
    parts = [f"{entry_number:04}", slug(NETWORK_TAG.sub(" ", prompt))]
    if seed is not None:
        parts.append(str(seed))
    if n > 1:
        parts.append(_number(index, n))
    return "-".join(parts) + _checked(suffix)


def stage_image_name(
    entry_number: int, stage: StageType, seed: int | None, *, index: int, n: int, suffix: str
) -> str:
    """Name of an image that a stage in between made: entry, image, stage, seed: `0001-2-txt2img-1234.png`.

    Unique within a run by entry number, index and stage, for a plan has each stage at most once.
    """
    parts = [f"{entry_number:04}", _number(index, n), stage.value]
    if seed is not None:
        parts.append(str(seed))
    return "-".join(parts) + _checked(suffix)


def _number(index: int, n: int) -> str:
    """`index` from 0 as a number from 1, as wide as the largest."""
    if not 0 <= index < n:
        raise ValueError(f"image {index} of {n}")
    return f"{index + 1:0{len(str(n))}}"


def _checked(suffix: str) -> str:
    if not SUFFIX.fullmatch(suffix):
        raise ValueError(f"{suffix!r} is not a file suffix such as '.png'")
    return suffix
