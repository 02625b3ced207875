"""Jobs at rest: content-addressed snapshots under the output root, and what a run recorded of its job.

store/jobs/<job id>.json     store/inputs/<sha256>.<suffix>
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stableflows.config.base import Strict
from stableflows.config.layers import Layer, explain
from stableflows.continued import Continued
from stableflows.errors import InputError, InvalidInputs, Places
from stableflows.job import Job, RunMode, SubmittedAs
from stableflows.request import Prepared, RenderRequest, prepare, prepare_job, with_mode
from stableflows.results import RunStatus
from stableflows.run import history
from stableflows.run.files import why_not, write_whole
from stableflows.run.folder import RunFolder
from stableflows.settling import settle

__all__ = [
    "find_run",
    "inputs_folder",
    "last_run",
    "last_unfinished",
    "load",
    "read_mapping",
    "save_job",
    "saved_job",
]

FEWEST_LETTERS = 4
"""Of a run's id that name it."""


class Snapshot(Strict):
    """A saved job, and where it was written: not part of its identity, but of its error messages."""

    job: Job
    places: tuple[Places, ...] = ()
    warnings: tuple[str, ...] = ()


def inputs_folder(root: Path) -> Path:
    """Where the input images of all jobs are kept."""
    return root / "store" / "inputs"


def save_job(prepared: Prepared, root: Path) -> str:
    """Keep a job with its input images; the same job is kept once.

    Returns:
        Its id, with which `load` finds it.

    Raises:
        InputError: it cannot be written.
    """
    file = _job_file(root, prepared.job.job_id)
    snapshot = Snapshot(job=prepared.job, places=prepared.places, warnings=prepared.warnings)
    try:
        inputs_folder(root).mkdir(parents=True, exist_ok=True)
        prepared.images.keep(inputs_folder(root), write_whole)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, snapshot.model_dump_json(indent=1).encode())
    except OSError as error:
        raise InputError(f"The job cannot be kept in {root}: {why_not(error)}.") from error
    return prepared.job.job_id


def read_mapping(job: Job | Mapping[str, Any]) -> Job:
    """A job as a program has it; a name may be left out.

    Raises:
        InvalidInputs: everything that is wrong with it.
    """
    if isinstance(job, Job):
        return job
    values = {"name": "job", **job}
    try:
        return Job.model_validate(values)
    except ValidationError as error:
        raise InvalidInputs(explain(error, Job, layer=Layer(values, "job"))) from None


def saved_job(root: Path, job_id: str) -> Job:
    """A job that `save_job` kept.

    Raises:
        InputError: it is not there, or another version's.
    """
    return _read_job(root, job_id).job


def saved_jobs(root: Path) -> Iterator[tuple[Path, str]]:
    """The file of each saved job, and its text."""
    for file in (root / "store" / "jobs").glob("*.json"):
        yield file, file.read_text(encoding="utf-8")


def waits(root: Path, job_id: str) -> None:
    """A saved job was queued: what it needs must stay until its run has begun.

    Raises:
        OSError: it cannot be written.
    """
    _waiting_file(root, job_id).parent.mkdir(parents=True, exist_ok=True)
    write_whole(_waiting_file(root, job_id), b"")


def waits_no_longer(root: Path, job_id: str) -> None:
    """The job's run has begun, and holds what it needs; or nobody wants it any more."""
    _waiting_file(root, job_id).unlink(missing_ok=True)


def waiting_jobs(root: Path) -> list[str]:
    """The ids of the jobs that were queued and have not begun."""
    return [file.name for file in (root / "store" / "waiting").glob("*")]


def _waiting_file(root: Path, job_id: str) -> Path:
    return root / "store" / "waiting" / _job_file(root, job_id).stem


