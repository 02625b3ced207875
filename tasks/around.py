"""The tasks around the stages: before the first request, and after the last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from prefect import task
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from stableflows.entries import Entry
from stableflows.preflight import preflight as check_server
from stableflows.results import BatchResult, EntryStatus
from stableflows.run.contact_sheet import contact_sheet, results_table
from stableflows.server_state import ServerState
from stableflows.waiting import WaitCancelled, unless_cancelled
from stableflows.webui.client import WebUIClient

__all__ = ["PreflightTarget", "ReportSubject", "preflight", "report"]


class PreflightTarget:
    """What is checked. A plain class: Prefect walks through models and dataclasses passed to a task."""

    def __init__(
        self,
        client: WebUIClient,
        entries: tuple[Entry, ...],
        *,
        root: Path,
        sandbox: bool,
        cancel: asyncio.Event,
        say: Callable[[str], None],
    ) -> None:
        self.client = client
        self.entries = entries
        self.root = root
        self.sandbox = sandbox
        self.cancel = cancel
        self.say = say


@task(name="preflight", task_run_name="preflight", cache_policy=NO_CACHE, persist_result=False)
async def preflight(target: PreflightTarget) -> ServerState | State[None]:
    """Learn what the server has, and refuse what it does not, before anything is rendered."""
    check = check_server(
        target.client, target.entries, root=target.root, say=target.say, sandbox=target.sandbox
    )
    try:
        return await unless_cancelled(check, target.cancel)
    except WaitCancelled:
        return Cancelled(message="Cancelled before the first request.")


class ReportSubject:
    """What is reported. A plain class, as above: through ten thousand results Prefect walks for seconds."""

    def __init__(self, result: BatchResult, gallery: Path) -> None:
        self.result = result
        self.gallery = gallery


@task(name="report", task_run_name="report", cache_policy=NO_CACHE, persist_result=False)
async def report(subject: ReportSubject) -> None:
    """Two artifacts of the flow run: a contact sheet, and a table of the entries with their errors."""
    result = subject.result
    done = sum(entry.status is EntryStatus.OK for entry in result.results)
    description = f"{done} of {result.total_entries} entries, {result.image_count} images"
    sheet = await asyncio.to_thread(contact_sheet, result, subject.gallery)
    await acreate_markdown_artifact(key="stableflows-report", description=description, markdown=sheet)
    await acreate_table_artifact(
        key="stableflows-results", description=description, table=results_table(result)
    )
