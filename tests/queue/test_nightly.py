"""Nightly packs: a folder as one run, over two nights; broken packs, empty folders, nights that gathered."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from flows import queue_api
from flows.nightly import read_folder, unfinished_night
from flows.provision import check_schedules
from flows.stopping import ask_to_stop
from stableflows.errors import InputError
from stableflows.run.folder import RunFolder
from stableflows.sandbox import Sandbox
from tests.queue.conftest import ROOT, Queue, eventually, prompts

SHIPS = ["a brig", "a yawl", "a cutter", "a sloop", "a ketch", "a bark"]
PACK = f"""
config: {{txt2img: {{enabled: true, width: 64, height: 64, steps: 20}}}}
entries: [{", ".join(SHIPS)}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "nightly"
    folder.mkdir()
    return folder


def test_a_folder_with_a_broken_pack(folder: Path) -> None:
    (folder / "b.yaml").write_text(PACK)
    (folder / "a.txt").write_text("a schooner\n")
    (folder / "broken.yaml").write_text("config: {txt2img: {steps: many}}\nentries: [a raft]\n")
    (folder / "notes.md").write_text("not a pack")
    readable = read_folder(folder)
    assert [Path(pack).name for pack in readable.packs] == ["a.txt", "b.yaml"]
    [words] = readable.broken
    assert "broken.yaml:1" in words


def test_a_folder_that_is_empty_or_not_there(folder: Path) -> None:
    with pytest.raises(InputError, match="there is no pack in .*nightly: put files there"):
        read_folder(folder)
    with pytest.raises(InputError, match="there is no folder"):
        read_folder(folder / "x")


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("0 23 * * *", "0 25 * * *", 'nightly-packs.schedules.cron: Invalid cron string: "0 25'),
        ("Europe/Berlin", "Europe/Berlni", 'nightly-packs.schedules.timezone: Invalid timezone: "Europe/Ber'),
    ],
)
def test_an_hour_that_does_not_exist(right: str, wrong: str, words: str, tmp_path: Path) -> None:
    ours = ROOT / "prefect.yaml"
    check_schedules(ours)
    theirs = tmp_path / "prefect.yaml"
    theirs.write_text(ours.read_text().replace(right, wrong))
    with pytest.raises(InputError, match=re.escape(words)):
        check_schedules(theirs)


def test_without_a_history_no_night_is_unfinished(tmp_path: Path) -> None:
    assert unfinished_night(tmp_path, "nightly") is None


def night(queue: Queue, folder: Path, sandbox: Sandbox, **parameters: Any) -> str:
    """The deployment is run, as its schedule does it; the flow run's id."""
    deployment = queue.api("/deployments/name/nightly/nightly-packs")
    assert [schedule["slug"] for schedule in deployment["schedules"]] == ["every-night"]
    assert deployment["work_queue_name"] == "nightly"
    body = {
        "parameters": {
            "folder": str(folder),
            "out": str(queue.out),
            "server": sandbox.url,
            "until": None,
            "name": "ships",
            **parameters,
        },
        "state": {"type": "SCHEDULED"},
    }
    flow_run: str = queue.api(f"/deployments/{deployment['id']}/create_flow_run", body)["id"]
    return flow_run


@pytest.mark.timeout(400)
def test_two_nights(queue: Queue, sandbox: Sandbox, folder: Path) -> None:
    """The morning ends the first; the second, of two that gathered, finishes it and then renders its own."""
    (folder / "ships.yaml").write_text(PACK)
    (folder / "broken.yaml").write_text("entries: [")
    first = night(queue, folder, sandbox)
    eventually(lambda: len(sandbox.generating()) >= 1)
    [plan] = queue.out.glob("*/plan.json")
    ask_to_stop(RunFolder(queue.out, plan.parent.name), "until 07:00")
    queue.is_in(first, "Cancelled")
    [line] = queue.history
    assert (line.run_mode, line.source, line.status) == ("queue", "schedule", "CANCELLED")
    assert unfinished_night(queue.out, "ships") == line.run_id
    assert unfinished_night(queue.out, "others") is None
    assert len(prompts(sandbox)) < 6

    queue.do(queue_api.pause)
    second, third = night(queue, folder, sandbox), night(queue, folder, sandbox)
    queue.do(queue_api.resume)
    queue.is_in(second, "Failed")
    message = queue.api(f"/flow_runs/{second}")["state"]["message"]
    assert "broken.yaml" in message
    assert message.count("All rendered: 6 images") == 2
    assert queue.state(third) == "Cancelled"
    assert sorted(prompts(sandbox)) == sorted(SHIPS)
    finished, own = queue.history
    assert finished.run_id == line.run_id
    assert (finished.status, own.status) == ("COMPLETED", "COMPLETED")
    assert finished.run_id != own.run_id
    assert unfinished_night(queue.out, "ships") is None


@pytest.mark.timeout(300)
def test_a_night_that_cannot_render_says_so(queue: Queue, sandbox: Sandbox, folder: Path) -> None:
    flow_run = night(queue, folder, sandbox)
    queue.is_in(flow_run, "Failed")
    assert "there is no pack in" in queue.api(f"/flow_runs/{flow_run}")["state"]["message"]
    [line] = queue.history
    assert (line.status, line.source, line.result) == ("FAILED", "schedule", None)
    assert "there is no pack in" in str(line.error)


def test_an_until_that_is_no_time_is_refused_by_prefect(queue: Queue, sandbox: Sandbox, folder: Path) -> None:
    import httpx

    with pytest.raises(httpx.HTTPStatusError) as refused:
        night(queue, folder, sandbox, until="25:00")
    assert refused.value.response.status_code in (409, 422)
    assert "25:00" in refused.value.response.text
