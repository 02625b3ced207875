"""Drafts of jobs: saved from a command line, added to, cleared, and read as the job that they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flows import draft
from flows.cli import app
from flows.submit import decide_mode
from stableflows.errors import InputError
from stableflows.jobs import load
from stableflows.request import RenderRequest, prepare
from stableflows.stages import StageType

PACK = "entries: [a brig, a yawl]\n"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pack.yaml").write_text(PACK)
    (tmp_path / "other.txt").write_text("a cutter\n")
    return tmp_path


def run(*words: str) -> int:
    code = app(list(words), result_action="return_value", exit_on_error=False)
    assert isinstance(code, int)
    return code


def test_a_draft_is_the_job_that_was_asked_for() -> None:
    asked = ("--stages", "txt2img", "--set", "txt2img.steps=7", "--count", "2", "--seed", "9")
    assert run("run", "pack.yaml", *asked, "--save", "job.yaml") == 0
    request = RenderRequest(
        packs=("pack.yaml",),
        stages=(StageType.TXT2IMG,),
        settings={"txt2img": {"steps": 7}},
        count=2,
        seed=9,
    )
    drafted = prepare(RenderRequest(packs=("job.yaml",)))
    assert [(e.texts, e.plan, e.seed, e.count) for e in drafted.entries] == [
        (e.texts, e.plan, e.seed, e.count) for e in prepare(request).entries
    ]
    assert drafted.job.name == "job"


def test_the_command_line_wins_over_a_draft() -> None:
    assert run("run", "pack.yaml", "--set", "txt2img.steps=7", "--seed", "9", "--save", "job.yaml") == 0
    drafted = prepare(RenderRequest(packs=("job.yaml",), settings={"txt2img": {"steps": 8}}, seed=10))
    assert {entry.plan.stages[0].config.model_dump()["steps"] for entry in drafted.entries} == {8}
    assert drafted.job.first_seed == 10


def test_a_prompt_as_a_draft() -> None:
    assert run("run", "--prompt", "a brig", "--negative-prompt", "fog", "--save", "job.yaml") == 0
    [entry] = prepare(RenderRequest(packs=("job.yaml",))).entries
    assert (entry.texts.prompt, entry.texts.negative_prompt) == ("a brig", "fog")


def test_add_and_clear(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("run", "pack.yaml", "--seed", "9", "--save", "job.yaml") == 0
    assert run("job", "add", "job.yaml", "other.txt") == 0
    assert "2 packs" in capsys.readouterr().out
    prompts = [entry.texts.prompt for entry in prepare(RenderRequest(packs=("job.yaml",))).entries]
    assert prompts == ["a brig", "a yawl", "a cutter"]
    assert run("job", "clear", "job.yaml") == 0
    assert yaml.safe_load(Path("job.yaml").read_text()) == {"name": "job", "packs": [], "first_seed": 9}
    assert load(RenderRequest(packs=("job.yaml",))).calls == (), "an empty job is none that fails"


def test_a_draft_elsewhere_finds_its_packs(tmp_path: Path) -> None:
    assert run("run", "pack.yaml", "--save", "jobs/evening/job.yaml") == 0
    assert len(prepare(RenderRequest(packs=("jobs/evening/job.yaml",))).entries) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("job", "add", "job.yaml", "nothing.yaml"), "nothing.yaml"),
        (("job", "clear", "none.yaml"), "no such draft"),
        (("job", "show", "pack.yaml"), "no job file"),
        (("run", "pack.yaml", "--clear"), "--clear: goes with --queue"),
        (("run", "pack.yaml", "--input", "x.png", "--save", "job.yaml"), "x.png"),
        (("run", "pack.yaml", "--now"), "add --queue"),
        (("run", "pack.yaml", "--direct", "--queue"), "not both"),
    ],
)
def test_what_cannot_be(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == 2
    assert said in capsys.readouterr().err
    assert not Path("job.yaml").exists()


def test_a_draft_that_is_damaged_by_hand(tmp_path: Path) -> None:
    Path("job.yaml").write_text("packs: [")
    with pytest.raises(InputError, match=r"job\.yaml"):
        draft.clear(Path("job.yaml"))


@pytest.mark.parametrize(
    ("direct", "queue", "variable", "mode"),
    [
        (False, False, None, "direct"),
        (False, False, "queue", "queue"),
        (False, False, "Queue ", "queue"),
        (True, False, "queue", "direct"),
        (False, True, "direct", "queue"),
        (False, False, "", "direct"),
    ],
)
def test_the_run_mode(
    direct: bool, queue: bool, variable: str | None, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STABLEFLOWS_RUN_MODE", raising=False)
    if variable is not None:
        monkeypatch.setenv("STABLEFLOWS_RUN_MODE", variable)
    assert decide_mode(direct=direct, queue=queue) == mode


def test_a_run_mode_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STABLEFLOWS_RUN_MODE", "quue")
    with pytest.raises(InputError, match="STABLEFLOWS_RUN_MODE: .*'queue'"):
        decide_mode(direct=False, queue=False)


@pytest.mark.parametrize("mode", ["direct", "queue"])
def test_how_it_runs_is_recorded(mode: str) -> None:
    prepared = load(RenderRequest(packs=("pack.yaml",)), run_mode=mode, submitted="api")  # type: ignore[arg-type]
    assert (prepared.job.run_config.run_mode, prepared.job.run_config.source) == (mode, "api")
