"""Images that a job brings along: inputs, masks, images for always-on scripts.

From the moment a job is read they are named by content, "sha256:<hex>", so that neither keys nor jobs
hold paths; their files are copied under the output root when the run starts.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stableflows.errors import InputError, Where

__all__ = ["REFERENCE", "InputImage", "InputImages", "bind_images", "with_images"]

REFERENCE = "sha256:"
FORMATS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}
MAX_PIXELS = 200_000_000
"""Larger inputs are refused; the WebUI itself would not survive them."""


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
            data = file.read_bytes()
        except FileNotFoundError:
            beside = sorted(p.name for p in file.parent.glob("*") if p.suffix.lower() in _SUFFIXES)
            raise InputError(
                f"there is no image {str(file)!r}.", where=where, allowed=beside, value=file.name
            ) from None
        except OSError as error:
            raise InputError(f"cannot read {str(file)!r}: {error.strerror}.", where=where) from None
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 not in self._images:
            width, height, suffix = _inspect(file, where)
            self._images[sha256] = InputImage(sha256, width, height, suffix, file)
        return self._images[sha256]

    def __getitem__(self, sha256: str) -> InputImage:
        """Raises: InputError: the image of a saved job is no longer in the store."""
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
        with Image.open(file, formats=list(FORMATS)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(
                    f"{str(file)!r} has {image.width}×{image.height} pixels; at most "
                    f"{MAX_PIXELS // 1_000_000} million are accepted.",
                    where=where,
                )
            image.load()
            return image.width, image.height, FORMATS[str(image.format)]
    except UnidentifiedImageError:
        raise InputError(f"{str(file)!r} is no PNG, JPEG or WebP image.", where=where) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{str(file)!r} is a broken image: {error}.", where=where) from None


def bind_images(config: Any, read: Callable[[str], InputImage]) -> Any:
    """A nested config with its image files replaced by references: the mask of img2img, and every
    {"image_file": PATH} inside alwayson_scripts."""
    if not isinstance(config, Mapping):
        return config
    bound = dict(config)
    for stage, settings in config.items():
        if not isinstance(settings, Mapping):
            continue
        mask, scripts = settings.get("mask"), settings.get("alwayson_scripts")
        changes: dict[str, Any] = {}
        if stage == "img2img" and isinstance(mask, str) and not mask.startswith(REFERENCE):
            changes["mask"] = read(mask).reference
        if scripts is not None:
            changes["alwayson_scripts"] = _bind(scripts, read)
        bound[stage] = {**settings, **changes}
    return bound


def _bind(value: Any, read: Callable[[str], InputImage]) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"image_file"} and isinstance(value["image_file"], str):
            return read(value["image_file"]).reference
        return {key: _bind(one, read) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_bind(one, read) for one in value]
    return value


def with_images(value: Any, load: Callable[[str], str]) -> Any:
    """A request body with each reference to an image replaced by what `load` gives for its SHA-256."""
    if isinstance(value, str) and value.startswith(REFERENCE) and len(value) == len(REFERENCE) + 64:
        return load(value.removeprefix(REFERENCE))
    if isinstance(value, Mapping):
        return {key: with_images(one, load) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [with_images(one, load) for one in value]
    return value
