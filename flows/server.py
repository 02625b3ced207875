"""Which WebUI server renders: decided here and nowhere else.

The option, else STABLEFLOWS_SERVER, else the block `webui-server/default`, else the embedded sandbox. Whoever
names a server gets that server or an error, never the sandbox in its place.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from pydantic import ValidationError

from stableflows.errors import InputError, Where
from stableflows.webui.server import ServerConfig

__all__ = [
    "SANDBOX",
    "SERVER_VARIABLE",
    "ChosenServer",
    "check_server",
    "choose_server",
    "named_server",
    "sandbox_server",
    "serving",
]

SERVER_VARIABLE = "STABLEFLOWS_SERVER"
SANDBOX = "sandbox"
"""The word that asks for the sandbox, whatever is configured."""

BLOCK_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class ChosenServer:
    """A server and who chose it. `config` is None for the embedded sandbox."""

    config: ServerConfig | None
    why: str


def named_server(option: str | None) -> tuple[str, str] | None:
    """The server that the option or the environment names, and which of them; None if neither does.

    Raises:
        InputError: the option names nothing, as an unset variable of a script does: not even the sandbox.
    """
    if option is not None:
        if not option.strip():
            raise InputError("is empty; name a URL, a block, or sandbox.", where=Where(field="--server"))
        return option.strip(), "--server"
    if variable := os.environ.get(SERVER_VARIABLE, "").strip():
        return variable, SERVER_VARIABLE
    return None


def by_url(name: str, source: str) -> ServerConfig | None:
    """The config of a server named by its URL; None if `name` is a block's.

    Raises:
        InputError: it is no URL; or it has a password in it and comes from the command line, from where
            Prefect would store it in the clear.
    """
    if BLOCK_NAME.fullmatch(name) and name != "localhost":
        return None
    try:
        config = ServerConfig(base_url=name)
    except ValidationError as error:
        reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise InputError(f"{reason}.", where=Where(field=source)) from None
    if config.password is not None and source == "--server":
        raise InputError(
            f"a password in a URL would be stored in Prefect's history; save it in a block (see "
            f"docs/servers.md), or put the URL into the variable {SERVER_VARIABLE}.",
            where=Where(field=source),
        )
    return config


def check_server(option: str | None) -> None:
    """Refuse what names no server, before anything is started for it.

    Raises:
        InputError: it is neither a URL nor the name that a block may have; see `by_url`.
    """
    named = named_server(option)
    if named and named[0] != SANDBOX:
        by_url(*named)


async def choose_server(option: str | None) -> ChosenServer:
    """The server of a run. Prefect is asked only for blocks.

    Raises:
        InputError: the URL is none, or there is no block of that name.
    """
    named = named_server(option)
    if named is None:
        config = await _block("default")
        if config is None:
            return ChosenServer(None, "no server is configured")
        return ChosenServer(config, "block webui-server/default")
    name, source = named
    if name == SANDBOX:
        return ChosenServer(None, source)
    config = by_url(name, source) or await _block(name)
    if config is None:
        raise InputError(
            f"there is no block webui-server/{name}; name a URL such as http://127.0.0.1:7860, or save the "
            "block (see docs/servers.md).",
            where=Where(field=source),
            allowed=await _block_names(),
            value=name,
        )
    return ChosenServer(config, source)


async def _block(name: str) -> ServerConfig | None:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    from blocks.webui import WebUIServer

    slug = WebUIServer.get_block_type_slug()
    async with get_client() as client:
        try:
            await client.read_block_document_by_name(name=name, block_type_slug=slug)
        except ObjectNotFound:
            return None
        block: WebUIServer = await WebUIServer.aload(name, client=client)
    return block.server_config(name)


async def _block_names() -> list[str]:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    async with get_client() as client:
        try:
            documents = await client.read_block_documents_by_type("webui-server")
        except ObjectNotFound:
            return []
    return [document.name for document in documents if document.name]


@contextmanager
def sandbox_server() -> Iterator[ServerConfig]:
    """The embedded sandbox, for the time of the block."""
    from stableflows.sandbox import SandboxSettings, run_sandbox

    # Slow enough to see what happens, fast enough for a demo.
    with run_sandbox(SandboxSettings(step_seconds=0.01, load_seconds=0.3, knows_hashes=True)) as sandbox:
        yield ServerConfig(base_url=sandbox.url, name="sandbox", identity="sandbox", poll_seconds=0.2)


@asynccontextmanager
async def serving(option: str | None, say: Callable[[str], None]) -> AsyncIterator[tuple[ServerConfig, bool]]:
    """The server of a run for the time of the block, and whether it is the embedded sandbox.

    Args:
        say: told which server it is, in one line.
    """
    chosen = await choose_server(option)
    if chosen.config is not None:
        say(f"Server: {chosen.config.base_url} ({chosen.why})")
        yield chosen.config, False
        return
    say(f"Server: the embedded sandbox, which draws instead of rendering ({chosen.why})")
    with sandbox_server() as config:
        yield config, True
