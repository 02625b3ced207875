"""What the queue needs at its Prefect server: work pool, work queues, block type, deployments, automations.

Idempotent: whatever is there is made to match prefect.yaml and deployments/. What is not ours is not touched.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from flows.own_server import PrefectApiError
from flows.up_state import POOL, project_folder
from stableflows.errors import InputError, Where

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

__all__ = ["QUEUES", "check_schedules", "provision", "wait_for_api"]

QUEUES = {"urgent": 1, "default": 2, "nightly": 3}
"""Work queues of the pool; the lower number goes first."""
API_SECONDS = 120.0
"""How long a server that is only starting is waited for."""


async def wait_for_api() -> None:
    """Return when the Prefect API of the settings answers.

    Raises:
        PrefectApiError: it did not, for `API_SECONDS`.
    """
    from prefect.client.orchestration import get_client

    deadline = time.monotonic() + API_SECONDS
    async with get_client() as client:
        while problem := await client.api_healthcheck():
            if time.monotonic() > deadline:
                raise PrefectApiError(f"The Prefect API {client.api_url} does not answer: {problem!r}")
            await asyncio.sleep(0.2)


async def provision() -> None:
    """Make the server match this folder.

    Raises:
        InputError: prefect.yaml or an automation is broken, or is not there.
    """
    from prefect.client.orchestration import get_client

    folder = project_folder()
    if not (folder / "prefect.yaml").exists():
        raise InputError("there is no prefect.yaml; run from a checkout of Stableflows.", where=Where(folder))
    async with get_client() as client:
        await _pool(client)
        await _queues(client)
        await _block_types(client)
        await _deploy(folder)
        for file in sorted((folder / "deployments" / "automations").glob("*.yaml")):
            await _automation(client, file)


async def _pool(client: PrefectClient) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        await client.read_work_pool(POOL)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        await client.create_work_pool(
            WorkPoolCreate(name=POOL, type="process", base_job_template=template, concurrency_limit=1)
        )
    await client.update_work_pool(POOL, WorkPoolUpdate(concurrency_limit=1))


async def _queues(client: PrefectClient) -> None:
    there = {queue.name: queue for queue in await client.read_work_queues(work_pool_name=POOL)}
    for name, priority in QUEUES.items():
        if name not in there:
            there[name] = await client.create_work_queue(name=name, work_pool_name=POOL, priority=priority)
    # Setting one priority moves those behind it, so that they are set in order, and only if one differs.
    now = {queue.name: queue.priority for queue in await client.read_work_queues(work_pool_name=POOL)}
    if any(now[name] != priority for name, priority in QUEUES.items()):
        for name, priority in QUEUES.items():
            await client.update_work_queue(there[name].id, priority=priority)


async def _block_types(client: PrefectClient) -> None:
    from blocks import WebUIServer

    await WebUIServer.aregister_type_and_schema(client=client)


async def _deploy(folder: Path) -> None:
    """`prefect deploy --all`: the one who reads prefect.yaml is Prefect itself."""
    check_schedules(folder / "prefect.yaml")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"),
        cwd=folder,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise InputError(
            f"cannot be deployed:\n{said.decode().strip()}", where=Where(folder / "prefect.yaml")
        )


def check_schedules(file: Path) -> None:
    """Look at what people edit in prefect.yaml; Prefect's own message of it says neither where nor which.

    Raises:
        InputError: a schedule's hour or time zone does not exist.
    """
    from prefect.client.schemas.schedules import CronSchedule
    from pydantic import ValidationError

    try:
        deployments = yaml.safe_load(file.read_text(encoding="utf-8"))["deployments"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise InputError(f"is no list of deployments: {error}", where=Where(file)) from None
    for deployment in deployments:
        for schedule in deployment.get("schedules") or ():
            given = {name: schedule[name] for name in CronSchedule.model_fields if name in schedule}
            try:
                CronSchedule.model_validate(given)
            except ValidationError as error:
                [problem, *_] = error.errors()
                field = ".".join(str(part) for part in problem["loc"])
                raise InputError(
                    f"{problem['msg'].removeprefix('Value error, ')}. A cron is like "
                    '"0 23 * * *" (minute, hour, day, month, weekday), a timezone like Europe/Berlin.',
                    where=Where(file, field=f"{deployment.get('name')}.schedules.{field}"),
                ) from None


async def _automation(client: PrefectClient, file: Path) -> None:
    """An automation of a file, known by its name. One that somebody switched off stays off."""
    from prefect.events.schemas.automations import AutomationCore
    from pydantic import ValidationError

    try:
        text = await asyncio.to_thread(file.read_text, encoding="utf-8")
        data: dict[str, Any] = yaml.safe_load(text)
        wanted = AutomationCore.model_validate(data)
    except (yaml.YAMLError, ValidationError) as error:
        raise InputError(f"is no automation: {error}", where=Where(file)) from None
    for there in await client.read_automations_by_name(wanted.name):
        await client.update_automation(there.id, wanted.model_copy(update={"enabled": there.enabled}))
        return
    await client.create_automation(wanted)
