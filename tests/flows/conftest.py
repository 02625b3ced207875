"""A Prefect server that runs, for tests that need one but not one of their own."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows import server
from flows.own_server import OwnServer
from stableflows.webui.server import ServerConfig


@dataclass(frozen=True)
class RunningServer:
    """Its API's URL, and the PREFECT_HOME in which its database is."""

    url: str
    home: Path


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A Prefect server with a database of its own, started once."""
    home = tmp_path_factory.mktemp("running-server")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home))
        prefect = OwnServer(home / "server.log")
    try:
        prefect.wait_until_healthy()
        yield RunningServer(prefect.url, home)
    finally:
        prefect.stop()


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call at the server: what is where when the run is cancelled is then known."""
    monkeypatch.setattr("flows.render.AHEAD", 0)
    by_url = server.by_url

    def with_depth(name: str, source: str) -> ServerConfig | None:
        config = by_url(name, source)
        return config and config.model_copy(update={"depth": 1})

    monkeypatch.setattr(server, "by_url", with_depth)
