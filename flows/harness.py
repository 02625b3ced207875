"""`run_job`: a job in this process, for people's own harnesses; through the flow, or a pipeline of theirs.

Whatever renders, the outcome and the history line are the same.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flows.direct import run_directly
from flows.hooks import LogReporter
from stableflows.closing import Ending, RunFacts, close
from stableflows.entries import Entry, entry_config
from stableflows.errors import StableflowsError
from stableflows.job import Job
from stableflows.jobs import inputs_folder, read_mapping, save_job
from stableflows.request import Prepared, RenderRequest, prepare_job
from stableflows.results import BatchResult, EntryResult, EntryStatus
from stableflows.run.files import check_writable

__all__ = ["run_job"]

log = logging.getLogger("stableflows.run")

Pipeline = Callable[[dict[str, Any]], Any]
"""Takes an entry's config (nested, with `prompt`, `negative_prompt` and `seed`) and renders it."""


def run_job(
    job: Job | Mapping[str, Any],
    *,
    pipeline_func: Pipeline | None = None,
    legacy: Any = None,
    out: Path | str = "outputs",
    server: str | None = None,
) -> dict[str, Any]:
    """Run a job and wait for it.

    Args:
        job: a job, or a mapping of its shape; `name` may be left out.
        pipeline_func: renders an entry in place of the flow.
        legacy: an object whose `run_full_pipeline(config)` is tried first; what it returns counts if it is
            a dict, else `pipeline_func`, else the flow decides.
        out: the folder that holds all runs.
        server: as on the command line; for the flow.

    Returns:
        {"result": {...}}, or {"error": "..."} if the run could not be done.
    """
    root = Path(out).expanduser().resolve()
    try:
        prepared = prepare_job(read_mapping(job), inputs=inputs_folder(root))
        check_writable(root)
        ending = _by_pipeline(prepared, root, pipeline_func, legacy)
        if ending is None:
            job_id = save_job(prepared, root)
            request = RenderRequest(job=job_id, title=prepared.job.name, server=server, out=str(root))
            ending = run_directly(request, LogReporter(log))
    except StableflowsError as error:
        return {"error": str(error)}
    return ending.outcome.model_dump(mode="json", exclude_none=True)


def _by_pipeline(
    prepared: Prepared, root: Path, pipeline_func: Pipeline | None, legacy: Any
) -> Ending | None:
    """Every entry through a pipeline of the caller's; None if the flow is to render them."""
    facts = RunFacts(root=root, run_id=uuid.uuid4().hex[:12], job=prepared.job)
    results = []
    for entry in prepared.entries:
        started = time.monotonic()
        try:
            answer = _answer(entry_config(prepared.job, entry), pipeline_func, legacy)
        except Exception as error:
            results.append(_result(entry, prepared.job, {}, time.monotonic() - started, error))
            continue
        if answer is None:
            return None
        results.append(_result(entry, prepared.job, answer, time.monotonic() - started))
    if not results:
        return None
    job = prepared.job
    batch = BatchResult(
        job_id=job.job_id,
        mode=job.mode,
        total_entries=len(results),
        results=tuple(results),
        output_dir=str(root),
    )
    return close(facts, result=batch)


def _answer(config: dict[str, Any], pipeline_func: Pipeline | None, legacy: Any) -> dict[str, Any] | None:
    run_full_pipeline = getattr(legacy, "run_full_pipeline", None)
    if callable(run_full_pipeline):
        answer = run_full_pipeline(config)
        if isinstance(answer, dict):
            return answer
    if pipeline_func is None:
        return None
    answer = pipeline_func(config)
    return answer if isinstance(answer, dict) else {"result": answer}


def _result(
    entry: Entry, job: Job, answer: dict[str, Any], seconds: float, error: Exception | None = None
) -> EntryResult:
    run_config = job.run_config
    return EntryResult(
        pack_id=entry.item.pack_id,
        pack_name=entry.item.name,
        entry=entry.item.entry.model_dump(mode="json"),
        prompt=entry.texts.prompt,
        status=EntryStatus.ERROR if error else EntryStatus.OK,
        error=f"{type(error).__name__}: {error}" if error else None,
        run_config=run_config.model_dump(mode="json"),
        pipeline_mode=entry.plan.mode,
        image_count=len(answer.get("images") or ()),
        duration=round(seconds, 3),
        randomizer=run_config.randomizer,
        result=answer,
    )
