"""The replay leaves nothing out, and the docs show its sums."""

import pytest

from tests.sandbox import fidelity
from tests.sandbox.recordings import recording
from tests.sandbox.trim_recordings import SERVERS


@pytest.mark.parametrize("server", SERVERS)
def test_every_pair_is_replayed_or_excused(server: str) -> None:
    recorded = {pair["name"] for pair in recording(server)["pairs"]}
    held, left = fidelity.replayed()[server], set(fidelity.excused()[server])
    assert held | left == recorded
    assert not held & left


def test_at_least_95_of_100_are_replayed() -> None:
    recorded = sum(len(recording(server)["pairs"]) for server in SERVERS)
    held = sum(len(names) for names in fidelity.replayed().values())
    assert held / recorded >= 0.95
    # Also without the networks, of which a sample would do.
    others = [server for server in SERVERS if server != "networks"]
    assert sum(len(fidelity.replayed()[server]) for server in others) >= 0.95 * sum(
        len(recording(server)["pairs"]) for server in others
    )


def test_what_is_no_pair_is_known() -> None:
    kept = {server: recording(server)["no_pairs"] for server in SERVERS}
    assert kept == {
        "a1111": ["openapi", "progress_hires_timeline", "progress_niter3_timeline", "queue_timeline"],
        "forge": ["openapi"],
        "auth": [],
        "api-only": [],
        "sparse-config": [],
        "networks": [],
    }


def test_the_docs_show_the_sums() -> None:
    text = fidelity.PAGE.read_text(encoding="utf-8")
    assert fidelity.page(text) == text, "run: python -m tests.sandbox.fidelity"
