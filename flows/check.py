"""A plan held against the server that it names, for `--plan` and for the queue: without Prefect, and without
rendering."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from flows.server import SANDBOX, by_url
from stableflows.arrangement import arrange
from stableflows.durations import Times
from stableflows.estimate import Estimate
from stableflows.forecast import forecast
from stableflows.identity import CallIdentity
from stableflows.preflight import survey
from stableflows.request import Prepared, RenderRequest
from stableflows.server_state import ServerState
from stableflows.settling import settle
from stableflows.store import Store
from stableflows.webui.client import WebUIClient
from stableflows.webui.errors import NotReady, Unreachable
from stableflows.webui.server import ServerConfig

__all__ = ["Checked", "check_at", "check_plan"]


@dataclass(frozen=True, repr=False)  # as of `Ending`
class Checked:
    """A plan, and what a server says of it.

    Attributes:
        line: for people: whether it was checked, and what was found.
        prepared: in the order in which that server will get it.
        server: None if it was not asked.
        hits: ids of the calls that the store has, so that they need no request.
        estimate: what it will cost there.
    """

    line: str
    prepared: Prepared
    server: ServerState | None = None
    hits: frozenset[str] = field(default_factory=frozenset)
    estimate: Estimate | None = None


async def check_plan(prepared: Prepared, request: RenderRequest, name: str, source: str) -> Checked:
    """Look at the server that is named.

    Raises:
        InvalidInputs: names that the server does not have.
        InputError: `name` is no URL.
        WebUIError: a server answers, but it wants a password, or is no WebUI.
    """
    config = None if name == SANDBOX else by_url(name, source)
    if config is None:
        return Checked(f"unchecked: {name} is looked up when the run starts", prepared)
    return await check_at(prepared, request, config)


async def check_at(prepared: Prepared, request: RenderRequest, config: ServerConfig) -> Checked:
    """As `check_plan`, of a server that is known."""
    said: list[str] = []
    try:
        async with WebUIClient(config) as client:
            await client.wait_ready(0)
            server = await survey(
                client, prepared.entries, root=request.root, say=said.append, remembers=True
            )
    except (Unreachable, NotReady) as error:
        return Checked(f"unchecked: {error}", prepared)
    entries = settle(prepared.entries, server.options)
    hits: frozenset[str] = frozenset()
    if not request.fresh:
        identity = CallIdentity(entries, server)
        hits = (await asyncio.to_thread(forecast, prepared.calls, identity, Store(request.root))).hits
    times = Times.load(request.root, config.server_identity)
    calls, cost = arrange(entries, server, times, done=hits, window=request.window)
    line = f"checked: {config.label} has every name of the plan"
    if hits:
        line += f"; {len(hits)} of {len(calls)} requests are in the store"
    checked = "\n".join([line, *server.warnings, *said])
    return Checked(checked, replace(prepared, entries=entries, calls=calls), server, hits, cost)
