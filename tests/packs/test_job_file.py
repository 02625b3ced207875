"""Job files and pack lists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stableflows.config.layers import merge
from stableflows.errors import InvalidInputs, Where
from stableflows.job import RunConfig
from stableflows.packs import read_sources
from stableflows.packs.model import Source
from tests.packs.conftest import Refusals, Write

JOB = """{
  "name": "nightly",
  "seed": 5,
  "packs": [
    "sub/*.txt",
    {"id": "p", "name": "P", "entry": {"prompt": "a wave", "globals": {"prompt": "g"}, "inputs": "in.png"},
     "config_snapshot": {"prompt": "not this", "txt2img_config": {"steps": 9}}},
    {"pack_id": "q", "config_snapshot": {
      "prompt": "a dune", "negative_prompt": "text",
      "model_name": "base"}}
  ],
  "pipeline": {"txt2img": {"enabled": true}},
  "run_config": {"learning": true,
                 "randomizer": {"seed": 1, "values": {"prompt": "[[x]]"}}}
}
"""


@pytest.fixture
def job(write: Write) -> Path:
    write("sub/b.txt", "b\n")
    write("sub/a.txt", "a\n\na2\n")
    write("in.png", b"\x89PNG")
    return write("job.json", JOB)


def test_everything_a_job_file_can_say(job: Path) -> None:
    source = read_sources([job])
    assert (source.name, source.seed) == ("nightly", 5)
    assert [pack.pack_id for pack in source.packs] == ["a", "b", "p", "q"]
    wave, dune = source.packs[2:]
    assert (wave.name, wave.globals.prompt, dune.name) == ("P", "g", "q")
    assert wave.entries[0].prompt == "a wave"
    assert wave.entries[0].inputs == (job.parent / "in.png",)
    assert wave.entries[0].where == Where(job, 6, "packs.1")
    assert (dune.entries[0].prompt, dune.entries[0].negative_prompt) == ("a dune", "text")
    config = merge([*source.pipeline, *wave.entries[0].layers])
    assert (config.txt2img.enabled, config.txt2img.steps) == (True, 9)
    assert merge([*source.pipeline, *dune.entries[0].layers]).checkpoint == "base"
    assert source.run_config is not None
    run_config = RunConfig.read(source.run_config)
    assert run_config.randomizer == {"seed": 1, "values": {"prompt": "[[x]]"}}


def test_settings_of_a_job_are_traced_to_their_lines(job: Path) -> None:
    text = JOB.replace("enabled", "enabld").replace("model_name", "modelname").replace("learning", "lerning")
    job.write_text(text, encoding="utf-8")
    source = read_sources([job])
    assert source.run_config is not None
    with pytest.raises(InvalidInputs) as caught:
        RunConfig.read(source.run_config)
    assert [error.where for error in caught.value.errors] == [Where(job, 13, "run_config.lerning")]
    with pytest.raises(InvalidInputs) as caught:
        merge([*source.pipeline, *source.packs[3].entries[0].layers])
    assert {error.where for error in caught.value.errors} == {
        Where(job, 12, "pipeline.txt2img.enabld"),
        Where(job, 10, "packs.2.config_snapshot.modelname"),
    }


def test_a_job_file_in_yaml(write: Write) -> None:
    write("a.txt", "a\n")
    source = read_sources([write("job.yaml", "packs: [a.txt, {entry: {prompt: a wave}}]\nseed: 3\n")])
    assert source.seed == 3
    assert [pack.pack_id for pack in source.packs] == ["a", "job"]


def test_a_pack_list_is_packs_and_may_stand_beside_others(write: Write) -> None:
    write("a.txt", "a\n")
    write("b.yaml", "entries: [b]\n")
    packs = write("night.json", '{"packs": ["a.txt", "b.yaml"]}')
    alone = read_sources([packs])
    assert [pack.pack_id for pack in alone.packs] == ["a", "b"]
    assert (alone.name, alone.pipeline, alone.run_config) == ("night", (), None)
    both = read_sources([packs, write("c.txt", "c\n")])
    assert [pack.pack_id for pack in both.packs] == ["a", "b", "c"]


def test_an_empty_list_of_packs_is_no_error(write: Write) -> None:
    assert read_sources([write("night.json", '{"packs": []}')]) == Source(packs=(), name="night")


@pytest.mark.parametrize(
    "extra", ["pipeline: {count: 2}", "run_config: {learning: true}", "seed: 1", "name: x"]
)
def test_a_job_file_must_be_named_alone(write: Write, extra: str) -> None:
    write("a.txt", "a\n")
    job = write("job.yaml", f"packs: [a.txt]\n{extra}\n")
    with pytest.raises(InvalidInputs) as caught:
        read_sources([job, job.parent / "a.txt"])
    (error,) = caught.value.errors
    assert error.where.file == job
    assert "must be named alone" in str(error)


def test_a_file_that_is_named_twice_is_told(write: Write) -> None:
    file = write("a.txt", "a\n")
    packs = write("night.json", '{"packs": ["a.txt", "*.txt"]}')
    source = read_sources([packs])
    assert len(source.packs) == 2
    assert source.warnings == (f"{file}: is named 2 times, and rendered as often.",)


def test_the_warnings_of_its_packs_are_those_of_the_job(write: Write) -> None:
    write("a.txt", "a\nneg: b\nc\n")
    (warning,) = read_sources([write("night.json", '{"packs": ["a.txt"]}')]).warnings
    assert "a.txt:3: counts as prompt" in warning


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ({"packs": "a.txt"}, ["job.json:1: packs: must be a list of packs, not a text."]),
        (
            {"packs": [], "pipline": {}},
            ["job.json:1: pipline: there is no setting 'pipline' here. Did you mean 'pipeline'?"],
        ),
        (
            {"packs": [3, "", None]},
            [
                "job.json:1: packs.0: must be a pack's path, or a mapping with `entry`, not the number 3.",
                "job.json:1: packs.1: must be a pack's path, or a mapping with `entry`, not an empty text.",
                "job.json:1: packs.2: must be a pack's path, or a mapping with `entry`, not nothing.",
            ],
        ),
        (
            {"packs": [{"entry": {"negative_prompt": "a"}}, {"entri": {}}]},
            [
                "job.json:1: packs.0: has neither a prompt nor inputs.",
                "job.json:1: packs.1.entri: there is no setting 'entri' here. Did you mean 'entry'?",
            ],
        ),
        (
            {"packs": [{"entry": {"prompt": "a <embedding:b:1>", "nam": "c"}}]},
            [
                (
                    "job.json:1: packs.0.entry.prompt: '<embedding:b:1>': "
                    "the weight of an embedding stands outside: (<embedding:b>:1)."
                ),
                "job.json:1: packs.0.entry.nam: there is no setting 'nam' here. Did you mean 'name'?",
            ],
        ),
        (
            {"packs": [{"entry": "a wave"}, {"entry": {"prompt": "a", "globals": "b"}}]},
            [
                "job.json:1: packs.0.entry: must be a mapping, not a text.",
                "job.json:1: packs.1.entry.globals: must be a mapping, not a text.",
            ],
        ),
        (
            {"packs": [{"id": "a", "pack_id": "b", "entry": {"prompt": "c"}}]},
            ["job.json:1: packs.0: has both id and pack_id, and they differ; keep pack_id."],
        ),
        (
            {"packs": [], "pipeline": [1], "seed": -1},
            [
                "job.json:1: pipeline: must be a mapping, not a list.",
                "job.json:1: seed: should be greater than or equal to 0 (it is -1).",
            ],
        ),
        (
            {"packs": ["job.json"]},
            ["job.json:1: packs.0: job.json is itself a job file or a list of packs; name its packs here."],
        ),
        (
            {"packs": ["jbo.json", "*.txt", "."]},
            [
                "job.json:1: packs.0: there is no file jbo.json. Did you mean job.json?",
                "job.json:1: packs.1: no file matches *.txt. The folder FOLDER has: job.json",
                "job.json:1: packs.2: FOLDER is a folder; name its files, for instance *.yaml.",
            ],
        ),
    ],
)
def test_each_fault_is_told_with_its_place(
    refusals: Refusals, tmp_path: Path, job: object, said: list[str]
) -> None:
    assert refusals(json.dumps(job), "job.json") == [each.replace("FOLDER", str(tmp_path)) for each in said]
