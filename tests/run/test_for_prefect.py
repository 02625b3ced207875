"""What a run's folder says for Prefect's pages and the queue: contact sheet, table, progress, whose it is."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import pytest
from PIL import Image

from flows.taking_up import taken_up
from stableflows.bookkeeping import RunBook
from stableflows.calls import StageCall
from stableflows.errors import StableflowsError
from stableflows.request import RenderRequest
from stableflows.run import contact_sheet, manifest
from stableflows.run.folder import RunFolder
from stableflows.run.lookup import folder_of_flow_run
from stableflows.run.progress import progress_of
from stableflows.run.runlog import Event, RunLog
from tests.run.samples import NOW, Sample, png

PICTURE = re.compile(r"!\[entry (\d+)\]\(data:image/webp;base64,([^)]+)\)<br>([^|]*)")


def sheet_of(sample: Sample) -> str:
    return contact_sheet.contact_sheet(manifest.compose(sample.folder).result, sample.folder.gallery_file)


def test_a_contact_sheet_shows_every_picture_small_with_what_it_is(sample: Sample) -> None:
    [brig] = sample.add("a brig", count=2, batch=2, name="brig")
    [yawl] = sample.add("a yawl", seed=7)
    sample.write_plan()
    sample.finish(brig, lambda *_: png(900, 600))
    sample.fail(yawl, "out of memory")
    text = sheet_of(sample)
    pictures = PICTURE.findall(text)
    assert [(number, words.strip()) for number, _, words in pictures] == [
        ("1", "**1** brig<br>ok · seed 1000"),
        ("1", "**1** brig<br>ok · seed 1001"),
    ]
    for _, data, _ in pictures:
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert (image.format, image.size) == ("WEBP", (192, 128))
    assert str(sample.folder.gallery_file) in text
    assert "| 2 | a yawl | error | 0 | txt2img: out of memory |" in text


def test_nothing_of_a_prompt_is_markup(sample: Sample) -> None:
    [call] = sample.add("a <b>brig</b> | *two* ![x](http://127.0.0.1/y.png)")
    sample.write_plan()
    sample.finish(call)
    text = sheet_of(sample)
    assert "<b>" not in text
    assert "![x]" not in text
    assert r"\| \*two\*" in text


def test_pictures_that_are_gone_and_more_than_a_page_can_hold(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheet, "MOST_PICTURES", 3)
    calls = sample.add("a fleet", count=5)
    sample.write_plan()
    outputs = [sample.finish(call) for call in calls]
    (sample.folder.root / outputs[0].images[0].path).unlink()
    text = sheet_of(sample)
    assert len(PICTURE.findall(text)) == 2
    assert "The first 3 of 5 pictures" in text


def test_the_table_has_a_row_an_entry(sample: Sample) -> None:
    [brig] = sample.add("a brig", name="brig")
    sample.add("a yawl")
    sample.write_plan()
    sample.finish(brig)
    rows = contact_sheet.results_table(manifest.compose(sample.folder).result)
    assert [(row["entry"], row["name"], row["status"], row["images"]) for row in rows] == [
        (1, "brig", "ok", 1),
        (2, "", "not_reached", 0),
    ]


def test_of_very_many_entries_those_that_failed_are_listed_first(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheet, "MOST_ENTRIES", 2)
    for prompt in ("a brig", "a yawl", "a cutter"):
        [call] = sample.add(prompt)
    sample.write_plan()
    for done in sample.calls[:2]:
        sample.finish(done.call_id)
    sample.fail(call, "boom")
    rows = contact_sheet.results_table(manifest.compose(sample.folder).result)
    assert [(row["entry"], row["error"]) for row in rows] == [(1, ""), (3, "txt2img: boom")]
    text = sheet_of(sample)
    assert "| 3 | a cutter | error | 0 | txt2img: boom |" in text
    assert "| 2 | a yawl" not in text
    assert "2 of 3 entries; results.csv has all." in text


def call_of(call_id: str, sample: Sample) -> StageCall:
    planned = next(call for call in sample.calls if call.call_id == call_id)
    return StageCall.model_construct(**planned.model_dump(), stage=0, label=call_id)


def test_progress(sample: Sample) -> None:
    first = sample.add("a brig", ("txt2img", "upscale"))
    second = sample.add("a yawl", ("txt2img", "upscale"), name="yawl")
    sample.write_plan()
    book = RunBook(sample.folder)
    before = progress_of(sample.folder)
    assert (before.images_done, before.images_total, before.requests_total) == (0, 2, 4)
    assert (before.entry, before.stage, before.remaining) == (None, None, None)
    sample.finish(first[0], duration=2.0)
    sample.finish(first[1], duration=6.0)
    book.call_started(call_of(second[0], sample))
    now = progress_of(sample.folder)
    assert (now.entry, now.entry_name, now.stage) == (2, "yawl", "txt2img")
    assert (now.images_done, now.requests_done, now.remaining) == (1, 2, 8.0)
    sample.fail(second[0], "out of memory")
    book.call_failed(call_of(second[0], sample), StableflowsError("out of memory"), attempts=1)
    after = progress_of(sample.folder)
    assert (after.entry, after.failed) == (None, 1)


def test_what_a_killed_process_had_begun_is_not_what_the_next_one_does(sample: Sample) -> None:
    [call] = sample.add("a brig")
    sample.write_plan()
    RunBook(sample.folder).call_started(call_of(call, sample))
    assert progress_of(sample.folder).entry == 1
    RunLog(sample.folder.log_file).emit(Event.RUN_START, flow_run_id="later")
    assert progress_of(sample.folder).entry is None


def test_a_flow_run_that_is_started_again_takes_up_its_run(sample: Sample) -> None:
    sample.add("a brig")
    sample.write_plan()
    RunLog(sample.folder.log_file).emit(Event.RUN_START, flow_run_id="one")
    asked = RenderRequest(job="abc", out=str(sample.folder.root), until="07:00", title="ships")
    again = taken_up(asked, "one")
    assert (again.retry, again.job) == (sample.folder.plan().run_id, None)
    assert (again.out, again.until, again.title) == (asked.out, "07:00", "ships")
    assert taken_up(asked, "two") == asked
    resumed = RenderRequest(resume="def", out=asked.out)
    assert taken_up(resumed, "one") == resumed


def test_a_folder_is_found_by_any_of_its_flow_runs(sample: Sample, tmp_path: Path) -> None:
    sample.add("a brig")
    sample.write_plan()
    other = Sample(RunFolder.create(sample.folder.root, "other", "b" * 12, NOW))
    other.add("a yawl")
    other.write_plan()
    for flow_run_id in ("one", "two"):
        RunLog(sample.folder.log_file).emit(Event.RUN_START, flow_run_id=flow_run_id)
    for flow_run_id in ("one", "two"):
        found = folder_of_flow_run(sample.folder.root, {flow_run_id})
        assert found
        assert found.path == sample.folder.path
    assert folder_of_flow_run(sample.folder.root, {"three"}) is None
    assert folder_of_flow_run(tmp_path / "nowhere", {"one"}) is None
