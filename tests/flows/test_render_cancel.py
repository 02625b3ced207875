"""A run that is cancelled: from outside, before its first request, in the middle, between two tries."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.stopping import ask_to_stop
from stableflows.run.folder import RunFolder
from stableflows.sandbox import Fault, Sandbox, SandboxSettings, run_sandbox
from tests.flows.conftest import RunningServer
from tests.flows.ran import Ran, run_command, stage_of, task_runs
from tests.flows.terminal import eventually

PACK = """
config:
  checkpoint: sandbox_base_v1
  txt2img: {enabled: true, width: 64, height: 64, steps: 2}
  upscale: {enabled: true}
entries: [{name: one, prompt: a}, {name: two, prompt: b}, {name: three, prompt: c}, {name: four, prompt: d}]
"""
IN_ORDER = ["txt2img", "txt2img", "upscale", "upscale", "txt2img"]
"""Two chains interleave; the last of these is the third entry's first call."""
THIRD_TXT2IMG: dict[str, Any] = {"path": "/sdapi/v1/txt2img", "at": 3}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with run_sandbox(SandboxSettings()) as sandbox:
        yield sandbox


@pytest.fixture
def pack(tmp_path: Path) -> str:
    (tmp_path / "pack.yaml").write_text(PACK)
    return str(tmp_path / "pack.yaml")


class Meanwhile:
    """Does something in a thread of its own as soon as something holds, while the body runs."""

    def __init__(self, holds: Callable[[], bool], act: Callable[[], object]) -> None:
        self._holds, self._act = holds, act
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._acted = False

    def _run(self) -> None:
        assert eventually(lambda: self._holds() or self._over.is_set())
        if not self._over.is_set():
            self._act()
            self._acted = True

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        assert self._acted


def cancel_at_prefect(prefect: RunningServer) -> None:
    """Cancel the newest flow run, as Prefect's UI does."""
    newest = httpx.post(
        f"{prefect.url}/flow_runs/filter", json={"sort": "START_TIME_DESC", "limit": 1}
    ).json()
    httpx.post(
        f"{prefect.url}/flow_runs/{newest[0]['id']}/set_state",
        json={"state": {"type": "CANCELLING", "name": "Cancelling"}},
    ).raise_for_status()


def flow_run_state(prefect: RunningServer, ran: Ran) -> str:
    run = httpx.get(f"{prefect.url}/flow_runs/{ran.history[-1].flow_run_ids[0]}").raise_for_status().json()
    name: str = run["state"]["name"]
    return name


def arrived(sandbox: Sandbox, number: int) -> Callable[[], bool]:
    """Whether that many generating requests have arrived."""
    return lambda: len(sandbox.generating()) >= number


def interrupts(sandbox: Sandbox) -> int:
    return sum(request.path == "/sdapi/v1/interrupt" for request in sandbox.log)


@pytest.mark.usefixtures("one_at_a_time")
def test_cancelled_at_prefect_in_the_middle(
    running_server: RunningServer, sandbox: Sandbox, pack: str, tmp_path: Path
) -> None:
    """The server is interrupted; what is finished stays; everything is written down and final."""
    sandbox.arm(Fault(kind="hang", **THIRD_TXT2IMG))
    with Meanwhile(arrived(sandbox, 5), lambda: cancel_at_prefect(running_server)):
        ran = run_command(pack, "--server", sandbox.url, root=tmp_path / "out", prefect=running_server)
    assert ran.code == 130
    assert interrupts(sandbox) >= 1
    assert [stage_of(request) for request in sandbox.generating()] == IN_ORDER
    assert ran.statuses == ["ok", "ok", "cancelled", "not_reached"]
    assert [Path(path).name[:4] for path in ran.pictures] == ["0001", "0002", "0001", "0002"]
    assert [call.status for call in ran.calls] == ["ok", "ok", "ok", "ok", "cancelled"]
    assert ran.manifest["status"] == "CANCELLED"
    [line] = ran.history
    assert line.status == "CANCELLED"
    assert [event["event"] for event in ran.events][-2:] == ["early_exit", "run_complete"]
    assert ran.folder.gallery_file.is_file()
    assert flow_run_state(running_server, ran) == "Cancelled"
    states = dict(task_runs(running_server, line.flow_run_ids[0]))
    assert states == {
        "preflight": "Completed",
        "0001 one · txt2img": "Completed",
        "0002 two · txt2img": "Completed",
        "0001 one · upscale": "Completed",
        "0002 two · upscale": "Completed",
        "0003 three · txt2img": "Cancelled",
        "report": "Completed",
    }
    assert "Traceback" not in ran.out + ran.err


