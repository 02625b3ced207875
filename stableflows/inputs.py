"""Images that a job brings along: inputs, masks, images for always-on scripts.

From the moment a job is read they are named by content, "sha256:<hex>", so that neither keys nor jobs
hold paths; their files are copied under the output root when the run starts.
"""

from __future__ import annotations

import base64
import hashlib
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stableflows.config.base import PROMPT_FIELDS
from stableflows.errors import InputError, Where

__all__ = ["REFERENCE", "SCRIPTS", "InputImage", "InputImages", "bind_images", "with_files", "with_images"]

REFERENCE = "sha256:"
_REFERENCE = re.compile(f"{REFERENCE}([0-9a-f]{{64}})")
IMAGES = frozenset({"init_images", "mask", "image"})
"""Fields of a request that hold images; an always-on script may have them anywhere but in its texts."""
SCRIPTS = "alwayson_scripts"
FORMATS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}
MAX_PIXELS = 178_000_000
"""Larger inputs are refused; the WebUI itself would not survive them, and Pillow refuses 178,956,971."""
MAX_BYTES = 512 * 2**20


@dataclass(frozen=True)
class InputImage:
    """An image file, read once, known by its content."""

    sha256: str
    width: int
    height: int
    suffix: str
    file: Path

    @property
    def reference(self) -> str:
        return REFERENCE + self.sha256


class InputImages:
    """The images of a job, by SHA-256."""

    def __init__(self, store: Path | None = None) -> None:
        """Args: store: the folder of a run's inputs, from which references of a saved job are found."""
        self._images: dict[str, InputImage] = {}
        self._store = store

    def add(self, file: Path, where: Where | None = None) -> InputImage:
        """Read an image file.

        Raises:
            InputError: it is missing, unreadable, no whole PNG, JPEG or WebP, or too large.
        """
        where = where or Where()
        try:
            if file.exists() and not file.is_file():  # a pipe would be waited for, a device read without end
                raise InputError(f"{str(file)!r} is no regular file.", where=where)
            with file.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
        except FileNotFoundError:
            beside = sorted(p.name for p in file.parent.glob("*") if p.suffix.lower() in _SUFFIXES)
            raise InputError(
                f"there is no image {str(file)!r}.", where=where, allowed=beside, value=file.name
            ) from None
        except OSError as error:
            raise InputError(f"cannot read {str(file)!r}: {error.strerror}.", where=where) from None
        if len(data) > MAX_BYTES:
            raise InputError(f"{str(file)!r} has more than {MAX_BYTES // 2**20} MB.", where=where)
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 not in self._images:
            width, height, suffix = _inspect(file, where)
            self._images[sha256] = InputImage(sha256, width, height, suffix, file)
        return self._images[sha256]

    def __getitem__(self, sha256: str) -> InputImage:
        """Raises: InputError: the image of a saved job is no longer in the store."""
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise InputError(f"{sha256[:80]!r} is no SHA-256 of an image.")
        if sha256 not in self._images and self._store:
            for file in self._store.glob(f"{sha256}.*"):
                width, height, suffix = _inspect(file, Where())
                self._images[sha256] = InputImage(sha256, width, height, suffix, file)
        try:
            return self._images[sha256]
        except KeyError:
            raise InputError(
                f"the job's input image {sha256[:12]} is no longer in {self._store}; "
                "run the job from its pack again."
            ) from None

    def keep(self, store: Path, write: Callable[[Path, bytes], None]) -> None:
        """Copy every image into `store`, under its SHA-256; those already there are left."""
        for image in self._images.values():
            kept = store / f"{image.sha256}{image.suffix}"
            if not kept.exists():
                write(kept, image.file.read_bytes())

    def base64(self, sha256: str) -> str:
        return base64.b64encode(self[sha256].file.read_bytes()).decode()


_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


def _inspect(file: Path, where: Where) -> tuple[int, int, str]:
    from PIL import Image, UnidentifiedImageError  # not at the top: --help and most plans read no image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of large images and odd EXIF: we say ourselves what is too large
            with Image.open(file, formats=list(FORMATS)) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise InputError(_too_large(file, f"{image.width}×{image.height} pixels"), where=where)
                image.load()
                return image.width, image.height, FORMATS[str(image.format)]
    except UnidentifiedImageError:
        raise InputError(f"{str(file)!r} is no PNG, JPEG or WebP image.", where=where) from None
    except Image.DecompressionBombError:
        raise InputError(_too_large(file, "too many pixels"), where=where) from None
    except InputError:
        raise
    # Pillow's decoders raise many kinds for damaged bytes; each of them means the same here.
    except Exception as error:
        raise InputError(f"{str(file)!r} is a broken image: {error}.", where=where) from None


def _too_large(file: Path, what: str) -> str:
    return f"{str(file)!r} has {what}; at most {MAX_PIXELS // 1_000_000} million are accepted."


def bind_images(config: Any, read: Callable[[str], InputImage]) -> Any:
    """A nested config with its image files replaced by references: the mask of img2img, and every
    {"image_file": PATH} inside alwayson_scripts.

    Raises:
        InputError: a text of a script looks like a reference.
    """
    if not isinstance(config, Mapping):
        return config
    bound = dict(config)
    for stage, settings in config.items():
        if not isinstance(settings, Mapping):
            continue
        mask, scripts = settings.get("mask"), settings.get("alwayson_scripts")
        changes: dict[str, Any] = {}
        if stage == "img2img" and isinstance(mask, str):
            changes["mask"] = read(mask).reference
        if scripts is not None:
            changes["alwayson_scripts"] = _bind(scripts, read)
        bound[stage] = {**settings, **changes}
    return bound


def _bind(value: Any, read: Callable[[str], InputImage]) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"image_file"} and isinstance(value["image_file"], str):
            return read(value["image_file"]).reference
        return {key: one if key in PROMPT_FIELDS else _bind(one, read) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_bind(one, read) for one in value]
    if isinstance(value, str) and _REFERENCE.fullmatch(value):
        raise InputError(
            f"{value[:20]}... in an always-on script would be taken for an image; name a file: "
            "{image_file: PATH}."
        )
    return value


def with_images(body: Mapping[str, Any], load: Callable[[str], str]) -> dict[str, Any]:
    """A request body with each reference to an image replaced by what `load` gives for its SHA-256.

    What stands where an image stands is one: a prompt may look like a reference, too.
    """
    return {
        key: _replaced(value, load) if key in IMAGES or key == SCRIPTS else value
        for key, value in body.items()
    }


def with_files(config: Mapping[str, Any], file_of: Callable[[str], str]) -> dict[str, Any]:
    """The opposite of `bind_images`: a nested config with the files that `file_of` gives for each SHA-256."""

    def script_file(sha256: str) -> Any:
        return {"image_file": file_of(sha256)}

    found = dict(config)
    for stage, settings in config.items():
        if not isinstance(settings, Mapping):
            continue
        found[stage] = dict(settings)
        if stage == "img2img" and settings.get("mask"):
            found[stage]["mask"] = _replaced(settings["mask"], file_of)
        if settings.get(SCRIPTS):
            found[stage][SCRIPTS] = _replaced(settings[SCRIPTS], script_file)
    return found


def _replaced(value: Any, by: Callable[[str], Any]) -> Any:
    if isinstance(value, str) and (named := _REFERENCE.fullmatch(value)):
        return by(named[1])
    if isinstance(value, Mapping):
        return {key: one if key in PROMPT_FIELDS else _replaced(one, by) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(one, by) for one in value]
    return value
