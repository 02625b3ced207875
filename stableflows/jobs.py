"""Jobs at rest: content-addressed snapshots under the output root, and what a run recorded of its job.

store/jobs/<job id>.json     store/inputs/<sha256>.<suffix>
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from stableflows.config.base import Strict
from stableflows.errors import InputError, Places
from stableflows.job import Job, RunMode, SubmittedAs
from stableflows.request import Prepared, RenderRequest, prepare, prepare_job, with_mode
from stableflows.run import history
from stableflows.run.files import write_whole
from stableflows.run.folder import RunFolder

__all__ = ["inputs_folder", "last_run", "load", "save_job"]


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
        OSError: it cannot be written.
    """
    inputs_folder(root).mkdir(parents=True, exist_ok=True)
    prepared.images.keep(inputs_folder(root), write_whole)
    file = _job_file(root, prepared.job.job_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    snapshot = Snapshot(job=prepared.job, places=prepared.places, warnings=prepared.warnings)
    write_whole(file, snapshot.model_dump_json(indent=1).encode())
    return prepared.job.job_id


def load(
    request: RenderRequest, *, run_mode: RunMode = "direct", submitted: SubmittedAs | None = None
) -> Prepared:
    """What a request asks for: packs or a prompt, a saved job, or an earlier run's job with its draws.

    Args:
        run_mode: how it will run; a saved job has that recorded already.
        submitted: its source, unless a job file names one.

    Raises:
        InputError: it cannot be rendered, or is not there.
    """
    root = request.root
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


def last_run(root: Path) -> str:
    """The id of the run that ended last.

    Raises:
        InputError: there is none yet.
    """
    line = next((line for line in reversed(history.read(root)) if line.result), None)
    if line is None:
        raise InputError(f"there is no earlier run in {root}.")
    return line.run_id


def _folder_of(root: Path, run_id: str) -> str:
    for line in history.read(root):
        if line.run_id == run_id and line.result:
            return Path(line.result.output_dir).name
    raise InputError(
        f"there is no run {run_id!r} in {root}.",
        allowed=[line.run_id for line in history.read(root)],
        value=run_id,
    )


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
    return root / "store" / "jobs" / f"{job_id}.json"
