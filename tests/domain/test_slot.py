"""One run at a server; who waits is told, and is next; a killed holder holds nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from stableflows.slot import HOME_VARIABLE, ServerInUseError, Slot, discard_stale_slots
from stableflows.waiting import WaitCancelled

SERVER = "http://127.0.0.1:7860"
HOLDER = """
import asyncio, sys
from stableflows.slot import Slot
async def hold():
    slot = Slot(sys.argv[1])
    async with slot.held(run_id="abc", name="theirs", wait=True, cancel=asyncio.Event(), say=print):
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
asyncio.run(hold())
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    return tmp_path


def holder() -> subprocess.Popen[str]:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout
    assert other.stdout.readline() == "held\n"
    return other


async def take(said: list[str], *, wait: bool = True, cancel: asyncio.Event | None = None) -> None:
    slot = Slot(SERVER)
    held = slot.held(run_id="xyz", name="ours", wait=wait, cancel=cancel or asyncio.Event(), say=said.append)
    async with held:
        found = slot.holder()
        assert found
        assert (found.name, found.server) == ("ours", SERVER)


async def test_a_free_slot_is_taken_and_leaves_nothing(home: Path) -> None:
    said: list[str] = []
    await take(said)
    assert said == []
    assert list((home / "slots").iterdir()) == []


@pytest.mark.parametrize("end", ["release", "kill"])
async def test_a_held_slot_is_waited_for(end: str) -> None:
    other = await asyncio.to_thread(holder)
    said: list[str] = []
    waiting = asyncio.create_task(asyncio.wait_for(take(said), 30))
    while not Slot(SERVER).somebody_waits():  # noqa: ASYNC110 (it is a file's state)
        await asyncio.sleep(0.01)
    assert not waiting.done()
    assert said == [f"Waiting for the run 'theirs' (abc, process {other.pid}), which uses {SERVER}"]
    if end == "kill":
        other.kill()
    await asyncio.to_thread(other.communicate, "go\n" if end == "release" else None)
    await waiting
    assert not Slot(SERVER).somebody_waits()


async def test_who_does_not_want_to_wait_is_told_at_once() -> None:
    other = await asyncio.to_thread(holder)
    with pytest.raises(ServerInUseError, match="'theirs'"):
        await take([], wait=False)
    await asyncio.to_thread(other.communicate, "go\n")


async def test_a_cancel_ends_the_waiting() -> None:
    other = await asyncio.to_thread(holder)
    cancel = asyncio.Event()
    waiting = asyncio.create_task(take([], cancel=cancel))
    await asyncio.sleep(0.05)
    cancel.set()
    with pytest.raises(WaitCancelled):
        await waiting
    assert not Slot(SERVER).somebody_waits()
    await asyncio.to_thread(other.communicate, "go\n")


async def test_another_server_has_another_slot() -> None:
    other = await asyncio.to_thread(holder)
    elsewhere = Slot("http://127.0.0.1:7861")
    async with elsewhere.held(run_id="x", name="x", wait=False, cancel=asyncio.Event(), say=print):
        pass
    await asyncio.to_thread(other.communicate, "go\n")


async def test_what_a_killed_holder_left_goes_and_a_held_slot_stays(home: Path) -> None:
    """Though nobody renders at that server again: a run may have been killed after its last picture."""
    with holder() as other:
        discard_stale_slots()
        assert {file.suffix for file in (home / "slots").iterdir()} == {".json", ".lock"}
        other.kill()
    discard_stale_slots()
    assert list((home / "slots").iterdir()) == []
