"""What a person sees: of a good run, of a failing one and of a Ctrl-C, our lines and no others."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stableflows.run import history
from stableflows.sandbox import Fault, Sandbox, run_sandbox
from tests.flows.conftest import RunningServer
from tests.flows.ran import task_runs
from tests.flows.terminal import Terminal, eventually

RUN = [sys.executable, "-m", "flows.run"]
PACK = """
config: {txt2img: {enabled: true, width: 64, height: 64, steps: 2}, upscale: {enabled: true}}
entries: [{name: one, prompt: a}, {name: two, prompt: b, count: 2}]
"""
STARTING = "Prefect: starting a server for this run (PREFECT_API_URL can name one that runs)"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PROGRESS = re.compile(r"\d/\d images, .* gone, .* left|━")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with run_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pack.yaml").write_text(PACK)
    return tmp_path


def environment(home: Path, **variables: str) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "STABLEFLOWS"))
    }
    return {
        **kept,
        "HOME": str(home),
        "PREFECT_HOME": str(home),
        "TERM": "xterm",
        "COLUMNS": "200",
        **variables,
    }


def shown(lines: list[str]) -> list[str]:
    """The lines that stay on the screen: what a progress display drew and wiped away again is left out."""
    left = [CONTROL.sub("", line.rpartition("\x1b[2K")[2]).rstrip() for line in lines]
    return [line for line in left if line and not PROGRESS.search(line)]


def rows(lines: list[str]) -> list[list[str]]:
    """The rows of the table."""
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]


def said_of(lines: list[str]) -> list[str]:
    """The lines that are not the table's."""
    return [line for line in lines if line[0] not in "┏┃┡│└"]


def task_states(prefect_home: Path, root: Path) -> set[str]:
    [line] = history.read(root)
    [flow_run_id] = line.flow_run_ids
    found = task_runs(RunningServer("", prefect_home), flow_run_id)
    assert found
    return {state for _, state in found}


def flow_state(prefect_home: Path, root: Path) -> str:
    [line] = history.read(root)
    with closing(sqlite3.connect(prefect_home / "prefect.db")) as database:
        query = "select state_name from flow_run where id = ?"
        [(name,)] = database.execute(query, line.flow_run_ids).fetchall()
    return str(name)


def test_a_good_run_with_everything_its_own(folder: Path) -> None:
    """Its own Prefect server and the sandbox, as a newcomer has it."""
    home = folder / "home"
    home.mkdir()
    with Terminal([*RUN, "pack.yaml"], environment(home), cwd=folder) as terminal:
        status, said = terminal.to_the_end()
    root = folder / "outputs"
    [run] = [path.parent for path in root.glob("*/manifest.json")]
    lines = shown(said)
    assert said_of(lines) == [
        STARTING,
        "Server: the embedded sandbox, which draws instead of rendering (no server is configured)",
        f"2 entries, 6 requests, 3 images; into {run}",
        "about 4 s: 6 calls, 0 checkpoint loads (default times: nothing measured yet)",
        "All rendered: 3 images",
        f"Gallery: {run / 'index.html'}",
    ]
    assert [row[:4] for row in rows(lines)] == [["1", "one", "ok", "1"], ["2", "two", "ok", "2"]]
    assert status == 0
    assert task_states(home, root) == {"Completed"}
    assert flow_state(home, root) == "Completed"


def test_a_failing_run(folder: Path, running_server: RunningServer, sandbox: Sandbox) -> None:
    sandbox.arm(Fault(kind="oom", at=3))
    variables = {"PREFECT_API_URL": running_server.url}
    command = [*RUN, "pack.yaml", "--server", sandbox.url]
    with Terminal(command, environment(running_server.home, **variables), cwd=folder) as terminal:
        status, said = terminal.to_the_end()
    root = folder / "outputs"
    [run] = [path.parent for path in root.glob("*/manifest.json")]
    lines = shown(said)
    assert status == 1
    [failed] = [line for line in lines if line.startswith("Failed: 000")]
    assert "out of memory" in failed
    [cost] = [line for line in lines if line.startswith("about ")]
    assert said_of(lines) == [
        f"Server: {sandbox.url} (--server)",
        f"2 entries, 6 requests, 3 images; into {run}",
        cost,
        failed,
        "1 of 2 entries failed",
        f"Gallery: {run / 'index.html'}",
    ]
    assert sorted(row[2] for row in rows(lines)) == ["error", "ok"]
    assert task_states(running_server.home, root) == {"Completed", "Failed"}
    assert flow_state(running_server.home, root) == "Failed"