def test_a_stop_ends_it_after_the_calls_that_are_at_the_server(
    running_server: RunningServer, sandbox: Sandbox, pack: str, tmp_path: Path
) -> None:
    """What was begun and waits for its turn at the door is not sent; a resumption renders it."""
    sandbox.arm(Fault(kind="slow", seconds=4, times=2))
    out = tmp_path / "out"

    def stop() -> None:
        [plan] = out.glob("*/plan.json")
        ask_to_stop(RunFolder(out, plan.parent.name), "paused")

    with Meanwhile(arrived(sandbox, 2), stop):
        ran = run_command(pack, "--server", sandbox.url, root=out, prefect=running_server)
    assert ran.code == 130
    assert len(sandbox.generating()) == 2
    assert interrupts(sandbox) == 0
    assert [call.status for call in ran.calls].count("ok") == 2
    assert flow_run_state(running_server, ran) == "Paused"
    resumed = run_command("--resume", root=out, prefect=running_server)
    assert resumed.code == 0, resumed.err
    assert len(sandbox.generating()) == 8
    assert set(resumed.statuses) == {"ok"}


def test_what_was_cancelled_can_be_run_again(
    running_server: RunningServer, sandbox: Sandbox, pack: str, tmp_path: Path
) -> None:
    sandbox.arm(Fault(kind="hang", **THIRD_TXT2IMG))
    with Meanwhile(arrived(sandbox, 3), lambda: cancel_at_prefect(running_server)):
        first = run_command(pack, "--server", sandbox.url, root=tmp_path / "out", prefect=running_server)
    assert first.code == 130
    again = run_command("--again", "--server", sandbox.url, root=tmp_path / "out", prefect=running_server)
    assert again.code == 0
    assert again.statuses == ["ok"] * 4
    assert {path: again.pictures[path] for path in first.pictures} == first.pictures


def test_cancelled_with_a_second_call_in_the_servers_queue(
    running_server: RunningServer, sandbox: Sandbox, pack: str, tmp_path: Path
) -> None:
    """Both are interrupted, each when it runs; the server is idle afterwards; nothing half-drawn is kept."""
    sandbox.arm(Fault(kind="hang", times=2))
    with Meanwhile(arrived(sandbox, 2), lambda: cancel_at_prefect(running_server)):
        ran = run_command(pack, "--server", sandbox.url, root=tmp_path / "out", prefect=running_server)
    assert ran.code == 130
    assert interrupts(sandbox) >= 2
    assert [call.status for call in ran.calls] == ["cancelled", "cancelled"]
    assert ran.pictures == {}
    progress = httpx.get(f"{sandbox.url}/sdapi/v1/progress").json()
    assert progress["state"]["job_count"] == 0
    assert flow_run_state(running_server, ran) == "Cancelled"
    sandbox.disarm()
    resumed = run_command("--resume", root=tmp_path / "out", prefect=running_server)
    assert resumed.code == 0, resumed.err
    assert resumed.folder.path == ran.folder.path
    assert set(resumed.statuses) == {"ok"}
    [line] = resumed.history
    assert line.resumed
    assert len(line.flow_run_ids) == 2


