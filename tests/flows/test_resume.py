"""A run that ended before its end goes on in its own folder; what is done stays done."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from flows.stopping import ask_to_stop, moment
from stableflows.run.folder import RunFolder
from stableflows.sandbox import Fault, Sandbox, SandboxSettings, run_sandbox
from tests.flows.conftest import RunningServer
from tests.flows.ran import Ran, run_command, stage_of

PACK = """
config:
  checkpoint: sandbox_base_v1
  txt2img: {enabled: true, width: 64, height: 64, steps: 2}
  upscale: {enabled: true}
entries:
  - {name: one, prompt: a, config: {txt2img: {seed: -1}}}
  - {name: two, prompt: b}
  - {name: three, prompt: c}
"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with run_sandbox(SandboxSettings(knows_hashes=True)) as sandbox:
        yield sandbox


class Root:
    """An output root with a pack beside it."""

    def __init__(self, prefect: RunningServer, sandbox: Sandbox, folder: Path) -> None:
        self.prefect, self.sandbox, self.folder = prefect, sandbox, folder
        (folder / "pack.yaml").write_text(PACK)

    def run(self, *arguments: str) -> Ran:
        return run_command(*arguments, "--json", root=self.folder / "out", prefect=self.prefect)

    def begin(self, *arguments: str) -> Ran:
        return self.run(str(self.folder / "pack.yaml"), "--server", self.sandbox.url, *arguments)

    def sent(self) -> Counter[str]:
        return Counter(stage_of(request) for request in self.sandbox.generating())


