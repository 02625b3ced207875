"""The store gives back what was put in, or says what is wrong with it; and equal calls are made once."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stableflows.results import ImageRecord, StageOutput
from stableflows.run.files import link_or_copy
from stableflows.stages import StageType
from stableflows.store import Damage, Store, StoreRecord

KEY = "ab" * 32
DATA = b"the bytes of a picture"


def put(store: Store, key: str = KEY, data: bytes = DATA) -> Path:
    """Keep a call with one image; the image's file."""
    file = store.put_image(data, ".png")
    image = ImageRecord(
        path="run/0001.png", sha256=hashlib.sha256(data).hexdigest(), width=8, height=8, seed=7
    )
    store.put(key, StageOutput(stage_type=StageType.TXT2IMG, images=(image,), key=key, duration=1.5))
    return file


def test_a_call_that_was_made_is_found_with_its_images(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.find(KEY) is None
    file = put(store)
    found = store.find(KEY)
    assert isinstance(found, StoreRecord)
    assert (found.images[0].seed, found.duration) == (7, 1.5)
    assert store.image_file(found.images[0].sha256, ".png") == file
    assert file.read_bytes() == DATA


@pytest.mark.parametrize(
    ("spoil", "whole", "says"),
    [
        (lambda file: file.unlink(), False, "cannot be read"),
        (lambda file: file.write_bytes(DATA[:-1]), False, "21 bytes instead of 22"),
        (lambda file: file.write_bytes(DATA[:-1] + b"E"), True, "was changed"),
    ],
)
def test_a_damaged_image_is_damage_and_heals_when_it_is_made_again(
    tmp_path: Path, spoil: object, whole: bool, says: str
) -> None:
    store = Store(tmp_path)
    file = put(store)
    assert callable(spoil)
    spoil(file)
    found = store.find(KEY, whole=whole)
    assert isinstance(found, Damage)
    assert says in found.reason
    put(store)
    assert isinstance(store.find(KEY), StoreRecord)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"version": 2}', "\x00", '{"key": "../../x"}'])
def test_an_unreadable_record_is_damage(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    put(store)
    (record,) = (tmp_path / "store" / "records").rglob("*.json")
    record.write_text(text)
    assert isinstance(store.find(KEY), Damage)


def test_a_record_cannot_point_outside_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store)
    (record,) = (tmp_path / "store" / "records").rglob("*.json")
    (tmp_path / "secret.png").write_bytes(DATA)
    sha256 = hashlib.sha256(DATA).hexdigest()
    record.write_text(record.read_text().replace(sha256, "../../secret"))
    assert isinstance(store.find(KEY), Damage)


def test_images_are_linked_and_copied_where_links_are_not_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "one.png"
    source.write_bytes(DATA)
    link_or_copy(source, tmp_path / "linked.png")
    assert (tmp_path / "linked.png").samefile(source)

    link = os.link

    def no_links(src: str | Path, dst: str | Path) -> None:
        if Path(src) == source:
            raise OSError(errno.EXDEV, "no links here")
        link(src, dst)

    monkeypatch.setattr(os, "link", no_links)
    link_or_copy(source, tmp_path / "copied.png")
    assert not (tmp_path / "copied.png").samefile(source)
    assert (tmp_path / "copied.png").read_bytes() == DATA
    with pytest.raises(FileExistsError):
        link_or_copy(source, tmp_path / "copied.png")


async def test_equal_calls_of_one_process_wait_for_each_other(tmp_path: Path) -> None:
    store = Store(tmp_path)
    inside: list[str] = []

    async def call(name: str) -> None:
        async with store.making(KEY):
            inside.append(name)
            await asyncio.sleep(0.01)
            assert inside[-1] == name
            assert store.is_making(KEY)

    await asyncio.gather(*(call(str(number)) for number in range(5)))
    assert len(inside) == 5
    assert not store.is_making(KEY)
    assert not list((tmp_path / "store" / "locks").iterdir())


HOLDER = """
import asyncio, sys
from pathlib import Path
from stableflows.store import Store
async def hold():
    async with Store(Path(sys.argv[1])).making(sys.argv[2]):
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
asyncio.run(hold())
"""


def holder(root: Path) -> subprocess.Popen[str]:
    """A process that makes the call."""
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root), KEY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout
    assert other.stdout.readline() == "held\n"
    return other


async def test_an_equal_call_of_another_process_is_waited_for_also_if_that_is_killed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for end in ("release", "kill"):
        other = holder(tmp_path)
        store.sweep()  # takes nothing from the living
        waiting = asyncio.create_task(asyncio.wait_for(enter(store), 20))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        if end == "release":
            other.communicate("go\n")
        else:
            other.kill()
            other.communicate()
        await waiting
    assert not list((tmp_path / "store" / "locks").iterdir())


def test_locks_of_killed_processes_are_swept(tmp_path: Path) -> None:
    other = holder(tmp_path)
    other.kill()
    other.communicate()
    assert list((tmp_path / "store" / "locks").iterdir())
    Store(tmp_path).sweep()
    assert not list((tmp_path / "store" / "locks").iterdir())


async def enter(store: Store) -> None:
    async with store.making(KEY):
        pass
