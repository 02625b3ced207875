"""Looking after the store: what is in it and what holds it, whether it is whole, and making it smaller.

Held is what a run's folder refers to, and what a job that waits in the queue needs. The rest is there so that
it need not be rendered again; that is what pruning takes, the longest unused first.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stableflows.errors import StableflowsError
from stableflows.inputs import REFERENCE
from stableflows.jobs import inputs_folder, saved_jobs, waiting_jobs
from stableflows.run.folder import RunFolder
from stableflows.store import Store, StoreRecord

__all__ = ["Pruned", "Usage", "prune", "usage", "verify"]


@dataclass(frozen=True)
class Held:
    """What runs and waiting jobs refer to.

    Attributes:
        keys: of calls. images: by SHA-256. jobs: by id.
        by_run: bytes of store images that a run's folder refers to, by the folder's name.
        unreadable: folders whose records cannot be read; nothing is pruned as long as there are any.
    """

    keys: frozenset[str]
    images: frozenset[str]
    jobs: frozenset[str]
    by_run: dict[str, int]
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class Usage:
    """Sizes in bytes. `free` is what nothing refers to."""

    records: int
    images: int
    bytes: int
    inputs: int
    free: int
    by_run: dict[str, int]


@dataclass
class Pruned:
    """What pruning took, or would take."""

    records: int = 0
    images: int = 0
    inputs: int = 0
    jobs: int = 0
    bytes: int = 0
    left: int = 0
    """Bytes of images that remain."""
    files: list[Path] = field(default_factory=list)


def usage(root: Path) -> Usage:
    """How large the store of an output root is, and what holds it.

    Raises:
        StableflowsError: a run's records cannot be read.
    """
    store, held = Store(root), _held(root)
    sizes = {file.stem: file.stat().st_size for file in store.images()}
    return Usage(
        records=sum(1 for _ in store.record_files()),
        images=len(sizes),
        bytes=sum(sizes.values()),
        inputs=sum(file.stat().st_size for file in inputs_folder(root).glob("*")),
        free=sum(size for sha256, size in sizes.items() if sha256 not in held.images),
        by_run=held.by_run,
    )


def verify(root: Path) -> Iterator[str]:
    """A line for each thing in the store that is not as it was put in. Reads every image."""
    store = Store(root)
    for file in store.record_files():
        found = store.find(file.stem)
        if found is not None and not isinstance(found, StoreRecord):
            yield found.reason
    for file in (*store.images(), *inputs_folder(root).glob("*")):
        if hashlib.sha256(file.read_bytes()).hexdigest() != file.stem:
            yield f"{file.relative_to(root)} was changed"


def prune(
    root: Path, *, older_than: float | None = None, max_bytes: int | None = None, dry_run: bool = False
) -> Pruned:
    """Take out of the store what nothing refers to.

    Args:
        older_than: seconds since it was made or last used; what is younger stays. None: no matter.
        max_bytes: take the longest unused first, until the images are no more than this. None: as much as
            `older_than` allows.
        dry_run: only say what would go.

    Raises:
        StableflowsError: a run's records cannot be read, so that nobody knows what it refers to.
        OSError: a file cannot be deleted.
    """
    held = _held(root)
    if held.unreadable:
        raise StableflowsError(
            f"nothing was pruned, for the records of {', '.join(held.unreadable)} cannot be read; "
            "delete those folders, or put them right."
        )
    latest = time.time() - older_than if older_than is not None else float("inf")
    taken = _Pruning(Store(root), held, latest, max_bytes).run()
    _take_jobs(root, held, latest, taken)
    if not dry_run:
        for file in taken.files:
            file.unlink(missing_ok=True)
    return taken


class _Pruning:
    """Which records and images go."""

    def __init__(self, store: Store, held: Held, latest: float, max_bytes: int | None) -> None:
        """Args: latest: what was used after this time stays."""
        self._held, self._latest, self._max_bytes = held, latest, max_bytes
        self._images = {file.stem: file for file in store.images()}
        self._users: Counter[str] = Counter()
        self._records: list[tuple[float, Path, tuple[str, ...]]] = []
        for file in store.record_files():
            found = store.find(file.stem, whole=False)
            refers = tuple(image.sha256 for image in found.images) if isinstance(found, StoreRecord) else ()
            self._users.update(refers)
            if file.stem not in held.keys:
                self._records.append((file.stat().st_mtime, file, refers))
        self._taken = Pruned(left=sum(file.stat().st_size for file in self._images.values()))

    def run(self) -> Pruned:
        for last_use, file, refers in sorted(self._records):
            if last_use > self._latest or self._enough:
                break
            self._taken.records += 1
            self._taken.files.append(file)
            self._users.subtract(refers)
            for sha256 in refers:
                self._drop(sha256)
        for sha256 in sorted(self._images, key=lambda one: self._images[one].stat().st_mtime):
            if self._enough:
                break
            self._drop(sha256)
        return self._taken

    @property
    def _enough(self) -> bool:
        return self._max_bytes is not None and self._taken.left <= self._max_bytes

    def _drop(self, sha256: str) -> None:
        file = self._images.get(sha256)
        if file is None or self._users[sha256] or sha256 in self._held.images:
            return
        stat = file.stat()
        if stat.st_mtime > self._latest:
            return
        self._taken.images += 1
        self._taken.bytes += stat.st_size
        self._taken.left -= stat.st_size
        self._taken.files.append(self._images.pop(sha256))


def _take_jobs(root: Path, held: Held, latest: float, taken: Pruned) -> None:
    """Saved jobs that nobody refers to, and input images of no job that stays."""
    needed: set[str] = set()
    for file, text in saved_jobs(root):
        if file.stem in held.jobs or file.stat().st_mtime > latest:
            needed.update(part[:64] for part in text.split(REFERENCE)[1:])
        else:
            taken.jobs += 1
            taken.files.append(file)
    for file in inputs_folder(root).glob("*"):
        if file.stem not in needed and file.stat().st_mtime <= latest:
            taken.inputs += 1
            taken.bytes += file.stat().st_size
            taken.files.append(file)


def _held(root: Path) -> Held:
    keys: set[str] = set()
    images: set[str] = set()
    jobs: set[str] = set(waiting_jobs(root))
    by_run: dict[str, int] = {}
    unreadable: list[str] = []
    for plan_file in sorted(root.glob("*/plan.json")):
        folder = RunFolder(root, plan_file.parent.name)
        try:
            jobs.add(folder.plan().job_id)
            outputs = [record.output for record in folder.calls() if record.output]
        except StableflowsError:
            unreadable.append(folder.name)
            continue
        files = {image.sha256: root / image.path for output in outputs for image in output.images}
        keys.update(output.key for output in outputs)
        images.update(files)
        by_run[folder.name] = sum(file.stat().st_size for file in files.values() if file.exists())
    return Held(frozenset(keys), frozenset(images), frozenset(jobs), by_run, tuple(unreadable))
