"""A direct run's Prefect API: which one, nothing of it on the terminal, everything of it in the database."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.flows.conftest import RunningServer
from tests.flows.terminal import Terminal, eventually

# Together on one worker: the first test makes the database that the others find.
pytestmark = pytest.mark.xdist_group("prefect_api")

SCRIPT = Path(__file__).with_name("direct_run.py")
STARTING = "Prefect: starting a server for this run (PREFECT_API_URL can name one that runs)"
ALL_FINAL = "30 task runs are final"
ALL_30 = {"Completed": 21, "Cached": 5, "Failed": 4}


@pytest.fixture(scope="module")
def used_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PREFECT_HOME whose database the first test makes and the others find there."""
    return tmp_path_factory.mktemp("prefect-home")


def direct_run(home: Path, *arguments: str, **variables: str) -> Terminal:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    environment |= {"PREFECT_HOME": str(home), "HOME": str(home), **variables}
    return Terminal([sys.executable, str(SCRIPT), *arguments], environment, cwd=home)


def ask(home: Path, query: str, *parameters: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        return database.execute(query, parameters).fetchall()


def flow_run_id(lines: list[str]) -> str:
    return next(line for line in lines if line.startswith("flow run ")).split()[-1]


def task_run_states(home: Path, run: str) -> Counter[str]:
    return Counter(
        name for (name,) in ask(home, "select state_name from task_run where flow_run_id = ?", run)
    )


def flow_run_state(home: Path, run: str) -> str:
    [(name,)] = ask(home, "select state_name from flow_run where id = ?", run)
    return name


def is_open(url: str) -> bool:
    parts = urlsplit(url)
    with closing(socket.socket()) as probe:
        return probe.connect_ex((parts.hostname, parts.port)) == 0


def test_its_module_does_not_import_prefect() -> None:
    code = "import sys, flows.prefect_api; sys.exit('prefect' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_with_a_server_of_its_own(used_home: Path) -> None:
    with direct_run(used_home, "30", "0.01") as terminal:
        status, lines = terminal.to_the_end()
    run = flow_run_id(lines)
    api = lines[1].removeprefix("own ")
    assert lines == [STARTING, f"own {api}", f"flow run {run}", "Failed 4 of 30 failed", ALL_FINAL]
    assert status == 1
    assert task_run_states(used_home, run) == ALL_30
    assert flow_run_state(used_home, run) == "Failed"
    assert not is_open(api)
    assert own_servers_of(used_home) == []


def test_its_logs_are_in_the_database_with_tracebacks_only_of_what_nobody_expected(used_home: Path) -> None:
    messages = [message for (message,) in ask(used_home, "select message from log")]
    assert any("hello from the flow" in message for message in messages)
    expected = [message for message in messages if "StableflowsError" in message]
    assert expected
    assert not any("Traceback" in message for message in expected)
    assert any("Traceback" in message for message in messages if "ValueError" in message)


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "Ctrl-C twice"])
def test_a_run_that_is_interrupted_ends_cancelled(used_home: Path, how: str) -> None:
    stubborn = ["stubborn"] if how == "Ctrl-C twice" else []
    with direct_run(used_home, "2000", "600", *stubborn) as terminal:
        run = terminal.line_with("flow run").split()[-1]
        assert eventually(lambda: task_run_states(used_home, run)["Running"] == 4)
        if how == "SIGTERM":
            terminal.process.send_signal(signal.SIGTERM)
        else:
            terminal.press_ctrl_c()
        if stubborn:
            terminal.line_with("cancelling")
            terminal.press_ctrl_c()
        status, lines = terminal.to_the_end()
    assert lines[2:] == [f"flow run {run}", "cancelling", "Cancelled None", "4 task runs are final"]
    assert status == 130
    assert task_run_states(used_home, run) == ({"Crashed": 4} if stubborn else {"Cancelled": 4})
    assert flow_run_state(used_home, run) == "Cancelled"
    assert own_servers_of(used_home) == []


def test_ctrl_c_while_its_server_starts(used_home: Path) -> None:
    with direct_run(used_home, "1", "0") as terminal:
        terminal.line_with(STARTING)
        assert eventually(lambda: own_servers_of(used_home) != [])
        terminal.press_ctrl_c()
        status, lines = terminal.to_the_end()
    assert (status, lines) == (130, [STARTING, "interrupted"])
    assert eventually(lambda: own_servers_of(used_home) == [])


def test_its_server_does_not_outlive_it(used_home: Path) -> None:
    with direct_run(used_home, "4", "600") as terminal:
        api = terminal.line_with("own ").removeprefix("own ")
        terminal.line_with("flow run")
        terminal.process.kill()
    assert eventually(lambda: not is_open(api))
    assert eventually(lambda: own_servers_of(used_home) == [])


def test_two_at_once_share_a_new_database(tmp_path: Path) -> None:
    password = {"PREFECT_SERVER_API_AUTH_STRING": "someone:secret"}  # which has nothing to do with it
    with direct_run(tmp_path, "30", "0.1") as one, direct_run(tmp_path, "30", "0.1", **password) as other:
        results = [one.to_the_end(), other.to_the_end()]
    for status, lines in results:
        assert lines[-2] == "Failed 4 of 30 failed"
        assert status == 1
        assert task_run_states(tmp_path, flow_run_id(lines)) == ALL_30


def test_a_configured_api_is_used(running_server: RunningServer) -> None:
    with direct_run(running_server.home, "30", "0.01", PREFECT_API_URL=running_server.url) as terminal:
        status, lines = terminal.to_the_end()
    run = flow_run_id(lines)
    assert lines == [
        f"configured {running_server.url}",
        f"flow run {run}",
        "Failed 4 of 30 failed",
        ALL_FINAL,
    ]
    assert status == 1
    assert task_run_states(running_server.home, run) == ALL_30
    assert is_open(running_server.url)