def test_ctrl_c_in_the_middle(folder: Path, running_server: RunningServer, sandbox: Sandbox) -> None:
    sandbox.arm(Fault(kind="hang", at=3))
    variables = {"PREFECT_API_URL": running_server.url}
    command = [*RUN, "pack.yaml", "--server", sandbox.url]
    with Terminal(command, environment(running_server.home, **variables), cwd=folder) as terminal:
        assert eventually(lambda: len(sandbox.generating()) >= 3)
        # What the display says in the middle, before it is wiped away.
        display = re.compile(r"000\d .* · \w+.* \d/3 images, .* gone, .* left")
        terminal.read_until(lambda said: display.search(CONTROL.sub("", said)))
        terminal.press_ctrl_c()
        status, said = terminal.to_the_end()
    root = folder / "outputs"
    [run] = [path.parent for path in root.glob("*/manifest.json")]
    lines = shown(said)
    assert status == 130
    [ended] = [line for line in lines if line.startswith("Cancelled; ")]
    assert ended.endswith(" finished, --resume makes the rest")
    assert said_of(lines)[-1] == f"Gallery: {run / 'index.html'}"
    assert "cancelled" in [row[2] for row in rows(lines)]
    assert any(request.path == "/sdapi/v1/interrupt" for request in sandbox.log)
    assert "Cancelled" in task_states(running_server.home, root) <= {"Completed", "Cancelled"}
    assert flow_state(running_server.home, root) == "Cancelled"
    [line] = history.read(root)
    assert line.status == "CANCELLED"


def test_ctrl_c_before_prefects_server_is_up(folder: Path) -> None:
    home = folder / "home"
    home.mkdir()
    with Terminal([*RUN, "pack.yaml"], environment(home), cwd=folder) as terminal:
        terminal.line_with(STARTING)
        terminal.press_ctrl_c()
        status, said = terminal.to_the_end()
    assert (status, shown(said)) == (130, [STARTING, "Cancelled"])
    assert not list((folder / "outputs").glob("*/plan.json"))


def test_without_a_terminal(folder: Path, running_server: RunningServer, sandbox: Sandbox) -> None:
    """One line a finished image; and with --json the JSON alone on standard output."""
    variables = {"PREFECT_API_URL": running_server.url}
    command = [*RUN, "pack.yaml", "--json", "--server", sandbox.url]
    done = subprocess.run(
        command,
        env=environment(running_server.home, **variables),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    result = json.loads(done.stdout)["result"]
    images = [image["path"] for entry in result["results"] for image in entry["images"]]
    run = Path(result["output_dir"])
    lines = done.stderr.splitlines()
    said = [re.sub(r"\d+ s$", "… s", line) for line in said_of(lines)]
    finished = [line for line in said if line.startswith("[")]
    assert sorted(line.split()[1] for line in finished) == sorted(images)
    assert [line.split()[0] for line in finished] == ["[1/3]", "[2/3]", "[3/3]"]
    assert [line for line in said if not line.startswith(("[", "about "))] == [
        f"Server: {sandbox.url} (--server)",
        f"2 entries, 6 requests, 3 images; into {run}",
        "All rendered: 3 images",
        f"Gallery: {run / 'index.html'}",
    ]
    assert "\x1b" not in done.stderr
    assert [row[:4] for row in rows(lines)] == [["1", "one", "ok", "1"], ["2", "two", "ok", "2"]]


def test_the_table_fits_into_eighty_columns(
    folder: Path, running_server: RunningServer, sandbox: Sandbox
) -> None:
    (folder / "pack.yaml").write_text(
        "config: {txt2img: {width: 64, height: 64, steps: 2}}\n"
        f"entries: [{'a lighthouse and its keeper ' * 9}]\n"
    )
    variables = {"PREFECT_API_URL": running_server.url, "COLUMNS": "80"}
    command = [*RUN, "pack.yaml", "--server", sandbox.url]
    with Terminal(command, environment(running_server.home, **variables), cwd=folder) as terminal:
        status, said = terminal.to_the_end()
    assert status == 0
    [row] = rows(shown(said))
    assert row[0] == "1"
    assert row[1].endswith("…")
    assert row[2:4] == ["ok", "1"]
    assert re.fullmatch(r"\d+\.\d", row[4])
