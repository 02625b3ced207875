"""A disk that fills up, turns read-only or goes away at any write: the run stops and says so, nothing is half
written, and it goes on when there is room."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stableflows.errors import ExitCode
from stableflows.sandbox import Sandbox, run_sandbox
from tests.flows.conftest import RunningServer, running_server
from tests.flows.ran import Ran, run_command

__all__ = ["running_server"]  # a fixture

PACK = """
config:
  checkpoint: sandbox_base_v1
  txt2img: {enabled: true, width: 64, height: 64, steps: 2}
  upscale: {enabled: true, upscaler: Lanczos}
entries: [{name: one, prompt: a}, {name: two, prompt: b}]
"""


class Disk:
    """Counts what is synced, and refuses it from the nth time on; nothing reaches a disk without."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced = 0
        self.full_from: int | None = None
        self.code = errno.ENOSPC
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._sync)

    def _sync(self, file: int) -> None:
        self.synced += 1
        if self.full_from is not None and self.synced >= self.full_from:
            raise OSError(self.code, os.strerror(self.code))
        self._fsync(file)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with run_sandbox() as sandbox:
        yield sandbox


def render(root: Path, sandbox: Sandbox, prefect: RunningServer, *arguments: str) -> Ran:
    pack = root.parent / "pack.yaml"
    pack.write_text(PACK)
    what = arguments or (str(pack),)
    return run_command(*what, "--json", "--server", sandbox.url, root=root, prefect=prefect)


def pictures(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in root.rglob("*.png") if "store" not in path.parts}


def half_written(root: Path) -> list[str]:
    found = [str(path) for path in root.rglob(".*.part")]
    for path in root.rglob("*.json"):
        try:
            json.loads(path.read_bytes())
        except ValueError:
            found.append(str(path))
    return found


def taken_up(root: Path, sandbox: Sandbox, prefect: RunningServer) -> Ran:
    """The run that was cut short, to its end; or the job anew, where it had not begun. The call whose picture
    did not fit has failed: `--resume` makes it, too."""
    plans = list(root.glob("*/plan.json"))
    if not plans:
        return render(root, sandbox, prefect)
    [plan] = plans
    return render(root, sandbox, prefect, "--resume", json.loads(plan.read_bytes())["run_id"])


def test_a_disk_that_fills_up_at_any_write(
    running_server: RunningServer, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    calm = render(tmp_path / "calm", sandbox, running_server)
    assert calm.code == ExitCode.OK, calm.err
    assert len(pictures(calm.root)) == 4
    writes = disk.synced
    for at in (1, 4, 7, *range(10, writes, writes // 5), writes - 1):
        root = tmp_path / f"at-{at}"
        disk.synced, disk.full_from = 0, at
        ran = render(root, sandbox, running_server)
        assert ran.code in (ExitCode.ENTRIES_FAILED, ExitCode.BAD_INPUT), at
        assert "the disk is full" in ran.err, at
        assert "Traceback" not in ran.err
        assert json.loads(ran.out)["error"], at
        assert half_written(root) == [], at

        disk.full_from = None
        again = taken_up(root, sandbox, running_server)
        assert again.code == ExitCode.OK, (at, again.err)
        assert pictures(root) == pictures(calm.root), at
        assert half_written(root) == [], at
        assert not list(root.glob("*/running.lock")), at
        line = again.history[-1]
        assert (line.status, line.error) == ("COMPLETED", None), at


@pytest.mark.parametrize(
    ("code", "reason"), [(errno.EROFS, "read-only"), (errno.EDQUOT, "quota"), (errno.EIO, "")]
)
def test_a_disk_that_turns_against_a_run(
    running_server: RunningServer,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    reason: str,
) -> None:
    disk = Disk(monkeypatch)
    disk.code, disk.full_from = code, 12
    root = tmp_path / "out"
    ran = render(root, sandbox, running_server)
    assert ran.code == ExitCode.ENTRIES_FAILED
    assert reason in ran.err
    assert "cannot be written" in ran.err
    disk.full_from = None
    again = taken_up(root, sandbox, running_server)
    assert again.code == ExitCode.OK, again.err
    assert len(pictures(root)) == 4


def test_an_output_folder_that_vanishes(
    running_server: RunningServer, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a drive that is unplugged, and plugged in again later."""
    disk = Disk(monkeypatch)
    root, away = tmp_path / "out", tmp_path / "away"
    vanish = disk._sync

    def sync(file: int) -> None:
        vanish(file)
        if disk.synced == 14:
            root.rename(away)

    monkeypatch.setattr(os, "fsync", sync)
    ran = render(root, sandbox, running_server)
    assert ran.code == ExitCode.ENTRIES_FAILED
    assert "is gone" in ran.err
    assert "Traceback" not in ran.err
    shutil.rmtree(root, ignore_errors=True)
    away.rename(root)
    again = taken_up(root, sandbox, running_server)
    assert again.code == ExitCode.OK, again.err
    assert len(pictures(root)) == 4
    assert half_written(root) == []


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
from functools import partial
from flows.run import app, main
main(partial(app, sys.argv[2:]))
"""


def test_a_real_limit_of_the_system(running_server: RunningServer, sandbox: Sandbox, tmp_path: Path) -> None:
    """The kernel refuses to let any file grow beyond 8 kB: the pictures, which are larger, do not fit."""
    root = tmp_path / "out"
    pack = tmp_path / "pack.yaml"
    pack.write_text(PACK.replace("width: 64, height: 64", "width: 256, height: 256"))
    environment = {
        **os.environ,
        "PREFECT_API_URL": running_server.url,
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
    }
    command = [sys.executable, "-c", LIMITED, "8192", str(pack), "--server", sandbox.url, "--out", str(root)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == ExitCode.ENTRIES_FAILED, ran.stderr
    assert "File too large" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert half_written(root) == []
    assert pictures(root) == {}
    again = taken_up(root, sandbox, running_server)
    assert again.code == ExitCode.OK, again.err
    assert len(pictures(root)) == 4
