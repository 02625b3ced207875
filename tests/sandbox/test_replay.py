"""Every recorded pair is replayed against the sandbox, or excused with a reason."""

from collections.abc import Iterator

import httpx
import pytest

from stableflows.sandbox import Sandbox, run_sandbox
from tests.sandbox import singles
from tests.sandbox.recordings import Comparison, by_name, send
from tests.sandbox.sessions import SESSIONS, Session


def _told(differing: dict[str, list[str]]) -> str:
    return "\n".join(f"{name}: {line}" for name, lines in differing.items() for line in lines)


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.name)
def test_session(session: Session) -> None:
    """Pairs that hang together, in their order on one sandbox."""
    differing: dict[str, list[str]] = {}
    with (
        run_sandbox(session.settings, catalog=session.catalog) as sandbox,
        httpx.Client(base_url=sandbox.url, timeout=60) as client,
    ):
        for name in session.pairs:
            if name in session.before:
                session.before[name](sandbox)
            pair = by_name(session.server)[name]
            found = Comparison(session.server, pair).answer(send(client, pair))
            if found:
                differing[name] = found
    assert not differing, _told(differing)


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Sandbox]]:
    started: dict[str, Sandbox] = {}
    managers = []
    try:
        for name, (settings, catalog) in singles.SETTINGS.items():
            manager = run_sandbox(settings, catalog=catalog)
            started[name] = manager.__enter__()
            managers.append(manager)
            ui = started[name].webui
            if len(ui.weights.checkpoints) > 1 and name == "a1111":
                ui.weights.reload(ui.weights.checkpoints[1])
                ui.weights.reload(ui.weights.checkpoints[0])
        yield started
    finally:
        for manager in managers:
            manager.__exit__(None, None, None)


@pytest.mark.parametrize(("server", "name"), singles.alone())
def test_pair(servers: dict[str, Sandbox], server: str, name: str) -> None:
    """A pair that stands alone."""
    pair = by_name(server)[name]
    sandbox = servers[server]
    with (
        httpx.Client(base_url=sandbox.url, timeout=60) as client,
        singles.scene(sandbox, client, server, pair),
    ):
        found = Comparison(server, pair).answer(send(client, pair))
    assert not found, "\n".join(found)
