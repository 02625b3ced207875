"""`flows.history`: runs are found by what one remembers of them; without Prefect."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.history import app
from stableflows.results import RunStatus
from stableflows.run import history
from stableflows.run.history import HistoryLine

ROOT = Path(__file__).parents[2]


def write(root: Path, run_id: str, day: str, status: RunStatus, prompt: str, **more: Any) -> None:
    entry = {
        "pack_id": "ships",
        "pack_name": "Tall ships",
        "entry": {"name": None},
        "prompt": prompt,
        "status": "ok" if status is RunStatus.COMPLETED else "error",
        "error": None if status is RunStatus.COMPLETED else "txt2img: out of memory",
        "pipeline_mode": "txt2img_only",
    }
    line = {
        "job_id": "j",
        "run_id": run_id,
        "timestamp": f"{day}T12:00:00+00:00",
        "status": status,
        "run_mode": "queue",
        "source": "cli",
        "prompt_source": "pack",
        "result": {
            "job_id": "j",
            "mode": "prompt_pack_batch",
            "total_entries": 1,
            "results": [entry],
            "output_dir": str(root / f"{day}-evening-{run_id[:8]}"),
        },
        **more,
    }
    history.append(root, HistoryLine.model_validate(line))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "aaaa11112222", "2026-11-19", RunStatus.COMPLETED, "a brig at dusk")
    write(tmp_path, "bbbb11112222", "2026-11-20", RunStatus.FAILED, "a yawl")
    write(tmp_path, "cccc11112222", "2026-11-21", RunStatus.CANCELLED, "a lighthouse")
    return tmp_path


def listed(capsys: pytest.CaptureFixture[str], root: Path, *words: str) -> list[str]:
    assert app(["list", *words, "--out", str(root), "--json"], result_action="return_value") == 0
    return [line["run_id"][:4] for line in json.loads(capsys.readouterr().out)]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), "aaaa bbbb cccc"),
        (("--last", "1"), "cccc"),
        (("--text", "BRIG"), "aaaa"),
        (("--status", "failed"), "bbbb"),
        (("--since", "2026-11-20"), "bbbb cccc"),
        (("--before", "2026-11-20"), "aaaa"),
        (("--pack", "tall"), "aaaa bbbb cccc"),
        (("--pack", "boats"), ""),
        (("--name", "evening-bbbb"), "bbbb"),
        (("--since", "2026-11-20", "--text", "brig"), ""),
    ],
)
def test_list(root: Path, words: tuple[str, ...], found: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys, root, *words) == found.split()


def test_show_and_failed_say_why(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app(["show", "bbbb", "--out", str(root)], result_action="return_value") == 0
    assert "a yawl: error txt2img: out of memory" in capsys.readouterr().out
    assert app(["failed", "--out", str(root)], result_action="return_value") == 0
    said = capsys.readouterr().out
    assert "stableflows run --retry bbbb11112222" in said
    assert "a brig" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [(("list", "--since", "21.11.2026"), "2026-11-21"), (("show", "dddd"), "no run 'dddd'")],
)
def test_what_is_not_there(
    root: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app([*words, "--out", str(root)], result_action="return_value") == 2
    assert said in capsys.readouterr().err


def test_it_needs_no_prefect(root: Path) -> None:
    code = (
        "import sys; from flows.history import app; "
        f"app(['list', '--out', {str(root)!r}], result_action='return_value'); "
        "print('prefect' in sys.modules, 'httpx' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False"