@pytest.mark.usefixtures("one_at_a_time")
def test_cancelled_while_it_waits_before_a_further_try(
    running_server: RunningServer,
    sandbox: Sandbox,
    pack: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It does not wait to the end of the pause (here an hour), and does not try again."""
    monkeypatch.setattr("tasks.stages.RETRY_DELAYS", [3600.0] * 6)
    sandbox.arm(Fault(kind="status", status=503, **THIRD_TXT2IMG))
    with Meanwhile(arrived(sandbox, 5), lambda: cancel_at_prefect(running_server)):
        ran = run_command(pack, "--server", sandbox.url, root=tmp_path / "out", prefect=running_server)
    assert ran.code == 130
    assert len(sandbox.generating()) == 5
    assert ran.statuses == ["ok", "ok", "cancelled", "not_reached"]
    assert ran.calls[-1].status == "cancelled"
    assert flow_run_state(running_server, ran) == "Cancelled"
    states = dict(task_runs(running_server, ran.history[-1].flow_run_ids[0]))
    assert states["0003 three · txt2img"] == "Cancelled"


@pytest.mark.usefixtures("one_at_a_time")
def test_cancelled_while_it_waits_for_a_server_that_went_away(
    running_server: RunningServer,
    sandbox: Sandbox,
    pack: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tasks.stages.RETRY_DELAYS", [0.0] * 6)
    monkeypatch.setattr("tasks.stages.RESTART_SECONDS", 3600.0)
    sandbox.arm(Fault(kind="crash", **THIRD_TXT2IMG))
    with Meanwhile(arrived(sandbox, 5), lambda: cancel_at_prefect(running_server)):
        ran = run_command(pack, "--server", sandbox.url, root=tmp_path / "out", prefect=running_server)
    assert ran.code == 130
    assert ran.statuses == ["ok", "ok", "cancelled", "not_reached"]
    assert flow_run_state(running_server, ran) == "Cancelled"


def test_cancelled_before_the_first_request(
    running_server: RunningServer, pack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it waits for a server that is not up: no folder of a run, but its line in the history."""
    monkeypatch.setattr("stableflows.preflight.CONNECT_SECONDS", 3600.0)

    def preflight_runs() -> bool:
        body = {"task_runs": {"name": {"any_": ["preflight"]}, "state": {"type": {"any_": ["RUNNING"]}}}}
        return bool(httpx.post(f"{running_server.url}/task_runs/filter", json=body).json())

    with Meanwhile(preflight_runs, lambda: cancel_at_prefect(running_server)):
        ran = run_command(
            pack, "--server", "http://127.0.0.1:9", root=tmp_path / "out", prefect=running_server
        )
    assert ran.code == 130
    [line] = ran.history
    assert (line.status, line.result) == ("CANCELLED", None)
    assert not list((tmp_path / "out").glob("*/plan.json"))
    assert flow_run_state(running_server, ran) == "Cancelled"
    assert task_runs(running_server, line.flow_run_ids[0]) == [("preflight", "Cancelled")]


THEIRS = {"prompt": "theirs", "steps": 2, "width": 64, "height": 64, "seed": 1}


def test_someone_elses_job_that_we_wait_for_is_left_alone(
    running_server: RunningServer, sandbox: Sandbox, pack: str, tmp_path: Path
) -> None:
    """A run that is cancelled while the server is busy with another job has interrupted nothing."""
    sandbox.arm(Fault(kind="hang"))
    with ThreadPoolExecutor(1) as person:
        theirs = person.submit(httpx.post, f"{sandbox.url}/sdapi/v1/txt2img", json=THEIRS, timeout=60)
        assert eventually(arrived(sandbox, 1))
        looked = len(sandbox.log)
        with Meanwhile(lambda: len(sandbox.log) > looked, lambda: cancel_at_prefect(running_server)):
            ran = run_command(pack, "--server", sandbox.url, root=tmp_path / "out", prefect=running_server)
        assert ran.code == 130
        assert interrupts(sandbox) == 0
        assert not theirs.done()
        httpx.post(f"{sandbox.url}/sdapi/v1/interrupt")
    assert len(sandbox.generating()) == 1
    assert "waiting until it is idle" in ran.out


def test_someone_elses_job_before_ours_in_the_queue_is_left_alone(
    running_server: RunningServer, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Theirs holds the server when we cancel, and is finished. Ours, which waited for it, is interrupted."""
    pack = tmp_path / "pack.yaml"
    stages = "{txt2img: {enabled: true, width: 64, height: 64, steps: 2}, img2img: {enabled: true, steps: 2}}"
    pack.write_text(f"config: {stages}\nentries: [a]\n")
    url = f"{sandbox.url}/sdapi/v1/txt2img"
    alone = httpx.post(url, json=THEIRS).json()["images"]
    sandbox.arm(Fault(kind="slow", seconds=3, times=2, path="/sdapi/v1/txt2img"))
    sandbox.arm(Fault(kind="hang", path="/sdapi/v1/img2img"))
    with ThreadPoolExecutor(1) as person:
        posted = []
        with (
            Meanwhile(
                arrived(sandbox, 2),
                lambda: posted.append(person.submit(httpx.post, url, json=THEIRS, timeout=60)),
            ),
            Meanwhile(arrived(sandbox, 4), lambda: cancel_at_prefect(running_server)),
        ):
            ran = run_command(
                str(pack), "--server", sandbox.url, root=tmp_path / "out", prefect=running_server
            )
        assert posted[0].result().json()["images"] == alone
    assert ran.code == 130
    assert ran.statuses == ["cancelled"]
    assert [call.status for call in ran.calls] == ["ok", "cancelled"]
    assert interrupts(sandbox) >= 1