def load(
    request: RenderRequest, *, run_mode: RunMode = "direct", submitted: SubmittedAs | None = None
) -> Prepared:
    """What a request asks for: packs or a prompt, a saved job, an earlier run's job with its draws, or what
    is left of an earlier run.

    Args:
        run_mode: how it will run; a saved job has that recorded already.
        submitted: its source, unless a job file names one.

    Raises:
        InputError: it cannot be rendered, or is not there.
    """
    root = request.root
    if earlier := request.resume or request.retry:
        return _continued(request, RunFolder.open(root, _folder_of(root, earlier)))
    if request.again is not None:
        plan = RunFolder.open(root, _folder_of(root, request.again)).plan()
        again = prepare_job(plan.job, inputs=inputs_folder(root), recorded=plan.draws)
        job = with_mode(again.job, run_mode, submitted)
        return replace(again, job=job, server=request.server or plan.server.asked)
    if request.job is not None:
        saved = _read_job(root, request.job)
        loaded = prepare_job(
            saved.job, inputs=inputs_folder(root), places=saved.places, warnings=saved.warnings
        )
        return replace(loaded, server=request.server)
    return replace(prepare(request, run_mode=run_mode, submitted=submitted), server=request.server)


def _continued(request: RenderRequest, folder: RunFolder) -> Prepared:
    plan = folder.plan()
    prepared = prepare_job(plan.job, inputs=inputs_folder(request.root), recorded=plan.draws)
    if {call.call_id for call in prepared.calls} != {call.call_id for call in plan.calls}:
        raise InputError(
            f"{folder.plan_file} was planned by a version that divided the job otherwise; "
            f"run it anew with --again, which takes what is rendered from the store."
        )
    return replace(
        prepared,
        entries=settle(prepared.entries, plan.server.settled),
        server=request.server or plan.server.asked,
        continued=Continued(folder, plan, retry=request.retry is not None),
    )


def last_unfinished(root: Path) -> str:
    """The id of the last run that ended before its end.

    Raises:
        InputError: there is none.
    """
    for line in reversed(history.read(root)):
        crashed = line.status is RunStatus.CRASHED  # perhaps with everything made, but never ended
        if line.result and (crashed or line.result.unfinished):
            return line.run_id
    raise InputError(f"there is no unfinished run in {root}.")


def last_run(root: Path) -> str:
    """The id of the run that ended last.

    Raises:
        InputError: there is none yet.
    """
    line = next((line for line in reversed(history.read(root)) if line.result), None)
    if line is None:
        raise InputError(f"there is no earlier run in {root}.")
    return line.run_id


def find_run(root: Path, name: str) -> history.HistoryLine:
    """The run of that id, beginning of an id, or folder name.

    Raises:
        RunInProgressError: it is not in the history yet, because it still renders.
        InputError: there is none, or several.
    """
    lines = [line for line in history.read(root) if line.result]
    found = [line for line in lines if name in (line.run_id, _folder_name(line))]
    found = found or [line for line in lines if line.run_id.startswith(name) and len(name) >= FEWEST_LETTERS]
    if len(found) == 1:
        return found[0]
    if not found:
        _refuse_running(root, name)
    known = [line.run_id for line in found or lines]
    what = f"{name!r} is the beginning of several runs'" if found else f"there is no run {name!r} in {root}."
    raise InputError(what, allowed=known, value=name)


def _refuse_running(root: Path, name: str) -> None:
    for lock in root.glob("*/running.lock"):
        folder = RunFolder(root, lock.parent.name)
        by_id = len(name) >= FEWEST_LETTERS and folder.plan_file.exists()
        if name == folder.name or (by_id and folder.plan().run_id.startswith(name)):
            folder.refuse_if_held()


def _folder_of(root: Path, name: str) -> str:
    return _folder_name(find_run(root, name))


def _folder_name(line: history.HistoryLine) -> str:
    return Path(line.result.output_dir).name if line.result else ""


def _read_job(root: Path, job_id: str) -> Snapshot:
    file = _job_file(root, job_id)
    try:
        return Snapshot.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        saved = sorted(path.stem for path in file.parent.glob("*.json"))
        raise InputError(
            f"there is no saved job {job_id!r} in {root}.", allowed=saved, value=job_id
        ) from None
    except ValidationError as error:
        raise InputError(f"{file} is no job of this version: {error.errors()[0]['msg']}.") from None


def _job_file(root: Path, job_id: str) -> Path:
    if not re.fullmatch("[0-9a-f]{64}", job_id):  # it came from Prefect's API, and becomes the name of a file
        raise InputError(f"{job_id[:80]!r} is no job's id; it has 64 digits and letters from a to f.")
    return root / "store" / "jobs" / f"{job_id}.json"
