"""Whatever stands in the records of a run (edited, torn, made by somebody else) is read or refused, and
never leads out of the output folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stableflows.errors import InputError, StableflowsError
from stableflows.jobs import load, save_job, waits, waits_no_longer
from stableflows.mending import mend
from stableflows.request import RenderRequest, prepare
from stableflows.results import RunStatus
from stableflows.run import history, manifest
from stableflows.run.files import append_line
from stableflows.run.folder import RunFolder
from stableflows.run.history import HistoryLine
from stableflows.run.plan_record import InputRecord
from stableflows.store import Store
from tests.attack.examples import examples
from tests.attack.hostile_server import changed
from tests.run.samples import NOW, RUN_ID, Sample

KEY = "ab" * 32


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output root with a run that was killed, its history, a record of the store and a saved job."""
    root = tmp_path_factory.mktemp("written")
    folder = RunFolder.create(root, "sample", RUN_ID, NOW)
    sample = Sample(folder)
    stages = {"hires": {"enabled": True}, "refiner": {"enabled": True, "checkpoint": "x", "switch_at": 0.5}}
    first = sample.add("a lighthouse", ["txt2img", "upscale", "adetailer"], count=2, txt2img=stages)
    image = InputRecord(sha256="cd" * 32, path=f"store/inputs/{'cd' * 32}.png", width=8, height=8)
    sample.add("a harbour", ["img2img"], inputs=[image])
    sample.write_plan()
    for call in first[:-1]:
        output = sample.finish(call)
    sample.fail(first[-1], "no memory")
    Store(root).put(KEY, output)
    result = manifest.compose(folder).result
    line = HistoryLine(
        job_id="job", run_id=RUN_ID, timestamp=NOW.isoformat(), status=RunStatus.FAILED, run_mode="direct",
        source="cli", prompt_source="pack", result=result.brief(),
    )  # fmt: skip
    history.append(root, line)
    append_line(folder.log_file, json.dumps({"event": "run_start", "flow_run_id": "x"}), lock=False)
    save_job(prepare(RenderRequest.of(prompt="a cat", stages=["txt2img"])), root)
    (folder.path / "running.lock").touch()
    return root


def record_file(root: Path) -> Path:
    [file] = (root / "store" / "records").rglob("*.json")
    return file


def everything(root: Path) -> None:
    """All that reads what stands in an output root."""
    [folder] = [RunFolder(root, plan.parent.name) for plan in root.glob("*/plan.json")]
    jobs = [file.stem for file in (root / "store" / "jobs").glob("*.json")]
    reads: list[Callable[[], object]] = [
        folder.plan,
        folder.calls,
        folder.flow_run_ids,
        lambda: manifest.compose(folder).result,
        lambda: manifest.write(manifest.compose(folder), status=RunStatus.FAILED),
        lambda: history.read(root),
        lambda: Store(root).find(KEY),
        lambda: [Store(root).find(file.stem) for file in Store(root).record_files()],
        lambda: load(RenderRequest(resume=RUN_ID, out=str(root))),
        lambda: load(RenderRequest(again=RUN_ID, out=str(root))),
        lambda: mend(root),
        *(partial(load, RenderRequest(job=job, out=str(root))) for job in jobs),
    ]
    for read in reads:
        with suppress(StableflowsError):
            read()


def file_of(root: Path, name: str) -> Path:
    if name == "record":
        return record_file(root)
    if name == "job":
        [file] = (root / "store" / "jobs").glob("*.json")
        return file
    [file] = [*root.glob(name), *root.glob(f"*/{name}")]
    return file


NAMES = ["plan.json", "calls.jsonl", "history.jsonl", "run.jsonl", "record", "job"]


@pytest.mark.parametrize("name", NAMES)
@examples(60)
@given(data=st.data())
def test_any_value_in_a_record_is_read_or_refused(
    written: Path, tmp_path: Path, name: str, data: st.DataObject
) -> None:
    root = tmp_path / "root"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(written, root)
    file = file_of(root, name)
    lines = file.read_bytes().splitlines() if name.endswith(".jsonl") else [file.read_bytes()]
    which = data.draw(st.integers(0, len(lines) - 1))
    document = data.draw(changed(json.loads(lines[which])))
    lines[which] = json.dumps(document).encode()
    file.write_bytes(b"\n".join(lines) + b"\n")
    outside = {path for path in tmp_path.rglob("*") if root not in path.parents}
    everything(root)
    assert {path for path in tmp_path.rglob("*") if root not in path.parents} == outside


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "content", [b"", b"\0" * 5000, b"[" * 100_000, b"{}", b"null", b'"\xff"', b"9" * 5000, b"{" * 50]
)
def test_a_file_that_is_no_record_is_refused(
    written: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    root = tmp_path / "root"
    shutil.copytree(written, root)
    file_of(root, name).write_bytes(content)
    everything(root)


OUTSIDE = ["../evil.png", "/etc/evil.png", "a/../../evil.png", "C:/evil.png", "a\\..\\b.png", "", "a//b"]


@pytest.mark.parametrize("path", OUTSIDE)
def test_an_image_of_a_journal_is_below_the_output_folder(written: Path, tmp_path: Path, path: str) -> None:
    """A resume would link the store's image there, or send what is there to the server."""
    root = tmp_path / "root"
    shutil.copytree(written, root)
    file = file_of(root, "calls.jsonl")
    lines = file.read_text().splitlines()
    record = json.loads(lines[0])
    record["output"]["images"][0]["path"] = path
    file.write_text("\n".join([json.dumps(record), *lines[1:]]) + "\n")
    [plan] = root.glob("*/plan.json")
    with pytest.raises(StableflowsError, match="no path below the output folder"):
        RunFolder(root, plan.parent.name).calls()


@pytest.mark.parametrize("job", ["../../evil", "/etc/passwd", "", "*", "x" * 5000, "a\0b", "A" * 64])
def test_an_id_of_a_job_is_no_path(tmp_path: Path, job: str) -> None:
    """It comes from Prefect's form and API, too."""
    (tmp_path / "evil.json").write_text("{}")
    root = tmp_path / "a" / "root"
    (root / "store" / "jobs").mkdir(parents=True)
    with pytest.raises(InputError, match="no job's id"):
        load(RenderRequest(job=job, out=str(root)))
    for forget in (waits, waits_no_longer):
        with pytest.raises(InputError, match="no job's id"):
            forget(root, job)
    assert (tmp_path / "evil.json").exists()
