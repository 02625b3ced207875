"""A server that went away and came back with other files is not rendered with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stableflows.calls import calls_of
from stableflows.comings_back import MOST_DEATHS, ComingsBack, ModelsChangedError
from stableflows.entries import Entry
from stableflows.preflight import preflight
from stableflows.request import RenderRequest, prepare
from stableflows.sandbox import Catalog, Sandbox, run_sandbox
from stableflows.server_state import ServerState
from stableflows.settling import settle
from stableflows.webui.client import WebUIClient
from stableflows.webui.errors import CallSite, SetAside, Unreachable
from stableflows.webui.server import ServerConfig

NAME = "sandbox_base_v1"
"""What the sandbox has loaded when it starts: the one whose hash its list has at once."""
BODY = {"override_settings": {"sd_model_checkpoint": NAME}}
AWAY = Unreachable("it went away", CallSite("http://127.0.0.1", "POST", "/sdapi/v1/txt2img"))


class Run:
    """One entry at a sandbox that may go away."""

    def __init__(self, sandbox: Sandbox, client: WebUIClient, server: ServerState, entry: Entry) -> None:
        self.sandbox, self.client, self.server, self.entry = sandbox, client, server, entry
        [self.call] = calls_of(entry)
        self.comings_back = ComingsBack()

    async def comes_back(self, catalog: Catalog) -> None:
        """The server dies under the call, is there again with `catalog`, and is asked what it has."""
        self.comings_back.lost(self.call, AWAY, running=True)
        self.sandbox.restart(catalog)
        self.server = await self.comings_back.read(self.client, self.server)

    def refuse(self) -> None:
        self.comings_back.refuse(self.entry, BODY, self.server)


@asynccontextmanager
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    request = RenderRequest(prompt="a cat", settings={"checkpoint": NAME})
    with run_sandbox() as sandbox:
        async with WebUIClient(ServerConfig(base_url=sandbox.url)) as client:
            entries = prepare(request).entries
            server = await preflight(client, entries, root=tmp_path, say=print)
            [entry] = settle(entries, server.options)
            yield Run(sandbox, client, server, entry)


async def test_with_the_same_files_it_goes_on(tmp_path: Path) -> None:
    async with run(tmp_path) as one:
        await one.comes_back(Catalog())
        one.refuse()
        assert not one.comings_back.away


async def test_without_the_checkpoint_nothing_is_rendered(tmp_path: Path) -> None:
    catalog = Catalog()
    others = tuple(each for each in catalog.checkpoints if each.name != NAME)
    async with run(tmp_path) as one:
        await one.comes_back(catalog.model_copy(update={"checkpoints": others}))
        with pytest.raises(ModelsChangedError, match=f"other models: .*'{NAME}'"):
            one.refuse()


async def test_with_another_file_under_its_name_nothing_is_rendered(tmp_path: Path) -> None:
    catalog = Catalog()
    swapped = tuple(
        each.model_copy(update={"sha256": "ab" * 32, "mtime": each.mtime + 1}) if each.name == NAME else each
        for each in catalog.checkpoints
    )
    async with run(tmp_path) as one:
        await one.comes_back(catalog.model_copy(update={"checkpoints": swapped}))
        with pytest.raises(ModelsChangedError, match=f"'{NAME}' is another file now"):
            one.refuse()


async def test_an_entry_it_dies_of_is_set_aside(tmp_path: Path) -> None:
    async with run(tmp_path) as one:
        for _ in range(MOST_DEATHS):  # it waited in the server's queue: another call was to blame
            one.comings_back.lost(one.call, AWAY, running=False)
        for _ in range(MOST_DEATHS - 1):
            one.comings_back.lost(one.call, AWAY, running=True)
        with pytest.raises(SetAside, match=f"{MOST_DEATHS} times"):
            one.comings_back.lost(one.call, AWAY, running=True)
