"""`run --sweep` and `run --wildcards`, as far as the plan: nothing is rendered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.run import app


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STABLEFLOWS_SERVER", raising=False)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "colour.txt").write_text("red\nblue\n", "utf-8")
    (tmp_path / "styles.csv").write_text("name,prompt,negative_prompt\nink,in ink,\n", "utf-8")


def run(*words: str) -> int:
    return int(app(words, result_action="return_value"))


def planned(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert run(*words, "--plan", "--json") == 0
    entries: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["entries"]
    return entries


def values(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry["randomizer"]["values"] for entry in entries]


def test_axes_make_a_product_with_one_seed(capsys: pytest.CaptureFixture[str]) -> None:
    sweeps = ("--sweep", "txt2img.steps=20,30", "--sweep", "txt2img.cfg_scale=4,9")
    entries = planned(capsys, "--prompt", "a hat", *sweeps)
    assert values(entries) == [
        {"txt2img.steps": steps, "txt2img.cfg_scale": scale} for steps in (20, 30) for scale in (4, 9)
    ]
    assert len({entry["seed"]["value"] for entry in entries}) == 1


def test_fields_of_one_axis_move_together(capsys: pytest.CaptureFixture[str]) -> None:
    entries = planned(capsys, "--prompt", "a hat", "--sweep", "txt2img.steps=20,30; txt2img.cfg_scale=4,9")
    assert values(entries) == [
        {"txt2img.steps": 20, "txt2img.cfg_scale": 4},
        {"txt2img.steps": 30, "txt2img.cfg_scale": 9},
    ]


def test_a_folder_of_wildcards(capsys: pytest.CaptureFixture[str]) -> None:
    [entry] = planned(capsys, "--prompt", "a __colour__ hat", "--wildcards", "lists")
    [drawn] = values([entry])
    assert drawn["colour"] in ("red", "blue")
    assert entry["prompt"] == f"a {drawn['colour']} hat"


def test_the_plan_shows_what_was_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--prompt", "a __colour__ hat", "--wildcards", "lists", "--sweep", "txt2img.steps=20,30")
    assert run(*words, "--plan") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "hat · colour=" in lines[0]
    assert lines[0].endswith(" · txt2img.steps=20")
    assert lines[2].endswith(" · txt2img.steps=30")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--sweep", "txt2img.stepz=20,30"), ("stepz", "Did you mean 'steps'?")),
        (("--sweep", "steps"), ("--sweep", "'steps' is no axis", "FIELD=VALUE,VALUE")),
        (("--sweep", "txt2img.steps=20,999"), ("sweep txt2img.steps", "150", "999")),
        (("--sweep", "txt2img.steps=2,3;txt2img.cfg_scale=1"), ("other lengths", "txt2img.cfg_scale 1")),
        (("--sweep", "txt2img.steps=2", "--sweep", "txt2img.steps=4"), ("swept twice",)),
        (("--sweep", "txt2img.steps=2,3", "--set", "txt2img.steps=4"), ("is swept, but", "--set")),
        (("--sweep", "styles=ink,nope"), ("no style 'nope'", "Allowed: ink")),
        (("--wildcards", "nowhere"), ("no folder of wildcards", "nowhere")),
        (("--resume", "--wildcards", "lists"), ("--resume takes the job as it was",)),
        (("--again", "--sweep", "txt2img.steps=2,3"), ("--again takes the job as it was",)),
    ],
)
def test_what_is_wrong_is_told(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: tuple[str, ...]
) -> None:
    prompt = () if words[0] in ("--resume", "--again") else ("--prompt", "a hat")
    assert run(*prompt, *words, "--plan") == 2
    message = " ".join(capsys.readouterr().err.split())
    assert all(part in message for part in told), message


def test_a_wildcard_that_is_nowhere_is_told_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--prompt", "a __colr__ hat", "--wildcards", "lists", "--plan") == 2
    assert "Did you mean 'colour'?" in capsys.readouterr().err
