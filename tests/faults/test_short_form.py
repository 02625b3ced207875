"""The short form of `make faults`: fewer rounds, of a smaller job; and that its checks can fail."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from filelock import FileLock

from tests.faults.suite import STAGES, Suite

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    with Suite(tmp_path_factory.mktemp("faults"), seed=7, entries=5, say=lambda _: None) as suite:
        yield suite


def test_a_run_killed_at_any_time(suite: Suite) -> None:
    suite.kill_at_any_time(3)
    assert suite.findings.wrong == []
    assert suite.findings.kills["run"] >= 1


def test_a_run_killed_where_it_hurts(suite: Suite) -> None:
    places = ["after-answer", "before-rename", "before-line-of-calls.jsonl", "before-line-of-history.jsonl"]
    suite.kill_at_places(places)
    assert suite.findings.wrong == []
    assert suite.findings.at_places["before-line-of-history.jsonl"] + len(suite.findings.at_places) >= 2


def test_a_server_killed_under_a_run(suite: Suite) -> None:
    suite.kill_sandbox(1)
    assert suite.findings.wrong == []
    assert suite.findings.server_kills["sandbox"] == 1


def test_a_server_that_lies_at_each_stage(suite: Suite) -> None:
    suite.fault("broken_image")
    assert suite.findings.wrong == []
    assert set(suite.findings.faults) == {("broken_image", stage) for stage in STAGES}


def test_what_is_wrong_is_found(suite: Suite) -> None:
    """A check that finds nothing in a run that was spoiled on purpose would prove nothing elsewhere."""
    with suite.world("spoiled") as world:
        run = suite.forker.start(*world.command(suite.sandbox.url))
        assert run.wait() == 0, run.said()
        assert world.check(suite.reference) == []

        first, second, third, *_ = sorted(world.folder.path.rglob("*.png"))
        whole = second.read_bytes()
        first.unlink()
        second.unlink()  # a link of the store, which is to stay as it is
        second.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        third.unlink()
        third.write_bytes(whole[: len(whole) // 2])
        (world.folder.path / ".0123.part").touch()
        lock = FileLock(world.root / "store" / "x.lock")
        lock.acquire()
        asked = [line for line in world.ledger._log.read_text().splitlines() if '"event": "start"' in line]
        again = json.loads(next(line for line in reversed(asked) if "/txt2img" in line))
        with world.ledger._log.open("a") as log:
            log.write(json.dumps({**again, "n": again["n"] + 1_000_000}) + "\n")
        found = "\n".join(world.check(suite.reference))
        lock.release()
    for said in (
        f"{first.name} is lost",
        "is not what the manifest says",
        "does not decode",
        ".0123.part",
        "is still held",
        "1 calls were rendered again",
    ):
        assert said in found
