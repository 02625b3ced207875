"""What a killed run left behind, put right by whoever starts next.

A run holds the lock `running.lock` in its folder. A lock file that nobody holds is a run that was killed: its
manifest and its history line are written now, and half-written files go. (What it changed at its server
is put back by the next run there: see `server_state.OptionChanges`.)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from stableflows.errors import StableflowsError
from stableflows.results import RunStatus
from stableflows.run import history, manifest
from stableflows.run.files import PARTIAL_SUFFIX
from stableflows.run.folder import RunFolder, RunInProgressError
from stableflows.slot import discard_stale_slots
from stableflows.store import Store

__all__ = ["mend"]

OLD_PARTIAL = 2.0
"""Seconds after which a half-written file of the store is nobody's: writing one takes a few hundredths."""


def mend(root: Path) -> list[str]:
    """Put right what killed runs left in an output root.

    Returns:
        A line for people about each run that was found dead.
    """
    said: list[str] = []
    somebody_runs = False
    for lock in sorted(root.glob("*/running.lock")):
        folder = RunFolder(root, lock.parent.name)
        try:
            with folder.held():
                said += _mend_run(folder)
        except RunInProgressError:
            somebody_runs = True
    Store(root).sweep()
    if not somebody_runs:
        for partial in _partial_files(root):
            partial.unlink(missing_ok=True)
    discard_stale_slots()
    return said


def _mend_run(folder: RunFolder) -> Iterator[str]:
    folder.discard_partial_files()
    if not folder.plan_file.exists():
        folder.remove_if_empty()
        return
    try:
        plan = folder.plan()
        result = manifest.write(manifest.compose(folder), status=RunStatus.CRASHED).result
    except StableflowsError as error:
        yield f"Warning: the run in {folder.path} was killed, and its records cannot be read: {error}"
        return
    run_config = plan.job.run_config
    history.append(
        folder.root,
        history.HistoryLine(
            job_id=plan.job_id,
            run_id=plan.run_id,
            flow_run_ids=folder.flow_run_ids(),
            timestamp=datetime.now(UTC).isoformat(timespec="milliseconds"),
            status=RunStatus.CRASHED,
            error="the process was killed",
            run_mode=run_config.run_mode,
            source=run_config.source,
            prompt_source=run_config.prompt_source,
            prompt_pack_id=run_config.prompt_pack_id,
            config_hash=plan.job.config_hash,
            result=result.brief(),
        ),
    )
    yield f"The run {plan.run_id} ({plan.job.name}) was killed; --resume {plan.run_id} makes the rest"


def _partial_files(root: Path) -> Iterator[Path]:
    now = time.time()
    for folder in (root, root / "store"):
        pattern = f".*{PARTIAL_SUFFIX}"
        for file in folder.rglob(pattern) if folder.name == "store" else folder.glob(pattern):
            if now - file.stat().st_mtime > OLD_PARTIAL:
                yield file
