"""A proxy of the environment stands between us and other machines, never between us and this one."""

from __future__ import annotations

import pytest

from stableflows.sandbox import SandboxSettings, run_sandbox
from stableflows.webui.client import WebUIClient
from stableflows.webui.errors import Unreachable
from stableflows.webui.server import ServerConfig


@pytest.fixture(autouse=True)
def dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


async def test_this_machine_is_reached_directly() -> None:
    with run_sandbox(SandboxSettings()) as sandbox:
        async with WebUIClient(ServerConfig(base_url=sandbox.url)) as client:
            await client.wait_ready(0)


async def test_another_machine_is_reached_through_the_proxy() -> None:
    # The address is reserved for documentation: only the dead proxy could be asked for it.
    async with WebUIClient(ServerConfig(base_url="http://192.0.2.1:7860", connect_timeout=2)) as client:
        with pytest.raises(Unreachable) as error:
            await client.wait_ready(0)
    assert "connection attempts failed" in error.value.reason
