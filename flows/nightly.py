"""The flow `nightly`: every pack of a folder as one run, from its hour on until the morning.

A night that the morning cut short is finished first by the next one, which then starts anew. One broken pack
does not keep the others from being rendered; it is told in the flow run's state.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.runtime import deployment, flow_run
from prefect.states import Cancelled, Completed, Failed
from pydantic import Field

from flows.hooks import HOOKS, Hooks
from flows.queue_runs import waiting
from flows.render import render
from flows.stopping import moment
from stableflows.closing import Ending, RunFacts, close
from stableflows.errors import ExitCode, InputError, StableflowsError
from stableflows.job import RunConfig
from stableflows.jobs import load, save_job
from stableflows.mending import mend
from stableflows.request import RenderRequest
from stableflows.run import history
from stableflows.run.files import check_writable
from stableflows.run.folder import RunFolder

__all__ = ["Readable", "nightly", "read_folder", "unfinished_night"]

PACK_SUFFIXES = (".yaml", ".yml", ".json", ".txt")


@dataclass(frozen=True)
class Readable:
    """The packs of a folder that can be rendered, and what is wrong with the others, for people."""

    packs: tuple[str, ...]
    broken: tuple[str, ...]


def read_folder(folder: Path) -> Readable:
    """Try each file of a folder by itself, in the order of their names.

    Raises:
        InputError: there is no such folder, or nothing in it is a pack.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; make it and put packs there, or name another one.")
    files = sorted(
        file for file in folder.iterdir() if file.suffix.lower() in PACK_SUFFIXES and file.is_file()
    )
    if not files:
        raise InputError(
            f"there is no pack in {folder}: put files there that end with {', '.join(PACK_SUFFIXES)}."
        )
    packs, broken = [], []
    for file in files:
        try:
            load(RenderRequest(packs=(str(file),)))
        except InputError as error:
            broken.append(str(error))
        else:
            packs.append(str(file))
    return Readable(tuple(packs), tuple(broken))


def unfinished_night(root: Path, name: str) -> str | None:
    """The id of the last nightly run of that name, if the morning, a cancel or a crash cut it short."""
    for line in reversed(history.read(root)):
        if line.source != "schedule" or line.result is None:
            continue
        if RunFolder.open(root, Path(line.result.output_dir).name).plan().job.name != name:
            continue
        return line.run_id if line.result.unfinished else None
    return None


@flow(name="nightly", flow_run_name="nightly {name}", retries=0, persist_result=False, log_prints=False)
async def nightly(
    folder: Annotated[
        str, Field(title="Folder", description="Every pack in it is rendered.")
    ] = "packs/nightly",
    until: Annotated[
        str | None,
        Field(
            title="Until",
            description='Local time such as "07:00", after which no further request is sent; the next night '
            "finishes. Left out: until it is done.",
            pattern=r"^([01]\d|2[0-3]):[0-5]\d$",
        ),
    ] = "07:00",
    server: Annotated[
        str | None,
        Field(
            title="Server",
            description="A WebUI's address, the name of a block webui-server, or sandbox. Left out: what the "
            "worker's machine has configured.",
        ),
    ] = None,
    out: Annotated[
        str, Field(title="Output folder", description="Where runs go, on the machine that renders.")
    ] = "outputs",
    name: Annotated[
        str, Field(title="Name", description="Of the runs; nights of the same name continue one another.")
    ] = "nightly",
) -> State[None]:
    """Render every pack of a folder as one run, after finishing what the last night left.

    Args:
        folder: Every pack in it is rendered.
        until: Local time after which no further request is sent.
        server: What renders.
        out: Where runs go.
        name: Of the runs.
    """
    await _leave_to_this_night()
    night = _Night(RenderRequest(server=server, out=out, until=until), name, folder)
    try:
        return await night.render()
    except StableflowsError as error:
        night.write_down(error)
        return Failed(message=str(error))


class _Night:
    def __init__(self, request: RenderRequest, name: str, folder: str) -> None:
        self.request = request
        self.root = request.root
        self.name = name
        self.folder = Path(folder).expanduser().resolve()
        self.log = get_run_logger()
        # Of the night for which it was scheduled: one that starts in the next forenoon is over.
        began: datetime = flow_run.scheduled_start_time or datetime.now(UTC)
        self.ends = moment(request.until, began.astimezone()) if request.until else None

    async def render(self) -> State[None]:
        """What the last night left, then this night's own.

        Raises:
            StableflowsError: there is nothing to render, or a run broke down.
        """
        if self._is_over():
            return Cancelled(message=f"It is past {self.request.until} of its night")
        check_writable(self.root)
        for line in mend(self.root):
            self.log.info(line)
        said = []
        if earlier := unfinished_night(self.root, self.name):
            ending = await self._run({"resume": earlier, "title": f"{self.name}, the last night's rest"})
            said.append(ending)
            if ending.code is ExitCode.CANCELLED or self._is_over():
                return _state(said, ())
        readable = read_folder(self.folder)
        for words in readable.broken:
            self.log.error("Left out: %s", words)
        if not readable.packs:
            raise InputError("no pack can be rendered:\n" + "\n".join(readable.broken))
        said.append(await self._run({"job": self._save(readable.packs), "title": self.name}))
        return _state(said, readable.broken)

    def _is_over(self) -> bool:
        return self.ends is not None and datetime.now(UTC) >= self.ends

    def write_down(self, error: StableflowsError) -> None:
        """A night that could not render has its line in the history, too."""
        if self.root.is_dir():
            config = RunConfig(run_mode="queue", source="schedule")
            flow_run_id = str(flow_run.id)
            facts = RunFacts(
                root=self.root, run_id=uuid.uuid4().hex[:12], run_config=config, flow_run_ids=(flow_run_id,)
            )
            close(facts, error=error)

    def _save(self, packs: tuple[str, ...]) -> str:
        prepared = load(RenderRequest(packs=packs), run_mode="queue", submitted="schedule")
        for warning in prepared.warnings:
            self.log.warning(warning)
        job = prepared.job.model_copy(update={"name": self.name})
        return save_job(replace(prepared, job=job), self.root)

    async def _run(self, what: dict[str, str]) -> Ending:
        hooks = Hooks()
        token = HOOKS.set(hooks)
        try:
            state = await render(
                self.request.model_copy(update={**what, "out": str(self.root)}), return_state=True
            )
        finally:
            HOOKS.reset(token)
        if hooks.ending is None:  # a fault of ours: its page says where
            raise StableflowsError(f"{what['title']} ended as {state.name}: {state.message}")
        return hooks.ending


def _state(endings: list[Ending], broken: tuple[str, ...]) -> State[None]:
    """Cancelled, if the last one was; failed, if anything failed or a pack was broken."""
    words = "; ".join(ending.message for ending in endings)
    if endings[-1].code is ExitCode.CANCELLED:
        return Cancelled(message=words)
    if broken:
        return Failed(message=f"{words}. Left out: " + "; ".join(broken))
    if any(ending.code is not ExitCode.OK for ending in endings):
        return Failed(message=words)
    return Completed(message=words)


async def _leave_to_this_night() -> None:
    """Cancel what waits of earlier nights: this one does their work, and they would follow one another.

    They have gathered where the queue was paused or the machine was off at their hour.
    """
    if deployment.id is None:  # called by a program, not by its schedule
        return
    async with get_client() as client:
        for run in await waiting(client):
            if str(run.deployment_id) == str(deployment.id):
                done: State[None] = Cancelled(message="Another night runs now, and does its work")
                await client.set_flow_run_state(run.id, done, force=True)
