"""One bad entry never costs the others; what may pass is tried again, what may not is not."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from stableflows.sandbox import Fault, Sandbox, run_sandbox
from tests.flows.conftest import RunningServer
from tests.flows.ran import Ran, run_command, stage_of, task_runs

THREE = """
config:
  checkpoint: sandbox_base_v1
  txt2img: {enabled: true, width: 64, height: 64, steps: 2}
  upscale: {enabled: true}
  adetailer: {enabled: true, steps: 2}
entries:
  - {name: one, prompt: portrait of a sailor}
  - {name: two, prompt: portrait of a fisher}
  - {name: three, prompt: portrait of a captain}
"""
DRAWN = """
config: {checkpoint: sandbox_base_v1, txt2img: {enabled: true, width: 64, height: 64, steps: 2}}
entries: [{name: one, prompt: a}, {name: two, prompt: b, count: 2}, {name: three, prompt: c}]
"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with run_sandbox() as sandbox:
        yield sandbox


class Runner:
    """Runs a pack at the sandbox."""

    def __init__(self, prefect: RunningServer, sandbox: Sandbox, folder: Path) -> None:
        self.prefect, self.sandbox, self.folder = prefect, sandbox, folder

    def __call__(self, pack: str, *arguments: str) -> Ran:
        (self.folder / "pack.yaml").write_text(pack)
        return run_command(
            *(str(self.folder / "pack.yaml"), "--json", "--server", self.sandbox.url, *arguments),
            root=self.folder / "out",
            prefect=self.prefect,
        )

    def sent(self) -> Counter[str]:
        return Counter(stage_of(request) for request in self.sandbox.generating())

    def states(self, ran: Ran) -> dict[str, str]:
        return dict(task_runs(self.prefect, ran.history[-1].flow_run_ids[0]))


