"""Variants in a stage's own prompts: drawn with the entry's, the same choice where it is the same name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.pack import app
from stableflows.config import ADetailerConfig, Txt2ImgConfig
from stableflows.errors import InputError
from stableflows.request import Prepared, RenderRequest, prepare

PACK = """
config:
  txt2img: {{steps: 4, hires: {{enabled: true, prompt: "{hires}"}}}}
  adetailer:
    enabled: true
    units:
      - {{ad_model: face_yolov8n.pt, ad_prompt: "{face}", ad_negative_prompt: "{avoid}"}}
      - {{ad_model: hand_yolov8n.pt}}
prompts: {{mode: {mode}}}
matrix: {{slots: {{hour: [dawn, dusk]}}}}
entries:
  - "{prompt}"
"""


def written(folder: Path, prompt: str = "a cat", **said: str) -> Path:
    file = folder / "pack.yaml"
    values = {"hires": "", "face": "", "avoid": "", "mode": "combinatorial", **said}
    file.write_text(PACK.format(prompt=prompt, **values))
    return file


def planned(file: Path, **asked: Any) -> Prepared:
    return prepare(RenderRequest(packs=(str(file),), **asked))


def faces(prepared: Prepared) -> list[tuple[str, str]]:
    """The prompt of each entry, and what its first detector is told."""
    found = []
    for entry in prepared.entries:
        config = entry.plan.stages[-1].config
        assert isinstance(config, ADetailerConfig)
        units = config.units
        assert [unit.ad_model for unit in units] == ["face_yolov8n.pt", "hand_yolov8n.pt"]
        found.append((entry.texts.prompt, units[0].ad_prompt or ""))
    return found


def test_variants_of_a_stage_multiply_its_entry(tmp_path: Path) -> None:
    prepared = planned(written(tmp_path, face="a {smiling|grim} face"))
    assert faces(prepared) == [("a cat", "a smiling face"), ("a cat", "a grim face")]
    assert [item.chosen for item in prepared.job.packs] == [{"variant1": "smiling"}, {"variant1": "grim"}]


def test_a_variable_of_the_prompt_is_the_same_in_a_stage(tmp_path: Path) -> None:
    prepared = planned(written(tmp_path, "a ${c=!{red|blue}}${c} cat", face="${c} eyes", avoid="not ${c}"))
    assert faces(prepared) == [("a red cat", "red eyes"), ("a blue cat", "blue eyes")]


def test_a_slot_is_the_same_in_every_stage(tmp_path: Path) -> None:
    prepared = planned(written(tmp_path, "[[hour]]", face="lit by [[hour]]", hires="sharp [[hour]]"))
    assert faces(prepared) == [("dawn", "lit by dawn"), ("dusk", "lit by dusk")]
    configs = [entry.plan.stages[0].config for entry in prepared.entries]
    hires = [config.hires.prompt for config in configs if isinstance(config, Txt2ImgConfig)]
    assert hires == ["sharp dawn", "sharp dusk"]


def test_a_draw_repeats_and_an_entry_more_changes_no_other(tmp_path: Path) -> None:
    choices = "{" + "|".join(map(str, range(1000))) + "}"
    file = written(tmp_path, face=choices, mode="random")
    first = faces(planned(file))
    file.write_text(file.read_text().replace("entries:\n", "entries:\n  - a dog\n"))
    assert faces(planned(file))[1:] == first


def test_a_stage_that_is_off_multiplies_nothing(tmp_path: Path) -> None:
    prepared = planned(written(tmp_path, face="{smiling|grim}"), stages=("txt2img",))
    assert len(prepared.entries) == 1


def test_off_leaves_them_as_they_are(tmp_path: Path) -> None:
    assert faces(planned(written(tmp_path, face="{a|b}", mode="'off'"))) == [("a cat", "{a|b}")]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"face": "__nothing__"}, "there is no wildcard __nothing__"),
        ({"face": "a {b|c"}, "column 3: opens a brace that is never closed"),
        ({"face": "[[nothing]]"}, "'[[nothing]]' is a slot that no matrix defines"),
        ({"face": "${c}"}, "'${c}' is a variable that nothing sets"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, said: dict[str, str], told: str) -> None:
    file = written(tmp_path, **said)
    with pytest.raises(InputError) as refused:
        planned(file)
    assert str(refused.value).startswith(f"{file}:7: config.adetailer.units.0.ad_prompt: ")
    assert told in str(refused.value)


@pytest.mark.parametrize(
    "asked",
    [
        {"settings": {"txt2img": {"hires": {"prompt": "{a|b}"}}}},
        {"sweep": ("txt2img.hires.prompt='{a|b}', c",)},
    ],
)
def test_the_command_line_cannot_say_a_variant_there(tmp_path: Path, asked: dict[str, Any]) -> None:
    """It would be sent as it stands."""
    with pytest.raises(InputError, match=r"txt2img.hires.prompt: '\{a\|b\}' is a variant"):
        planned(written(tmp_path), **asked)


def test_expand_counts_and_shows_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, face="{smiling|grim}", hires="{sharp|soft|plain}")
    assert app(["expand", str(file), "--count"], result_action="return_value") == 0
    assert capsys.readouterr().out == "1 entry, 6 prompts\n"
    assert app(["expand", str(file), "--json"], result_action="return_value") == 0
    shown = json.loads(capsys.readouterr().out)["prompts"]
    assert {each["stage_prompts"]["adetailer.units.0.ad_prompt"] for each in shown} == {"smiling", "grim"}
