"""Pruning takes what nothing refers to, the longest unused first; verifying names what is not as it was."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from flows.store import parse_age, parse_size
from stableflows.errors import InputError, StableflowsError
from stableflows.inputs import REFERENCE
from stableflows.jobs import waits, waits_no_longer
from stableflows.results import ImageRecord, StageOutput
from stableflows.run.folder import RunFolder
from stableflows.stages import StageType
from stableflows.store import Store
from stableflows.store_care import prune, usage, verify
from tests.run.samples import Sample

DAY = 86400.0
JOB = "a1" * 32


def put(root: Path, name: str, *, days: float = 0) -> Path:
    """A record with one image, last used so many days ago; the image's file."""
    store = Store(root)
    file = store.put_image(name.encode() * 100, ".png")
    key = (name.encode().hex() * 64)[:64]
    image = ImageRecord(path=f"run/{name}.png", sha256=file.stem, width=8, height=8)
    store.put(key, StageOutput(stage_type=StageType.TXT2IMG, images=(image,), key=key, duration=1))
    then = time.time() - days * DAY
    for one in (file, *(record for record in store.record_files() if record.stem == key)):
        os.utime(one, (then, then))
    return file


def test_age_and_size_decide_and_the_longest_unused_goes_first(tmp_path: Path) -> None:
    old, older, new = put(tmp_path, "a", days=20), put(tmp_path, "b", days=40), put(tmp_path, "c")
    assert prune(tmp_path, older_than=30 * DAY, dry_run=True).images == 1
    assert older.exists()
    taken = prune(tmp_path, older_than=30 * DAY)
    assert (taken.records, taken.images, taken.bytes) == (1, 1, 100)
    assert (older.exists(), old.exists(), new.exists()) == (False, True, True)
    assert prune(tmp_path, max_bytes=100).images == 1
    assert (old.exists(), new.exists()) == (False, True)
    assert prune(tmp_path, max_bytes=100).files == []


def test_what_a_runs_folder_refers_to_stays(sample: Sample) -> None:
    sample.add("a cat")
    sample.write_plan()
    output = sample.finish("0001/txt2img/0")
    root = sample.folder.root
    Store(root).put(output.key, output)
    put(root, "free")
    found = usage(root)
    assert (found.records, found.images, found.free) == (2, 2, 400)
    assert list(found.by_run) == [sample.folder.name]
    assert prune(root, max_bytes=0).images == 1
    assert Store(root).find(output.key)
    shutil.rmtree(sample.folder.path)
    assert prune(root, max_bytes=0).images == 1
    assert Store(root).find(output.key) is None


def test_a_run_that_cannot_be_read_stops_all_pruning(sample: Sample) -> None:
    sample.add("a cat")
    sample.write_plan()
    sample.folder.plan_file.write_text("{")
    kept = put(sample.folder.root, "free", days=100)
    with pytest.raises(StableflowsError, match="nothing was pruned"):
        prune(sample.folder.root, older_than=DAY)
    assert kept.exists()


def test_a_waiting_job_keeps_its_images(tmp_path: Path) -> None:
    jobs, inputs = tmp_path / "store" / "jobs", tmp_path / "store" / "inputs"
    jobs.mkdir(parents=True)
    inputs.mkdir()
    picture = inputs / f"{'e' * 64}.png"
    picture.write_bytes(b"x")
    job = jobs / f"{JOB}.json"
    job.write_text(f'{{"inputs": ["{REFERENCE}{picture.stem}"]}}')
    waits(tmp_path, JOB)
    prune(tmp_path, max_bytes=0)
    assert (job.exists(), picture.exists()) == (True, True)
    waits_no_longer(tmp_path, JOB)
    taken = prune(tmp_path, max_bytes=0)
    assert (taken.jobs, taken.inputs) == (1, 1)
    assert (job.exists(), picture.exists()) == (False, False)


def test_damage_is_named(tmp_path: Path) -> None:
    whole, spoilt = put(tmp_path, "a"), put(tmp_path, "b")
    assert list(verify(tmp_path)) == []
    spoilt.write_bytes(spoilt.read_bytes()[:-1] + b"!")
    assert any(spoilt.name in line for line in verify(tmp_path))
    assert not any(whole.name in line for line in verify(tmp_path))


def test_ages_and_sizes_are_read() -> None:
    assert (parse_age("12h"), parse_age("1.5 d"), parse_size("20GB"), parse_size("5 mb")) == (
        12 * 3600,
        1.5 * DAY,
        20 * 10**9,
        5 * 10**6,
    )
    for wrong in ("", "d", "30", "3 fortnights", "-1d"):
        with pytest.raises(InputError, match="such as 30d"):
            parse_age(wrong)


def test_an_empty_root_is_no_error(tmp_path: Path) -> None:
    assert usage(tmp_path).images == 0
    assert list(verify(tmp_path)) == []
    assert prune(tmp_path, max_bytes=0).files == []
    assert not list(RunFolder(tmp_path, "x").root.iterdir())
