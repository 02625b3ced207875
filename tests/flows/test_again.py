"""`--again`: the last job as it was, where it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from stableflows.errors import ExitCode
from stableflows.sandbox import SandboxSettings, run_sandbox
from tests.flows.conftest import RunningServer
from tests.flows.ran import run_command


def test_again_is_the_same_job_on_the_server_that_was_named(
    tmp_path: Path, running_server: RunningServer
) -> None:
    small = ("--set", "txt2img.width=64", "--set", "txt2img.height=64", "--set", "txt2img.steps=2")
    with run_sandbox(SandboxSettings()) as sandbox:
        first = run_command(
            "--prompt", "a cat", "--seed", "-1", "--server", sandbox.url, *small,
            root=tmp_path, prefect=running_server,
        )  # fmt: skip
        drawn, folder = list(first.pictures.values()), first.folder.name
        again = run_command("--again", root=tmp_path, prefect=running_server)
        anew = run_command("--again", "--fresh", root=tmp_path, prefect=running_server)
        bodies = [request.body for request in sandbox.generating()]
    assert (first.code, again.code, anew.code) == (ExitCode.OK, ExitCode.OK, ExitCode.OK)
    assert len(bodies) == 2  # once, and once because a fresh one was asked for
    assert list(anew.pictures.values()) == drawn
    assert [body["seed"] for body in bodies] == [bodies[0]["seed"]] * 2
    assert list(again.pictures.values()) == drawn
    assert again.folder.name != folder


@pytest.mark.parametrize(
    "others",
    [
        ("--seed", "5"),
        ("--count", "2"),
        ("--set", "txt2img.steps=3"),
        ("--stages", "txt2img"),
        ("--prompt", "x"),
        ("pack.yaml",),
    ],
)
def test_again_goes_with_nothing_that_would_change_the_job(others: tuple[str, ...], tmp_path: Path) -> None:
    ran = run_command("--again", *others, root=tmp_path)
    assert ran.code == ExitCode.BAD_INPUT
    assert "--again takes the job as it was" in ran.err


def test_again_without_an_earlier_run_says_so(tmp_path: Path) -> None:
    ran = run_command("--again", root=tmp_path)
    assert ran.code == ExitCode.BAD_INPUT
    assert "there is no earlier run" in ran.err