@pytest.fixture
def run(
    running_server: RunningServer, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Runner:
    monkeypatch.setattr("tasks.stages.RETRY_DELAYS", [0.0] * 6)
    return Runner(running_server, sandbox, tmp_path)


@pytest.fixture(scope="module")
def calm(running_server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The pictures of DRAWN without a fault."""
    with run_sandbox() as sandbox:
        return Runner(running_server, sandbox, tmp_path_factory.mktemp("calm"))(DRAWN).pictures


def fault_id(value: object) -> str | None:
    if not isinstance(value, Fault):
        return None
    return f"status {value.status}" if value.kind == "status" else value.kind


@pytest.mark.usefixtures("one_at_a_time")
def test_an_entry_that_fails_at_its_third_stage(run: Runner) -> None:
    """It keeps what it has and says why; the others are finished."""
    run.sandbox.arm(Fault(kind="oom", at=2, path="/sdapi/v1/img2img"))
    ran = run(THREE)
    assert ran.code == 1
    assert run.sent() == {"txt2img": 3, "upscale": 3, "adetailer": 3}  # out of memory is not tried again

    assert ran.statuses == ["ok", "error", "ok"]
    two = ran.results[1]
    assert two["error"].startswith("adetailer: ")
    assert "memory" in two["error"]
    assert two["images"] == []
    kept = [output["images"][0] for outputs in two["result"]["stages"].values() for output in outputs]
    assert [Path(image["path"]).name.split("-")[2] for image in kept] == ["txt2img", "upscale"]
    assert all((ran.root / image["path"]).is_file() for image in kept)

    assert ran.manifest["status"] == "FAILED"
    totals = ran.manifest["totals"]
    assert (totals["entries"], totals["ok"], totals["error"], totals["not_reached"]) == (3, 2, 1, 0)
    assert (totals["images"], totals["calls"], totals["calls_done"]) == (2, 9, 8)
    [line] = ran.history
    assert (line.status, line.error) == ("FAILED", "1 of 3 entries failed")
    assert [row["name"] for row in ran.table] == ["one", "three"]
    assert "memory" in ran.folder.gallery_file.read_text()
    [error] = [event for event in ran.events if event["event"] == "error"]
    assert (error["call"], error["kind"]) == ("0002/adetailer/0", "OutOfMemory")
    assert ran.events[-1]["event"] == "run_complete"
    states = run.states(ran)
    assert states.pop("0002 two · adetailer") == "Failed"
    assert set(states.values()) == {"Completed"}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(kind="oom"), "OutOfMemory"),
        (Fault(kind="nan"), "NansError"),
        (Fault(kind="wrong_size"), "Mismatch"),
        (Fault(kind="wrong_checkpoint"), "Mismatch"),
        (Fault(kind="fewer_images", at=2), "FewerImages"),
        (Fault(kind="status", status=422, body='{"detail": "no"}'), "RequestRejected"),
        (Fault(kind="status", status=500, body='{"error": "RuntimeError", "errors": "x"}'), "CallFailed"),
    ],
    ids=fault_id,
)
def test_what_would_fail_again_is_sent_once(run: Runner, fault: Fault, kind: str) -> None:
    """And its images are not taken for good ones."""
    run.sandbox.arm(fault)
    batch = "--set", "txt2img.batch_size=2"
    ran = run(DRAWN, *batch)
    bad = fault.at - 1
    assert ran.code == 1
    assert run.sent() == {"txt2img": 3}
    assert ran.statuses == ["error" if entry == bad else "ok" for entry in range(3)]
    [failed] = [call for call in ran.calls if call.status == "error"]
    assert (failed.entry, failed.error_kind, failed.attempts) == (bad, kind, 1)
    assert str(run.sandbox.url) in failed.error
    assert len(ran.pictures) == sum(result["image_count"] for result in ran.results)
    assert ran.manifest["totals"]["images"] == (2 if bad == 1 else 3)


@pytest.mark.parametrize(
    ("fault", "tries"),
    [
        (Fault(kind="reset", at=2), 2),
        (Fault(kind="truncated", at=2), 2),
        (Fault(kind="broken_image", at=2), 2),
        (Fault(kind="status", status=503, at=2), 2),
        (Fault(kind="status", status=502, at=2, times=3), 4),
        (Fault(kind="refuse", at=2, seconds=0.2), 2),
        (Fault(kind="restart", at=2, seconds=0.2), 2),
    ],
    ids=fault_id,
)
def test_what_may_pass_is_tried_again(run: Runner, calm: dict[str, bytes], fault: Fault, tries: int) -> None:
    """Each image comes once, and is the one that a server without faults makes (as it does every time: see
    `test_the_same_job_again_gives_the_same_bytes`)."""
    run.sandbox.arm(fault)
    ran = run(DRAWN)
    assert ran.code == 0, ran.err
    # A server that goes away takes the call that waits there along, too.
    assert run.sent()["txt2img"] >= 4 + 1
    assert sum(call.attempts for call in ran.calls) >= 4 + tries - 1
    assert ran.statuses == ["ok"] * 3
    assert [result["image_count"] for result in ran.results] == [1, 2, 1]
    assert len(ran.pictures) == 4
    assert set(run.states(ran).values()) == {"Completed"}
    assert ran.pictures == calm


def test_a_retouching_that_was_left_out_without_a_word(run: Runner) -> None:
    """ADetailer drops a unit at HTTP 200; the image that comes back is not taken for a retouched one."""
    run.sandbox.arm(Fault(kind="swallowed_adetailer", path="/sdapi/v1/img2img"))
    ran = run(THREE)
    assert sorted(ran.statuses) == ["error", "ok", "ok"]
    [failed] = [call for call in ran.calls if call.status == "error"]
    assert (failed.stage_type, failed.error_kind) == ("adetailer", "Mismatch")


def test_what_does_not_pass_fails_after_the_last_try(run: Runner) -> None:
    run.sandbox.arm(Fault(kind="status", status=503, at=2, times=12))
    ran = run(DRAWN)
    assert ran.code == 1
    assert run.sent() == {"txt2img": 1 + 3 * 4}
    assert ran.statuses == ["ok", "error", "error"]


def test_a_server_that_crashes_for_good(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing more is tried; what is finished is kept, and everything is written down."""
    monkeypatch.setattr("tasks.stages.RESTART_SECONDS", 0.5)
    run.sandbox.arm(Fault(kind="crash", at=2))
    ran = run(DRAWN)
    assert ran.code == 3
    assert run.sent()["txt2img"] in (2, 3)  # one more may have waited there
    assert ran.statuses[:2] == ["ok", "cancelled"]  # not the entry's fault
    assert ran.statuses[2] != "ok"
    assert len(ran.pictures) == 1
    assert "did not come back within" in ran.printed["error"]
    assert run.sandbox.url in ran.printed["error"]
    [line] = ran.history
    assert line.status == "FAILED"
    assert line.error == ran.printed["error"]
    assert ran.manifest["error"] == ran.printed["error"]
    assert set(run.states(ran).values()) <= {"Completed", "Failed", "Cancelled"}
    assert "Traceback" not in ran.err
