"""The tasks around the stages: before the first request, and after the last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from prefect import task
from prefect.artifacts import acreate_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from stableflows.entries import Entry
from stableflows.preflight import preflight as check_server
from stableflows.results import BatchResult, EntryStatus
from stableflows.server_state import ServerState
from stableflows.waiting import WaitCancelled, unless_cancelled
from stableflows.webui.client import WebUIClient

__all__ = ["PreflightTarget", "preflight", "report"]


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


@task(name="report", task_run_name="report", cache_policy=NO_CACHE, persist_result=False)
async def report(result: BatchResult, gallery: Path) -> None:
    """A table of the entries on the flow run's page, with the gallery's place on disk."""
    rows = [
        f"| {number} | {_cell(entry.prompt)} | {entry.status} | {entry.image_count} "
        f"| {_cell(entry.error or '')} |"
        for number, entry in enumerate(result.results, 1)
    ]
    done = sum(entry.status is EntryStatus.OK for entry in result.results)
    await acreate_markdown_artifact(
        key="stableflows-report",
        description=f"{done} of {result.total_entries} entries, {result.image_count} images",
        markdown="\n".join(
            [
                f"Gallery: `{gallery}`",
                "",
                "| entry | prompt | status | images | error |",
                "|---|---|---|---|---|",
                *rows,
            ]
        ),
    )


def _cell(text: str) -> str:
    """Free text as a cell of a Markdown table: nothing in it is markup."""
    short = " ".join(text.split())[:120]
    for character in "\\`*_{}[]<>|#!":
        short = short.replace(character, f"\\{character}")
    return short
