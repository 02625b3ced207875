"""What a WebUI does when it starts, dies, hangs or comes back as another, each with its own end.

The faults that an answer shows are in test_render_failures.py and test_silent_failures.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import flows.server
from stableflows.errors import ExitCode
from stableflows.sandbox import Catalog, Fault, Sandbox, SandboxSettings, run_sandbox
from stableflows.webui.server import ServerConfig, StallLimits
from tests.flows.conftest import RunningServer
from tests.flows.ran import Ran, run_command

PACK = """
config:
  checkpoint: sandbox_base_v1
  txt2img: {enabled: true, width: 64, height: 64, steps: 4}
entries:
  - {name: one, prompt: a, config: {upscale: {enabled: true, upscaler: Lanczos}}}
  - {name: two, prompt: b}
  - {name: three, prompt: c}
"""
UPSCALE = "/sdapi/v1/extra-single-image"
"""Only the first entry asks for it: a fault there hits each of its tries, and nobody else's."""

Render = Callable[[], Ran]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with run_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def render(
    running_server: RunningServer, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Render:
    """Renders the pack at the sandbox; a call that stands still for 2 s has stalled."""
    monkeypatch.setattr("tasks.stages.RETRY_DELAYS", [0.0] * 6)
    by_url = flows.server.by_url

    def impatient(name: str, source: str) -> ServerConfig | None:
        config = by_url(name, source)
        limits = StallLimits(sampling=2, loading=2, other=2, interrupt=10)
        return config and config.model_copy(update={"stall": limits, "poll_seconds": 0.1})

    monkeypatch.setattr(flows.server, "by_url", impatient)
    pack = tmp_path / "pack.yaml"
    pack.write_text(PACK)

    def run() -> Ran:
        return run_command(
            str(pack), "--json", "--server", sandbox.url, root=tmp_path / "out", prefect=running_server
        )

    return run


def attempts(ran: Ran) -> dict[str, int]:
    return {call.call_id: call.attempts for call in ran.calls}


ONCE = {"0001/txt2img/0": 1, "0001/upscale/0": 1, "0002/txt2img/0": 1, "0003/txt2img/0": 1}


def test_a_call_that_hangs_is_interrupted_and_tried_once_more(render: Render, sandbox: Sandbox) -> None:
    sandbox.arm(Fault(kind="hang", path=UPSCALE))
    ran = render()
    assert ran.code == ExitCode.OK, ran.err
    assert attempts(ran) == {**ONCE, "0001/upscale/0": 2}
    assert any(request.path == "/sdapi/v1/interrupt" for request in sandbox.log)


def test_a_call_that_hangs_each_time_costs_its_entry_alone(render: Render, sandbox: Sandbox) -> None:
    sandbox.arm(Fault(kind="hang", path=UPSCALE, times=2))
    ran = render()
    assert ran.code == ExitCode.ENTRIES_FAILED
    assert ran.statuses == ["error", "ok", "ok"]
    [failed] = [call for call in ran.calls if call.status == "error"]
    assert (failed.error_kind, failed.attempts) == ("Stalled", 2)
    assert "no progress" in str(failed.error)


def test_a_call_that_is_slow_but_moves_is_no_failure(
    running_server: RunningServer, render: Render, sandbox: Sandbox
) -> None:
    """Each step takes less than what counts as standing still; all of them take more."""
    for step in (1, 2, 3):
        sandbox.arm(Fault(kind="slow", at=2, step=step, seconds=1.0))
    ran = render()
    assert ran.code == ExitCode.OK, ran.err
    assert attempts(ran) == ONCE
    assert not any(request.path == "/sdapi/v1/interrupt" for request in sandbox.log)


def test_an_entry_of_which_the_server_dies_three_times_is_set_aside(
    running_server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies while it renders the second, each time; the others are rendered."""
    monkeypatch.setattr("tasks.stages.RETRY_DELAYS", [0.0] * 6)
    (tmp_path / "pack.yaml").write_text(
        PACK.replace("prompt: b", "prompt: b, config: {txt2img: {steps: 77}}")
    )
    over = threading.Event()

    def die_of_it(sandbox: Sandbox) -> None:
        while not over.is_set():
            waiting = [r for r in sandbox.generating() if r.status is None and r.body.get("steps") == 77]
            if waiting and sandbox.webui.state.sampling_step > 20:
                sandbox.restart()
            time.sleep(0.02)

    with run_sandbox(SandboxSettings(step_seconds=0.05)) as sandbox:
        killer = threading.Thread(target=die_of_it, args=(sandbox,))
        killer.start()
        try:
            ran = run_command(
                *(str(tmp_path / "pack.yaml"), "--json", "--server", sandbox.url),
                root=tmp_path / "out",
                prefect=running_server,
            )
        finally:
            over.set()
            killer.join()
    assert ran.code == ExitCode.ENTRIES_FAILED
    assert ran.statuses == ["ok", "error", "ok"]
    [failed] = [call for call in ran.calls if call.status == "error"]
    assert failed.error_kind == "SetAside"
    assert "went away 3 times" in str(failed.error)
    assert "--retry" in str(failed.error)


def test_a_server_that_comes_back_without_a_model_renders_nothing_else(
    render: Render, sandbox: Sandbox
) -> None:
    """What it answers with another model is not taken, and the entries that want the lost one fail."""
    catalog = Catalog()
    others = tuple(each for each in catalog.checkpoints if each.name != "sandbox_base_v1")
    without = catalog.model_copy(update={"checkpoints": others})
    sandbox.arm(Fault(kind="restart", at=2, seconds=0.1, catalog=without))
    ran = render()
    assert ran.code == ExitCode.ENTRIES_FAILED
    failed = [call for call in ran.calls if call.status == "error"]
    assert len(failed) >= 2
    assert all("sandbox_base_v1" in str(call.error) for call in failed)
    assert {call.error_kind for call in failed} <= {"ModelsChangedError", "Mismatch"}
    assert len(ran.pictures) == sum(call.status == "ok" for call in ran.calls)


def test_a_server_that_is_starting_is_waited_for(running_server: RunningServer, tmp_path: Path) -> None:
    """Its routes come one by one, the progress before the lists."""
    (tmp_path / "pack.yaml").write_text(PACK)
    with run_sandbox(SandboxSettings(start_seconds=3.0)) as sandbox:
        ran = run_command(
            str(tmp_path / "pack.yaml"),
            "--server",
            sandbox.url,
            root=tmp_path / "out",
            prefect=running_server,
        )
    assert ran.code == ExitCode.OK, ran.err
    assert ran.statuses == ["ok"] * 3


def test_a_server_that_refuses_is_not_waited_for_long(
    render: Render, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens there: that is said, with what to look at, and no folder is made."""
    monkeypatch.setattr("stableflows.preflight.CONNECT_SECONDS", 0.2)
    sandbox.crash()
    ran = render()
    assert ran.code == ExitCode.SERVER_UNREACHABLE
    assert "Is the WebUI of" in ran.printed["error"]
    assert not list(ran.root.glob("*/plan.json"))


def test_a_server_that_answers_500_and_hangs_up_is_asked_again(render: Render, sandbox: Sandbox) -> None:
    """As Forge does: the next request would be reset, did we keep the connection."""
    sandbox.arm(Fault(kind="oom", at=1))
    sandbox.arm(Fault(kind="reset", at=2))
    ran = render()
    assert ran.code == ExitCode.ENTRIES_FAILED
    assert ran.statuses.count("error") == 1
    assert sorted(attempts(ran).values())[-1] == 2
