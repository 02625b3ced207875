"""What a run changes at a server is put back, by it or, if it was killed, by the next one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stableflows.errors import StableflowsError
from stableflows.preflight import preflight
from stableflows.request import RenderRequest, prepare
from stableflows.sandbox import Catalog, Sandbox, SandboxSettings, run_sandbox
from stableflows.server_state import OptionChanges, ServerState
from stableflows.settling import settle
from stableflows.webui.client import WebUIClient
from stableflows.webui.models import WebUIRequest
from stableflows.webui.server import ServerConfig

PORTRAIT = RenderRequest(prompt="a cat", settings={"checkpoint": "sandbox_portrait_v2", "clip_skip": 2})
OPEN = RenderRequest(prompt="a cat")


async def begin(client: WebUIClient, asked: RenderRequest, root: Path, said: list[str]) -> ServerState:
    entries = prepare(asked).entries
    state = await preflight(client, entries, root=root, say=said.append)
    state.will_override(settle(entries, state.options))
    return state


def posted(sandbox: Sandbox) -> list[dict[str, Any]]:
    return [e.body for e in sandbox.log if (e.method, e.path) == ("POST", "/sdapi/v1/options")]


def client_of(sandbox: Sandbox) -> WebUIClient:
    return WebUIClient(ServerConfig(base_url=sandbox.url, poll_seconds=0.05))


async def test_what_differs_is_put_back_and_nothing_else(tmp_path: Path) -> None:
    with run_sandbox(SandboxSettings()) as sandbox:
        async with client_of(sandbox) as client:
            before = await client.options()
            state = await begin(client, PORTRAIT, tmp_path, [])
            sandbox.set_options(CLIP_stop_at_last_layers=2)
            await state.changes.put_back(client, print)
            assert await client.options() == before
        assert posted(sandbox) == [{"CLIP_stop_at_last_layers": 1}]
        assert list((tmp_path / "store" / "options").iterdir()) == []


async def test_after_a_kill_the_next_run_takes_the_options_as_they_were_and_puts_them_back(
    tmp_path: Path,
) -> None:
    said: list[str] = []
    with run_sandbox(SandboxSettings()) as sandbox:
        async with client_of(sandbox) as client:
            original = (await client.options())["sd_model_checkpoint"]
            state = await begin(client, PORTRAIT, tmp_path, said)
            await client.set_options({"sd_model_checkpoint": "sandbox_portrait_v2"})
            # Killed here: nobody puts anything back.
            del state
            state = await begin(client, OPEN, tmp_path, said)
            (settled,) = settle(prepare(OPEN).entries, state.options)
            await state.changes.put_back(client, said.append)
            assert (await client.options())["sd_model_checkpoint"] == original
    generation = settled.plan.stages[0].generation
    assert generation is not None
    assert generation.checkpoint == original
    assert said == []
    assert list((tmp_path / "store" / "options").iterdir()) == []


async def test_originals_that_no_longer_exist_are_told_once(tmp_path: Path) -> None:
    said: list[str] = []
    with run_sandbox(SandboxSettings()) as sandbox:
        async with client_of(sandbox) as client:
            await begin(client, PORTRAIT, tmp_path, said)
            sandbox.restart(catalog=Catalog().without("checkpoints", "sandbox_base_v1"))
            for _ in range(2):
                state = await begin(client, PORTRAIT, tmp_path, said)
                await state.changes.put_back(client, said.append)
    (line,) = said
    assert "could not be put back" in line
    assert "sandbox_base_v1" in line


def test_a_damaged_file_of_originals_is_told(tmp_path: Path) -> None:
    changes = OptionChanges.of(tmp_path, "http://a", {"x": 1, "y": 2})
    changes.will_change({"x"})
    assert OptionChanges.of(tmp_path, "http://a", {"x": 5}).before == {"x": 1}
    (file,) = (tmp_path / "store" / "options").iterdir()
    for text in ("", "[1]", "{", "[" * 100_000):
        file.write_text(text)
        with pytest.raises(StableflowsError, match="is damaged"):
            OptionChanges.of(tmp_path, "http://a", {})


async def test_a_busy_server_is_waited_for(tmp_path: Path) -> None:
    said: list[str] = []
    with run_sandbox(SandboxSettings(step_seconds=0.05)) as sandbox:
        async with client_of(sandbox) as client, client_of(sandbox) as somebody:
            request = WebUIRequest("/sdapi/v1/txt2img", {"prompt": "x", "steps": 20})
            job = asyncio.create_task(somebody.call(request))
            while await client.is_idle():  # noqa: ASYNC110 (it is another process's state)
                await asyncio.sleep(0.01)
            await preflight(client, prepare(OPEN).entries, root=tmp_path, say=said.append)
            assert job.done()
            await job
    assert said == ["The server is busy with another job; waiting until it is idle"]
