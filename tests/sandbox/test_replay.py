"""Every recorded pair is replayed against the sandbox, or excused with a reason."""

import httpx
import pytest

from stableflows.sandbox import run_sandbox
from tests.sandbox.recordings import Comparison, by_name, send
from tests.sandbox.sessions import SESSIONS, Session


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
    assert not differing, "\n".join(f"{name}: {line}" for name, lines in differing.items() for line in lines)
