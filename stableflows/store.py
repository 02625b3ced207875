"""The store: what was rendered, by the identity of the call that made it.

    <root>/store/records/ab/<key>.json     what a call brought
    <root>/store/images/ab/<sha256>.png    its images, as the server sent them

The images of runs are links into it (copies where the file system has no hard links), so that a run's
folder can be deleted and made again without a request.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from weakref import WeakValueDictionary

from pydantic import Field, ValidationError

from stableflows.failpoints import failpoint
from stableflows.results import Record, StageOutput
from stableflows.run.files import as_json, parsed, try_lock, unlock, write_new, write_whole
from stableflows.stages import StageType

__all__ = ["Damage", "Store", "StoreRecord", "StoredImage"]

SHA256 = r"^[0-9a-f]{64}$"
SUFFIX = r"^\.[a-z0-9]{1,5}$"
LOCK_POLL = 0.25
"""Seconds between two looks whether another process has finished an equal call."""


class StoredImage(Record):
    """One image of a record. Its file is found by content, so that no record holds a path."""

    sha256: str = Field(pattern=SHA256)
    suffix: str = Field(pattern=SUFFIX)
    size: int
    """Bytes."""
    width: int
    height: int
    seed: int | None = None
    infotext: str = ""


class StoreRecord(Record):
    """What one call brought."""

    version: Literal[1] = 1
    key: str = Field(pattern=SHA256)
    stage_type: StageType
    images: tuple[StoredImage, ...]
    duration: float
    """Seconds that the server took when the call was made."""
    unverified: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    reported: dict[str, Any] = Field(default_factory=dict)
    created: str
    """UTC, ISO 8601."""


@dataclass(frozen=True)
class Damage:
    """A record whose images are not all there, or not as they were: the call is made again."""

    reason: str


class Store:
    """The store of one output root. Any number of processes may use it at once: files are put in whole, under
    the name of their content."""

    def __init__(self, root: Path) -> None:
        self.path = root / "store"
        self._records = self.path / "records"
        self._images = self.path / "images"
        self._locks = self.path / "locks"
        self._in_flight: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def find(self, key: str, *, whole: bool = True) -> StoreRecord | Damage | None:
        """What is known of a call; None if it was never made.

        Args:
            whole: read every image and compare its SHA-256; else only look at its size, for a forecast.
        """
        record = self._read(self._record_file(key))
        if not isinstance(record, StoreRecord):
            return record
        for image in record.images:
            if problem := self._problem(image, whole):
                return Damage(problem)
        return record

    def used(self, key: str) -> None:
        """A call was taken from the store: pruning takes what was not used for longest."""
        with suppress(OSError):
            os.utime(self._record_file(key))

    def record_files(self) -> Iterator[Path]:
        """The file of every record; its stem is the key."""
        return self._records.glob("*/*.json")

    def images(self) -> Iterator[Path]:
        """Every image; its stem is its SHA-256."""
        return (file for file in self._images.glob("*/*") if not file.name.startswith("."))

    def image_file(self, sha256: str, suffix: str) -> Path:
        """Where an image is, if it is in the store."""
        return self._images / sha256[:2] / f"{sha256}{suffix}"

    def put_image(self, data: bytes, suffix: str) -> Path:
        """Keep an image; it is on disk, whole, when this returns.

        Raises:
            OSError: it cannot be written; nothing half-written is left.
        """
        file = self.image_file(hashlib.sha256(data).hexdigest(), suffix)
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_new(file, data)
        except FileExistsError:
            if file.read_bytes() != data:  # it was damaged; what is linked to it keeps its own bytes
                write_whole(file, data)
        return file

    def knows_name(self, name_key: str) -> bool:
        """Whether a call was made whose LoRAs and embeddings have these names, of whatever content."""
        return self._name_file(name_key).exists()

    def put(self, key: str, output: StageOutput, name_key: str | None = None) -> None:
        """Keep what a call brought; its images are in the store already.

        Args:
            name_key: see `CallIdentity.name_key`.

        Raises:
            OSError: it cannot be written.
        """
        record = StoreRecord(
            key=key,
            stage_type=output.stage_type,
            images=tuple(
                StoredImage(
                    sha256=image.sha256,
                    suffix=Path(image.path).suffix,
                    size=self.image_file(image.sha256, Path(image.path).suffix).stat().st_size,
                    width=image.width,
                    height=image.height,
                    seed=image.seed,
                    infotext=image.infotext,
                )
                for image in output.images
            ),
            duration=output.duration,
            unverified=output.unverified,
            warnings=output.warnings,
            reported=output.reported,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        file = self._record_file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        failpoint("before-store-record")
        write_whole(file, as_json(record.model_dump(mode="json")))
        if name_key is not None:
            self._name_file(name_key).parent.mkdir(parents=True, exist_ok=True)
            self._name_file(name_key).touch()

    def is_making(self, key: str) -> bool:
        """Whether a call of this process is making it now."""
        lock = self._in_flight.get(key)
        return lock is not None and lock.locked()

    @asynccontextmanager
    async def making(self, key: str) -> AsyncIterator[None]:
        """Nobody else makes the call `key` meanwhile, neither here nor in another process: who waited looks
        into the store first, so that equal calls share one request."""
        here = self._in_flight.setdefault(key, asyncio.Lock())
        async with here:
            self._locks.mkdir(parents=True, exist_ok=True)
            while (lock := try_lock(self._locks / f"{key}.lock")) is None:  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(LOCK_POLL)
            try:
                yield
            finally:
                unlock(lock)

    def sweep(self) -> None:
        """Delete the lock files of processes that were killed; those of living ones stay."""
        for file in self._locks.glob("*.lock"):
            lock = try_lock(file)
            if lock is not None:
                unlock(lock)

    def _read(self, file: Path) -> StoreRecord | Damage | None:
        try:
            return StoreRecord.model_validate(parsed(file.read_bytes()))
        except FileNotFoundError:
            return None
        except (ValidationError, ValueError) as error:
            return Damage(f"store record {file.name} cannot be read ({type(error).__name__})")

    def _problem(self, image: StoredImage, whole: bool) -> str | None:
        file = self.image_file(image.sha256, image.suffix)
        try:
            size = file.stat().st_size
            if size != image.size:
                return f"store image {file.name} has {size} bytes instead of {image.size}"
            if whole and hashlib.sha256(file.read_bytes()).hexdigest() != image.sha256:
                return f"store image {file.name} was changed"
        except OSError as error:
            return f"store image {file.name} cannot be read: {error.strerror}"
        return None

    def _name_file(self, name_key: str) -> Path:
        return self.path / "names" / name_key[:2] / name_key

    def _record_file(self, key: str) -> Path:
        return self._records / key[:2] / f"{key}.json"
