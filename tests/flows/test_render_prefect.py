"""What a run is at Prefect, and which server it renders at."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from stableflows.sandbox import Fault, Sandbox, SandboxSettings, run_sandbox
from tests.flows.conftest import RunningServer
from tests.flows.ran import Ran, run_command, task_runs

PACK = """
name: Two ships
config: {txt2img: {enabled: true, width: 64, height: 64, steps: 2}, upscale: {enabled: true}}
entries: [{name: brig, prompt: a brig}, {name: yawl, prompt: a yawl, count: 2}]
"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with run_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def pack(tmp_path: Path) -> str:
    (tmp_path / "ships.yaml").write_text(PACK)
    return str(tmp_path / "ships.yaml")


def flow_run(prefect: RunningServer, ran: Ran) -> dict[str, object]:
    """The run's flow run, as Prefect's API has it."""
    [flow_run_id] = ran.history[-1].flow_run_ids
    answer = httpx.get(f"{prefect.url}/flow_runs/{flow_run_id}").raise_for_status()
    document: dict[str, object] = answer.json()
    return document


@pytest.mark.usefixtures("one_at_a_time")
def test_a_run_at_prefect(running_server: RunningServer, sandbox: Sandbox, pack: str, tmp_path: Path) -> None:
    ran = run_command(pack, "--server", sandbox.url, root=tmp_path / "out", prefect=running_server)
    assert ran.code == 0, ran.err
    run = flow_run(running_server, ran)
    assert run["name"] == "Two ships"
    assert run["state"]["type"] == "COMPLETED"
    assert run["state"]["message"] == "All rendered: 3 images"
    assert task_runs(running_server, str(run["id"])) == [
        (name, "Completed")
        for name in (
            "preflight",
            "0001 brig · txt2img",
            "0002 yawl · txt2img 1/2",
            "0001 brig · upscale",
            "0002 yawl · upscale 1/2",
            "0002 yawl · txt2img 2/2",
            "0002 yawl · upscale 2/2",
            "report",
        )
    ]


def test_the_report_is_an_artifact_of_the_run(
    running_server: RunningServer, sandbox: Sandbox, pack: str, tmp_path: Path
) -> None:
    sandbox.arm(Fault(kind="oom", at=1))
    ran = run_command(pack, "--server", sandbox.url, root=tmp_path / "out", prefect=running_server)
    assert ran.code == 1
    run = flow_run(running_server, ran)
    assert (run["state"]["type"], run["state"]["message"]) == ("FAILED", "1 of 2 entries failed")
    with closing(sqlite3.connect(running_server.home / "prefect.db")) as database:
        [(key, data)] = database.execute(
            "select key, data from artifact where flow_run_id = ? and type = 'markdown'", (run["id"],)
        ).fetchall()
    assert key == "stableflows-report"
    text = json.loads(data)
    assert str(ran.folder.gallery_file) in text
    assert "| 1 | a brig | error | 0 | txt2img: " in text
    assert "| 2 | a yawl | ok | 2 |" in text


def test_no_parameter_of_the_run_holds_a_password(
    running_server: RunningServer, pack: str, tmp_path: Path
) -> None:
    with run_sandbox(SandboxSettings(auth=("someone", "s3cret-word"))) as sandbox:
        url = sandbox.url.replace("://", "://someone:s3cret-word@")
        ran = run_command(pack, root=tmp_path / "out", prefect=running_server, STABLEFLOWS_SERVER=url)
    assert ran.code == 0, ran.err
    assert "s3cret-word" not in json.dumps(flow_run(running_server, ran))
    written = [path for path in ran.root.rglob("*") if path.is_file()]
    assert not any(b"s3cret-word" in path.read_bytes() for path in written)
    assert "s3cret-word" not in ran.out + ran.err


# Which server


@pytest.fixture
def default_block(running_server: RunningServer, sandbox: Sandbox) -> Iterator[str]:
    """The block webui-server/default, which names a sandbox of this test; saved as docs/servers.md says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(running_server.home))
        from prefect.settings import PREFECT_API_URL, temporary_settings

        from blocks import WebUIServer

    with temporary_settings({PREFECT_API_URL: running_server.url}):
        WebUIServer(base_url=sandbox.url).save("default")
        WebUIServer(base_url="http://127.0.0.1:9").save("gpu-box")
    yield sandbox.url
    with temporary_settings({PREFECT_API_URL: running_server.url}):
        WebUIServer.delete("default")
        WebUIServer.delete("gpu-box")


def server_of(ran: Ran) -> str:
    assert ran.code == 0, ran.err
    return ran.folder.plan().server.url


def test_the_server_that_is_used(
    running_server: RunningServer, default_block: str, pack: str, tmp_path: Path
) -> None:
    """The option, else the variable, else the block."""

    def run(*arguments: str, **environment: str) -> Ran:
        return run_command(
            pack, "--fresh", *arguments, root=tmp_path / "out", prefect=running_server, **environment
        )

    ran = run()
    assert server_of(ran) == default_block
    assert ran.folder.plan().server.name == "default"
    assert f"Server: {default_block} (block webui-server/default)" in ran.out.splitlines()
    with run_sandbox() as variable, run_sandbox() as option:
        ran = run(STABLEFLOWS_SERVER=variable.url)
        assert server_of(ran) == variable.url
        assert f"Server: {variable.url} (STABLEFLOWS_SERVER)" in ran.out.splitlines()
        assert server_of(run("--server", option.url, STABLEFLOWS_SERVER=variable.url)) == option.url
        assert server_of(run("--server", "default", STABLEFLOWS_SERVER=variable.url)) == default_block
        assert len(option.generating()) == len(variable.generating()) == 6
    unknown = run("--server", "gpu-bix")
    assert unknown.code == 2
    assert "'gpu-box'" in unknown.err + unknown.out


def test_without_any_server_it_is_the_sandbox_and_says_so(
    running_server: RunningServer, pack: str, tmp_path: Path
) -> None:
    ran = run_command(pack, root=tmp_path, prefect=running_server)
    assert ran.code == 0
    [line] = [line for line in ran.out.splitlines() if line.startswith("Server: ")]
    assert line == "Server: the embedded sandbox, which draws instead of rendering (no server is configured)"
    assert ran.folder.plan().server.sandbox
    assert "sandbox" in ran.folder.gallery_file.read_text()
