"""A run has its folder alone, and never overwrites."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from stableflows.errors import InputError, StableflowsError
from stableflows.jobs import find_run
from stableflows.results import CallRecord
from stableflows.run.folder import RunFolder, RunInProgressError
from stableflows.stages import StageType
from stableflows.store import Store
from tests.run.samples import NOW, RUN_ID, Sample, png


def save(folder: RunFolder, data: bytes, **more: object) -> Path:
    fields = {
        "final": True,
        "entry": 0,
        "stage": StageType.TXT2IMG,
        "index": 0,
        "n": 1,
        "seed": 7,
        "prompt": "A cat",
    }
    stored = Store(folder.root).put_image(data, ".png")
    return folder.place_image(stored, **(fields | more))  # type: ignore[arg-type]


def test_the_folder_tells_date_job_and_run(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "Nightly: portraits", RUN_ID, NOW)
    assert folder.path == tmp_path / "2026-11-21-nightly-portraits-3f2a9c1b"
    assert folder.stages.is_dir()


CREATOR = """
import sys
from datetime import datetime
from pathlib import Path
from stableflows.run.folder import RunFolder, RunInProgressError
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    print(RunFolder.create(Path(sys.argv[1]), "job", "same-id", datetime(2026, 1, 1)).name, flush=True)
"""


def test_two_processes_never_share_a_folder(tmp_path: Path) -> None:
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", CREATOR, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for maker in makers:
        assert maker.stdout
        assert maker.stdout.readline() == "ready\n"
    for maker in makers:
        assert maker.stdin
        maker.stdin.write("go\n")
        maker.stdin.flush()
    names = [name for maker in makers for name in maker.communicate()[0].split()]
    assert len(names) == 40
    assert len(set(names)) == 40
    assert {path.name for path in tmp_path.iterdir()} == set(names)


def test_images_go_where_they_belong(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "job", RUN_ID, NOW)
    final = save(folder, b"final")
    between = save(folder, b"between", final=False)
    assert (final.name, final.read_bytes()) == ("0001-a-cat-7.png", b"final")
    assert (between.parent, between.name) == (folder.stages, "0001-1-txt2img-7.png")
    assert folder.relative(between) == f"{folder.name}/stages/0001-1-txt2img-7.png"


def test_an_image_is_never_overwritten(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "job", RUN_ID, NOW)
    first, again, other, third = (save(folder, data) for data in (b"one", b"one", b"two", b"three"))
    assert first == again
    assert [path.name for path in (other, third)] == ["0001-a-cat-7-r2.png", "0001-a-cat-7-r3.png"]
    assert [path.read_bytes() for path in (first, other, third)] == [b"one", b"two", b"three"]


def test_a_plan_is_written_once_and_read_back(sample: Sample) -> None:
    sample.add("a cat", ("txt2img", "upscale"), count=3, batch=2)
    sample.write_plan()
    assert sample.folder.plan() == sample.plan()
    before = sample.folder.plan_file.read_bytes()
    with pytest.raises(FileExistsError):
        sample.write_plan()
    assert sample.folder.plan_file.read_bytes() == before


def test_a_plan_as_a_mapping_is_checked(sample: Sample) -> None:
    sample.add("a cat")
    plan = sample.plan().model_dump(mode="json")
    with pytest.raises(ValidationError, match="not planned"):
        sample.folder.write_plan({**plan, "calls": [{**plan["calls"][0], "after": "none"}]})
    with pytest.raises(ValidationError, match="the plan's calls"):
        sample.folder.write_plan({**plan, "calls": []})
    with pytest.raises(ValidationError, match="same id"):
        sample.folder.write_plan({**plan, "calls": plan["calls"] * 2})
    assert not sample.folder.plan_file.exists()
    sample.folder.write_plan(plan)
    assert sample.folder.plan() == sample.plan()


def test_calls_are_read_back_without_a_torn_one(sample: Sample) -> None:
    for prompt in "abc":
        sample.add(prompt)
    sample.finish("0001/txt2img/0", warnings=("half a pair: \ud83d",))
    with sample.folder.calls_file.open("ab") as file:
        file.write(b'{"call_id": "0002/txt2img/0", "entry"')
    assert len(sample.folder.calls()) == 1
    sample.fail("0003/txt2img/0", "boom")
    records = sample.folder.calls()
    assert [record.call_id for record in records] == ["0001/txt2img/0", "0003/txt2img/0"]
    assert all(isinstance(record, CallRecord) for record in records)
    assert records[0].output
    assert records[0].output.warnings == ("half a pair: \ud83d",)


def test_a_folder_is_opened_by_its_name(sample: Sample) -> None:
    sample.write_plan()
    folder = sample.folder
    assert RunFolder.open(folder.root, folder.name).plan() == folder.plan()
    with pytest.raises(InputError) as caught:
        RunFolder.open(folder.root, folder.name.replace("sample", "sampel"))
    assert f"Did you mean {folder.name!r}" in str(caught.value)
    with pytest.raises(InputError):
        RunFolder.open(folder.root, f"../{folder.root.name}/{folder.name}")


def test_what_cannot_be_read_is_named(sample: Sample) -> None:
    with pytest.raises(StableflowsError, match=r"no plan\.json"):
        sample.folder.plan()
    sample.write_plan()
    plan = json.loads(sample.folder.plan_file.read_bytes())
    sample.folder.plan_file.write_text(json.dumps({**plan, "version": 2}))
    with pytest.raises(StableflowsError, match=r"plan\.json: version: .*another version"):
        sample.folder.plan()
    sample.folder.plan_file.write_text("{")
    with pytest.raises(StableflowsError, match=r"plan\.json: .*edited"):
        sample.folder.plan()
    sample.folder.calls_file.write_text('{"call_id": "x"}\n')
    with pytest.raises(StableflowsError, match=r"calls\.jsonl: entry"):
        sample.folder.calls()


def test_partial_files_are_discarded(sample: Sample) -> None:
    image = save(sample.folder, png(8, 8))
    left = [sample.folder.images / ".0123.part", sample.folder.stages / ".4567.part"]
    for partial in left:
        partial.write_bytes(b"half")
    sample.folder.discard_partial_files()
    assert not any(partial.exists() for partial in left)
    assert image.exists()


def test_a_run_that_renders_now_is_not_in_the_history_and_is_known_all_the_same(sample: Sample) -> None:
    sample.add("a cat")
    sample.write_plan()
    folder = sample.folder
    with folder.held():
        for name in (folder.name, folder.plan().run_id[:6]):
            with pytest.raises(RunInProgressError, match="is being rendered by another process now"):
                find_run(folder.root, name)
    folder.lock_file.touch()  # what a kill leaves
    with pytest.raises(InputError, match="there is no run"):
        find_run(folder.root, folder.name)
    assert folder.lock_file.exists(), "by which the next to start finds the run"
