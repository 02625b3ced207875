"""A plan held against the server that it names, for `--plan`: without Prefect, and without rendering."""

from __future__ import annotations

from flows.server import SANDBOX, by_url
from stableflows.budget import megapixel_warnings
from stableflows.errors import InvalidInputs
from stableflows.preflight import check_names
from stableflows.request import Prepared
from stableflows.webui.client import WebUIClient
from stableflows.webui.errors import NotReady, Unreachable
from stableflows.webui.names import load_names
from stableflows.webui.server import ServerConfig

__all__ = ["check_names_at", "check_plan"]


async def check_plan(prepared: Prepared, name: str, source: str) -> str:
    """A line that says whether every name of the plan exists on the server.

    Raises:
        InvalidInputs: names that the server does not have.
        InputError: `name` is no URL.
        WebUIError: a server answers, but it wants a password, or is no WebUI.
    """
    config = None if name == SANDBOX else by_url(name, source)
    if config is None:
        return f"unchecked: {name} is looked up when the run starts"
    return await check_names_at(prepared, config)


async def check_names_at(prepared: Prepared, config: ServerConfig) -> str:
    """As `check_plan`, of a server that is known."""
    try:
        async with WebUIClient(config) as client:
            await client.wait_ready(0)
            capabilities = await client.probe()
            problems = check_names(prepared.entries, await load_names(client), capabilities)
    except (Unreachable, NotReady) as error:
        return f"unchecked: {error}"
    if problems:
        raise InvalidInputs(problems)
    warnings = megapixel_warnings(prepared.entries, config.megapixel_limit)
    return "\n".join([f"checked: {config.label} has every name of the plan", *warnings])