@pytest.fixture
def root(
    running_server: RunningServer, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Root:
    monkeypatch.setattr("tasks.stages.RETRY_DELAYS", [0.0] * 6)
    monkeypatch.setattr("tasks.stages.RESTART_SECONDS", 0.3)
    return Root(running_server, sandbox, tmp_path)


def test_a_server_that_went_away_and_the_run_that_goes_on(root: Root) -> None:
    root.sandbox.arm(Fault(kind="crash", at=3))
    broken = root.begin()
    assert broken.code == 3
    before = dict(broken.pictures)
    draws = broken.folder.plan().draws
    root.sandbox.restart()
    root.sandbox.wait()
    resumed = root.run("--resume")
    assert resumed.code == 0, resumed.err
    assert resumed.folder.path == broken.folder.path
    assert resumed.folder.plan().draws == draws != {}
    assert resumed.statuses == ["ok"] * 3
    assert before.items() <= resumed.pictures.items()
    [line] = resumed.history
    assert (line.status, line.resumed, len(line.flow_run_ids)) == ("COMPLETED", True, 2)
    assert root.sent() <= Counter({"txt2img": 3 + 2, "upscale": 3 + 2})  # what was at the server was lost
    assert not list(resumed.root.rglob("*.lock"))


def test_nothing_left_takes_no_request(root: Root) -> None:
    whole = root.begin()
    sent = root.sent()
    again = root.run("--resume", whole.history[-1].run_id)
    assert again.code == 0
    assert root.sent() == sent
    assert again.pictures == whole.pictures


def test_what_was_deleted_comes_back_from_the_store_and_what_was_changed_is_made_again(root: Root) -> None:
    whole = root.begin("--stages", "txt2img")
    pictures = whole.pictures
    gone, changed, kept = (whole.folder.path / name for name in pictures)
    gone.unlink()
    changed.unlink()  # a link to the store, which must stay as it is
    changed.write_bytes(b"painted over")
    resumed = root.run("--resume", whole.folder.name)
    assert resumed.code == 0, resumed.err
    assert gone.read_bytes() == pictures[gone.name]
    assert kept.read_bytes() == pictures[kept.name]
    assert changed.read_bytes() == b"painted over"
    assert "was changed; it is made again" in resumed.err
    assert len(root.sandbox.generating()) == 3  # also that one comes from the store


def test_retry_makes_only_what_failed(root: Root) -> None:
    root.sandbox.arm(Fault(kind="oom", at=2, path="/sdapi/v1/extra-single-image"))
    first = root.begin()
    assert sorted(first.statuses) == ["error", "ok", "ok"]
    run_id = first.history[-1].run_id
    before = root.sent()
    resumed = root.run("--resume", run_id)
    assert resumed.code == 1  # a resume leaves what failed as it is
    assert root.sent() == before
    retried = root.run("--retry", run_id[:6])
    assert retried.code == 0, retried.err
    assert retried.statuses == ["ok"] * 3
    assert root.sent() - before == Counter({"upscale": 1})
    assert retried.folder.path == first.folder.path


def test_until_a_time_that_has_come_nothing_is_sent(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.render.moment", lambda _until, now: now - timedelta(seconds=1))
    stopped = root.begin("--until", "07:00")
    assert stopped.code == 130
    assert stopped.manifest["status"] == "CANCELLED"
    assert sum(root.sent().values()) <= 4
    [exit_event] = [event for event in stopped.events if event["event"] == "early_exit"]
    assert exit_event["reason"].startswith("until ")
    assert root.run("--resume").statuses == ["ok"] * 3


def test_the_next_seven_oclock() -> None:
    evening = datetime(2026, 11, 21, 22, 0)  # noqa: DTZ001 (any zone)
    assert moment("07:00", evening) == datetime(2026, 11, 22, 7, 0)  # noqa: DTZ001
    assert moment("23:30", evening) == datetime(2026, 11, 21, 23, 30)  # noqa: DTZ001


def test_a_run_is_asked_to_stop_through_its_folder(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """And ends after the images in hand."""
    from flows import render

    watch = render.watch_for_stop

    async def asked(folder: RunFolder, until: object, **events: object) -> str | None:
        ask_to_stop(folder, "paused")
        return await watch(folder, None, **events)  # type: ignore[arg-type]

    monkeypatch.setattr(render, "watch_for_stop", asked)
    stopped = root.begin()
    assert stopped.code == 130
    assert stopped.history[-1].status == "CANCELLED"
    made = [call.status for call in stopped.calls]
    assert set(made) <= {"ok", "cancelled"}  # what waited for its turn is not sent
    assert made.count("ok") == sum(root.sent().values())
    monkeypatch.setattr(render, "watch_for_stop", watch)
    assert root.run("--resume").statuses == ["ok"] * 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--resume",), "there is no unfinished run"),
        (("--resume", "nope"), "there is no run 'nope'"),
        (("--retry", "nope"), "there is no run 'nope'"),
        (("--resume", "--again"), "name one earlier run"),
        (("--resume", "--seed", "5"), "--resume takes the job as it was"),
        (("--until", "25:00", "--prompt", "x"), "until"),
    ],
)
def test_what_cannot_be_taken_up_is_said(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    ran = run_command(*arguments, root=tmp_path)
    assert ran.code == 2
    assert said in ran.err


def test_a_killed_run_is_found_and_finished(root: Root) -> None:
    """SIGKILL in the middle: the next to start writes down what became of it."""
    with run_sandbox(SandboxSettings(knows_hashes=True, step_seconds=0.2)) as slow:
        out = root.folder / "out"
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "flows.run", str(root.folder / "pack.yaml")),
                *("--server", slow.url, "--out", str(out)),
            ],
            env={**_environment(root.prefect)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + 120
            while len(slow.generating()) < 3 and time.monotonic() < deadline:
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert list(out.glob("*/running.lock"))
        resumed = root.run("--resume")
        assert resumed.code == 0, resumed.err
        assert "was killed" in resumed.err
        lines = (out / "history.jsonl").read_text().splitlines()
        assert ['"CRASHED"' in line for line in lines] == [True, False]
        assert resumed.history[-1].resumed
        assert resumed.statuses == ["ok"] * 3
        assert Counter(stage_of(request) for request in slow.generating()) <= Counter(
            {"txt2img": 5, "upscale": 5}
        )
    assert not list(out.rglob("*.lock"))
    assert not list(out.rglob("*.part"))
    shutil.rmtree(out)


def _environment(prefect: RunningServer) -> dict[str, str]:
    import os

    return {**os.environ, "PREFECT_API_URL": prefect.url, "PREFECT_HOME": str(prefect.home)}