def test_that_of_stableflows_up_is_used_while_it_lives(running_server: RunningServer, tmp_path: Path) -> None:
    state = {"url": running_server.url, "ui": "", "pid": os.getpid()}
    (tmp_path / "stableflows-up.json").write_text(json.dumps(state))
    (tmp_path / "prefect.db").symlink_to(running_server.home / "prefect.db")
    with direct_run(tmp_path, "2", "0") as terminal:
        status, lines = terminal.to_the_end()
    assert lines[0] == f"stableflows up {running_server.url}"
    assert (status, lines[2:]) == (0, ["Completed None", "2 task runs are final"])


def test_what_a_killed_stableflows_up_left_is_not_believed(
    running_server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.prefect_api import _url_of_stableflows_up

    def left(text: str) -> str | None:
        (tmp_path / "stableflows-up.json").write_text(text)
        return _url_of_stableflows_up(tmp_path)

    assert _url_of_stableflows_up(tmp_path) is None
    assert left(json.dumps({"url": running_server.url, "ui": "", "pid": 1})) == running_server.url
    assert left('{"url": ') is None
    assert left(json.dumps({"url": "http://127.0.0.1:9/api", "ui": "", "pid": 1})) is None
    someone_else = running_server.url.removesuffix("/api")  # answers 200 with a page
    assert left(json.dumps({"url": someone_else, "ui": "", "pid": 1})) is None


def test_a_run_cancelled_from_outside_ends_cancelled(running_server: RunningServer) -> None:
    with direct_run(running_server.home, "2000", "600", PREFECT_API_URL=running_server.url) as terminal:
        run = terminal.line_with("flow run").split()[-1]
        assert eventually(lambda: task_run_states(running_server.home, run)["Running"] == 4)
        httpx.post(
            f"{running_server.url}/flow_runs/{run}/set_state",
            json={"state": {"type": "CANCELLING", "name": "Cancelling"}},
        ).raise_for_status()
        status, lines = terminal.to_the_end()
    assert lines[1:] == [f"flow run {run}", "cancelling", "Cancelled None", "4 task runs are final"]
    assert status == 130
    assert flow_run_state(running_server.home, run) == "Cancelled"
    assert task_run_states(running_server.home, run) == {"Cancelled": 4}


def test_a_configured_api_that_does_not_answer(tmp_path: Path) -> None:
    (tmp_path / "prefect.toml").write_text('[api]\nurl = "http://127.0.0.1:9/api"\n')
    with direct_run(tmp_path, "1", "0") as terminal:
        status, lines = terminal.to_the_end()
    assert status == 3
    assert lines[0].startswith("error: The Prefect API http://127.0.0.1:9/api cannot be used: ")
    assert lines[1].startswith(f"It is configured by api.url in {tmp_path / 'prefect.toml'}.")
    assert len(lines) == 2


def test_a_configured_api_that_is_something_else(running_server: RunningServer, tmp_path: Path) -> None:
    web_page = running_server.url.removesuffix("/api")
    with direct_run(tmp_path, "1", "0", PREFECT_API_URL=web_page) as terminal:
        status, lines = terminal.to_the_end()
    assert status == 3
    assert lines[0] == (
        f"error: The Prefect API {web_page} cannot be used: "
        f"GET {web_page}/admin/version is answered with 404 Not Found (a Prefect API's URL ends in /api)."
    )
    assert lines[1].startswith("It is configured by PREFECT_API_URL in the environment.")


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    nowhere = "sqlite+aiosqlite:////nowhere/prefect.db"
    with direct_run(tmp_path, "1", "0", PREFECT_SERVER_DATABASE_CONNECTION_URL=nowhere) as terminal:
        status, lines = terminal.to_the_end()
    text = "\n".join(lines)
    assert status == 3
    assert "error: The Prefect server for this run ended with exit status 3. It said:" in text
    assert "unable to open database file" in text
    [log] = re.findall(r"The whole log is (.*\.log)\.", text)
    assert "Traceback" in Path(log).read_text()
    assert own_servers_of(tmp_path) == []


def test_what_did_not_arrive_is_set_to_crashed(running_server: RunningServer) -> None:
    code = """
import asyncio
from flows.prefect_api import drain, prefect_api

async def main():
    from prefect import flow, task
    from prefect.client.orchestration import get_client
    from prefect.states import Running

    @flow
    async def job(): ...

    @task
    async def lost(): ...

    state = await job(return_state=True)
    run = state.state_details.flow_run_id
    async with get_client() as client:
        task_run = await client.create_task_run(lost, run, "0", state=Running())
        print(await drain(run, bound=0.5), await drain(run))
        print((await client.read_task_run(task_run.id)).state)

with prefect_api():
    asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PREFECT_API_URL": running_server.url, "PREFECT_HOME": str(running_server.home)},
        capture_output=True,
        text=True,
        check=True,
    )
    arrived, state = done.stdout.splitlines()
    assert arrived == "False True"
    assert state.startswith("Crashed('It ended with its run")
    assert done.stderr == ""


def own_servers_of(home: Path) -> list[int]:
    """The processes of servers of our own that use `home`."""
    mine = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            environment = (process / "environ").read_bytes()
        except OSError:  # it has ended, or is not ours
            continue
        if b"flows.own_server" in command and f"PREFECT_HOME={home}\0".encode() in environment:
            mine.append(int(process.name))
    return mine
