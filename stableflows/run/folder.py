"""The folder of one run: who writes what where, so that nothing is lost and nothing overwritten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock
from pydantic import BaseModel, ValidationError

from stableflows.errors import InputError, StableflowsError
from stableflows.failpoints import failpoint
from stableflows.results import CallRecord
from stableflows.run import names
from stableflows.run.files import (
    PARTIAL_SUFFIX,
    append_line,
    json_pieces,
    link_or_copy,
    one_line,
    parsed,
    read_lines,
    sync_directory,
    try_lock,
    unlock,
    write_new,
    write_whole,
)
from stableflows.run.plan_record import PlanRecord
from stableflows.run.runlog import Event
from stableflows.stages import StageType

__all__ = ["RunFolder", "RunInProgressError"]


class RunInProgressError(InputError):
    """A process renders into this folder now."""


class RunFolder:
    """`<root>/<run>/`. Made by `create` or `open`.

    Attributes:
        root: the output root, absolute.
        stop_file: whoever writes it asks the run to end after the image in hand; its text says why.
        name: of the run's folder in it.
        images, stages: folders of the finished images and of those of the stages in between.
        plan_file, calls_file, manifest_file, csv_file, gallery_file, log_file: see docs/results.md.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.root = root.absolute()
        self.name = name
        self.path = self.root / name
        self.images = self.path
        self.stages = self.path / "stages"
        self.plan_file = self.path / "plan.json"
        self.calls_file = self.path / "calls.jsonl"
        self.manifest_file = self.path / "manifest.json"
        self.csv_file = self.path / "results.csv"
        self.gallery_file = self.path / "index.html"
        self.log_file = self.path / "run.jsonl"
        self.lock_file = self.path / "running.lock"
        self.stop_file = self.path / "stop"

    @classmethod
    def create(cls, root: Path, job_name: str, run_id: str, now: datetime) -> RunFolder:
        """A folder of this run alone, also when another process starts one in the same instant.

        Args:
            now: in the zone in which the user reads dates.

        Raises:
            OSError: it cannot be created (see `files.check_writable` for a message to the user).
        """
        root.mkdir(parents=True, exist_ok=True)
        wanted = names.run_name(now.date(), job_name, run_id)
        for number in count(1):
            folder = cls(root, wanted if number == 1 else f"{wanted}-{number}")
            try:
                folder.path.mkdir()  # Making a folder is atomic: only one process succeeds.
            except FileExistsError:
                continue
            break
        folder.stages.mkdir()
        sync_directory(folder.path)
        sync_directory(folder.root)
        return folder

    @classmethod
    def open(cls, root: Path, name: str) -> RunFolder:
        """The folder of an earlier run.

        Raises:
            InputError: there is none of that name.
        """
        runs = sorted(plan.parent.name for plan in root.glob("*/plan.json"))
        if name not in runs:
            raise InputError(f"There is no run {name!r} in {root}.", allowed=runs, value=name)
        return cls(root, name)

    @contextmanager
    def held(self) -> Iterator[None]:
        """This process is the one that renders into the folder, for the time of the block. The lock is the
        operating system's and dies with the process; a lock file without a holder is a run that was killed,
        or whose disk was full: what became of it could not be written, which whoever starts next then does.

        Raises:
            RunInProgressError: another process does.
        """
        lock = self._lock()
        try:
            yield
        except OSError:
            lock.release()
            raise
        except BaseException:
            unlock(lock)
            raise
        unlock(lock)

    def refuse_if_held(self) -> None:
        """Raises: RunInProgressError: a process renders into it. What a killed one left, stays."""
        self._lock().release()

    def _lock(self) -> FileLock:
        lock = try_lock(self.lock_file)
        if lock is None:
            raise RunInProgressError(f"the run in {self.path} is being rendered by another process now.")
        return lock

    def begin_again(self) -> None:
        """Put away what the run's last process left; only for who holds the folder."""
        self.discard_partial_files()
        self.stop_file.unlink(missing_ok=True)
        self.stages.mkdir(exist_ok=True)

    def remove_if_empty(self) -> None:
        """Delete the folder of a run that was killed before it had a plan."""
        self.lock_file.unlink(missing_ok=True)
        try:
            self.stages.rmdir()
            self.path.rmdir()
        except OSError:
            pass  # somebody put something there: it stays

    def flow_run_ids(self) -> tuple[str, ...]:
        """All Prefect flow runs that the run has spanned, from its log."""
        starts = (line for line in read_lines(self.log_file) if line.get("event") == Event.RUN_START)
        return tuple(dict.fromkeys(str(line["flow_run_id"]) for line in starts if line.get("flow_run_id")))

    @property
    def day(self) -> date:
        """On which the run began, by its name."""
        return date.fromisoformat(self.name[:10])

    def relative(self, path: Path) -> str:
        """`path` as records have it: relative to the output root, with forward slashes."""
        return path.relative_to(self.root).as_posix()

    def place_image(
        self,
        stored: Path,
        *,
        final: bool,
        entry: int,
        stage: StageType,
        index: int,
        n: int,
        seed: int | None,
        prompt: str,
        named: PurePosixPath | None = None,
    ) -> Path:
        """Put an image of the store, as the server sent it, into this folder.

        Args:
            stored: its file there, named after its SHA-256.
            final: whether its stage is the last of its entry.
            entry: index of the entry in the run, from 0 (as in `CallRecord`).
            index: of the image among the entry's `n`, from 0.
            named: a finished image's name in this folder, in place of the usual one.

        Returns:
            Where it is: a link to `stored`, or a copy. If the name is taken by another image, that stays, and
            the new one's name ends in `-r2`, `-r3`, ...

        Raises:
            OSError: it cannot be written; nothing half-written is left.
        """
        suffix = stored.suffix
        if final and named is not None:
            path = self.images / named
            path.parent.mkdir(parents=True, exist_ok=True)
        elif final:
            path = self.images / names.image_name(entry + 1, prompt, seed, index=index, n=n, suffix=suffix)
        else:
            path = self.stages / names.stage_image_name(
                entry + 1, stage, seed, index=index, n=n, suffix=suffix
            )
        for number in count(1):
            place = path if number == 1 else path.with_stem(f"{path.stem}-r{number}")
            try:
                link_or_copy(stored, place)
            except FileExistsError:
                if not place.samefile(stored) and place.read_bytes() != stored.read_bytes():
                    continue
            break
        return place

    def record_call(self, record: CallRecord) -> None:
        """Append a finished call to calls.jsonl; it is on disk when this returns, unless it was a hit: then
        a power cut may cost the line, and whoever takes the run up again finds the images in the store.

        Raises:
            OSError: it cannot be written.
        """
        hit = record.output is not None and record.output.cached
        append_line(self.calls_file, one_line(record.model_dump(mode="json")), lock=False, sync=not hit)

    def calls(self) -> list[CallRecord]:
        """All recorded calls, in the order in which they finished; a line that a kill tore is left out.

        Raises:
            StableflowsError: a whole line is no call record.
        """
        try:
            return [CallRecord.model_validate(data) for data in read_lines(self.calls_file)]
        except ValidationError as error:
            raise StableflowsError(_not_readable(self.calls_file, error)) from None

    def write_plan(self, plan: PlanRecord | Mapping[str, Any]) -> None:
        """Write plan.json, once.

        Raises:
            FileExistsError: it is written already; it is untouched.
            ValidationError: a mapping that is no plan record.
        """
        record = plan if isinstance(plan, PlanRecord) else PlanRecord.model_validate(plan)
        write_new(self.plan_file, json_pieces(record))

    def plan(self) -> PlanRecord:
        """What plan.json says.

        Raises:
            StableflowsError: there is none (the run ended before it was written), or it cannot be read.
        """
        try:
            # As text: 35 MB of ten thousand entries would otherwise be there as bytes beside it.
            return PlanRecord.model_validate(parsed(self.plan_file.read_text("utf-8")))
        except FileNotFoundError:
            if not self.path.is_dir():
                raise StableflowsError(
                    f"{self.path} is gone; was it moved, or its drive unplugged?"
                ) from None
            raise StableflowsError(
                f"{self.path} has no plan.json: that run ended before its first request."
            ) from None
        except (ValidationError, ValueError) as error:
            raise StableflowsError(_not_readable(self.plan_file, error)) from None

    def write_manifest(self, manifest: BaseModel) -> None:
        """Write manifest.json in place of an earlier one; `stableflows.run.manifest.write` composes it."""
        failpoint("before-manifest")
        write_whole(self.manifest_file, json_pieces(manifest))

    def discard_partial_files(self) -> None:
        """Delete what a kill left half-written. Only for who takes the run up again: another process
        that is writing here would lose its file."""
        for partial in self.path.rglob(f".*{PARTIAL_SUFFIX}"):  # templates of names make folders in it
            partial.unlink()


def _not_readable(path: Path, error: ValueError) -> str:
    what = str(error)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        what = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
    return f"{path}: {what}. The file was edited, or written by another version of Stableflows."
