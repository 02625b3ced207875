"""What a run resulted in, from plan.json and calls.jsonl alone."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from stableflows.results import BatchResult, EntryStatus, RunStatus
from stableflows.run.folder import RunFolder
from stableflows.run.manifest import Manifest, compose, write
from stableflows.run.plan_record import InputRecord
from tests.run.samples import Sample

CHAIN = ("txt2img", "upscale", "adetailer")


def test_a_whole_run(sample: Sample) -> None:
    calls = sample.add("a cat", CHAIN, count=3, batch=2, upscale={"factor": 1.5, "upscaler": "Lanczos"})
    sample.write_plan()
    for call in reversed(calls):  # the order in which calls finish is not that of the images
        sample.finish(call, duration=1.5, unverified=("vae",), warnings=("look",))
    result = compose(sample.folder).result
    entry = result.results[0]
    assert (result.total_entries, result.mode, result.image_count, result.failed) == (
        1,
        "prompt_pack_batch",
        3,
        0,
    )
    assert (entry.status, entry.error, entry.pipeline_mode) == (
        EntryStatus.OK,
        None,
        "txt2img_then_upscale_then_adetailer",
    )
    assert [image.seed for image in entry.images] == [1000, 1001, 1002]
    assert all(image.path.startswith(f"{sample.folder.name}/0001-a-cat-") for image in entry.images)
    assert entry.duration == pytest.approx(1.5 * 8)
    stages = entry.result["stages"]
    assert list(stages) == list(CHAIN)
    assert [len(output["images"]) for output in stages["txt2img"]] == [2, 1]
    assert [output["images"][0]["seed"] for output in stages["upscale"]] == [1000, 1001, 1002]
    assert entry.result["upscale"] == {"factor": 1.5, "model": "Lanczos", "tile_size": None}
    assert entry.result["seeds"] == {"value": 1000, "how": "derived"}
    assert (entry.result["unverified"], entry.result["warnings"]) == (["vae"], ["look"])


def test_only_an_upscale_is_told_of_as_one(sample: Sample) -> None:
    (call,) = sample.add("a cat")
    sample.write_plan()
    sample.finish(call)
    assert "upscale" not in compose(sample.folder).result.results[0].result


def test_failures_and_stops(sample: Sample) -> None:
    fine, late, early, stopped, partly, _never = (
        sample.add(prompt, CHAIN) for prompt in ("fine", "late", "early", "stopped", "partly", "never")
    )
    sample.write_plan()
    for call in fine:
        sample.finish(call)
    sample.finish(late[0])
    sample.finish(late[1])
    sample.fail(late[2], "face model is gone")
    sample.fail(early[0], "out of memory")
    sample.finish(stopped[0])
    sample.fail(stopped[1], "interrupted", status="cancelled")
    sample.finish(partly[0])
    result = compose(sample.folder).result
    by_prompt = {entry.prompt: entry for entry in result.results}
    assert {prompt: (entry.status.value, entry.error) for prompt, entry in by_prompt.items()} == {
        "fine": ("ok", None),
        "late": ("error", "adetailer: face model is gone"),
        "early": ("error", "txt2img: out of memory"),
        "stopped": ("cancelled", "The run ended before upscale was done."),
        "partly": ("cancelled", "The run ended before upscale was done."),
        "never": ("not_reached", None),
    }
    assert (result.failed, result.image_count) == (2, 1)
    # What was finished before the failure is kept, and told of.
    kept = by_prompt["late"]
    assert kept.images == ()
    assert [len(kept.result["stages"][stage]) for stage in CHAIN] == [1, 1, 0]
    path = kept.result["stages"]["upscale"][0]["images"][0]["path"]
    assert (sample.folder.root / path).exists()


def test_one_image_of_several_fails(sample: Sample) -> None:
    calls = sample.add("cats", ("txt2img", "upscale"), count=4, batch=4)
    sample.write_plan()
    sample.finish(calls[0])
    sample.finish(calls[1])
    sample.fail(calls[2], "boom")
    sample.fail(calls[3], "bang")
    sample.finish(calls[4])
    entry = compose(sample.folder).result.results[0]
    assert entry.status is EntryStatus.ERROR
    assert entry.error == "upscale of image 2: boom (1 more of its calls failed)"
    assert [image.seed for image in entry.images] == [1000, 1003]


def test_a_resume_counts_and_a_cached_call_takes_no_time(sample: Sample) -> None:
    first, second = sample.add("a cat", ("txt2img", "upscale"))
    sample.write_plan()
    sample.finish(first, duration=10)
    sample.fail(second, "connection lost")
    assert compose(sample.folder).result.results[0].status is EntryStatus.ERROR
    sample.finish(first, duration=10, cached=True)
    sample.finish(second, duration=3)
    entry = compose(sample.folder).result.results[0]
    assert (entry.status, entry.error, entry.duration) == (EntryStatus.OK, None, 3)
    assert [len(outputs) for outputs in entry.result["stages"].values()] == [1, 1]


def test_several_inputs(sample: Sample) -> None:
    inputs = [InputRecord(sha256="a" * 64), InputRecord(sha256="b" * 64)]
    calls = sample.add("", ("upscale",), inputs=inputs, count=2, seed=None)
    sample.write_plan()
    assert len(calls) == 4
    for call in calls:
        sample.finish(call)
    entry = compose(sample.folder).result.results[0]
    assert (entry.image_count, entry.result["seeds"]) == (4, None)
    assert len({image.path for image in entry.images}) == 4


def test_nothing_to_do(sample: Sample) -> None:
    sample.write_plan()
    assert compose(sample.folder).result == BatchResult(
        job_id=sample.plan().job_id,
        mode="prompt_pack_batch",
        total_entries=0,
        output_dir=str(sample.folder.path),
    )


def test_a_free_text_job_is_single_and_carries_its_run_config(sample: Sample) -> None:
    sample.run_config = {
        "prompt_source": "text",
        "randomizer": {"seed": 3, "values": ["red"]},
        "learning": True,
    }
    sample.add("a cat")
    sample.write_plan()
    result = compose(sample.folder).result
    assert result.mode == "single"
    assert result.results[0].randomizer == {"seed": 3, "values": ["red"]}
    assert result.results[0].run_config["learning"] is True


def test_plan_and_calls_are_enough(sample: Sample, tmp_path: Path) -> None:
    calls = sample.add("a cat", CHAIN)
    sample.write_plan()
    sample.finish(calls[0])
    bare = RunFolder(tmp_path / "elsewhere", sample.folder.name)
    bare.path.mkdir(parents=True)
    for file in (sample.folder.plan_file, sample.folder.calls_file):
        shutil.copy(file, bare.path)
    written = write(compose(bare), status=RunStatus.CRASHED, error="its process was killed")
    expected = compose(sample.folder).result.model_copy(update={"output_dir": str(bare.path)})
    assert written.result == expected
    assert bare.gallery_file.exists()


def test_the_manifest_is_what_was_composed(sample: Sample) -> None:
    calls = sample.add("a cat", CHAIN, count=2)
    sample.add("never")
    sample.write_plan()
    for call in calls[:-1]:
        sample.finish(call, cached=True)
    manifest = write(compose(sample.folder), status=RunStatus.CANCELLED, duration=12.5)
    data = json.loads(sample.folder.manifest_file.read_bytes())
    assert Manifest.model_validate(data) == manifest
    assert (data["version"], data["status"], data["duration"]) == (1, "CANCELLED", 12.5)
    assert data["totals"] == {
        "entries": 2,
        "ok": 0,
        "error": 0,
        "cancelled": 1,
        "not_reached": 1,
        "images": 1,
        "calls": 7,
        "calls_done": 5,
        "calls_cached": 5,
    }
    # Every path in it leads to a whole picture from the output root.
    for entry in manifest.result.results:
        for outputs in entry.result["stages"].values():
            for image in (image for output in outputs for image in output["images"]):
                with Image.open(sample.folder.root / image["path"]) as picture:
                    assert picture.size == (image["width"], image["height"])


def test_writing_again_replaces(sample: Sample) -> None:
    calls = sample.add("a cat", CHAIN)
    sample.write_plan()
    write(compose(sample.folder), status=RunStatus.CANCELLED)
    for call in calls:
        sample.finish(call)
    write(compose(sample.folder), status=RunStatus.COMPLETED)
    assert json.loads(sample.folder.manifest_file.read_bytes())["totals"]["images"] == 1


def rows(sample: Sample) -> list[dict[str, str]]:
    text = sample.folder.csv_file.read_bytes().decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_table_has_a_row_an_image(sample: Sample) -> None:
    first = sample.add('a cat,\n"quoted", 灯台', count=2, name="Cat")
    second = sample.add("a dog", ("txt2img", "upscale"))
    sample.write_plan()
    for call in first:
        sample.finish(call)
    sample.finish(second[0])
    write(compose(sample.folder), status=RunStatus.COMPLETED)
    table = rows(sample)
    assert [(row["entry"], row["index"], row["seed"], row["status"], row["image"]) for row in table] == [
        ("1", "1", "1000", "ok", "1"),
        ("1", "2", "1001", "ok", "2"),
    ]
    assert {row["name"] for row in table} == {"Cat"}
    assert {row["prompt"] for row in table} == {'a cat,\n"quoted", 灯台'}
    assert all((sample.folder.path / row["path"]).exists() for row in table)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "＝"])
def test_no_cell_is_a_formula(sample: Sample, start: str) -> None:
    prompt = f'{start}HYPERLINK("http://evil.example","x")'
    calls = sample.add(prompt, name=prompt, pack=prompt, negative=prompt)
    sample.write_plan()
    sample.finish(calls[0])
    write(compose(sample.folder), status=RunStatus.COMPLETED)
    row = rows(sample)[0]
    for column in ("prompt", "negative_prompt", "name", "pack_id", "pack_name", "infotext"):
        assert row[column].startswith(f"'{start}"), column
    assert row["seed"] == "1000"
