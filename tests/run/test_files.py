"""Files are whole or absent, lines whole or skipped, also under kill -9."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import BaseModel

from stableflows.errors import ExitCode, InputError
from stableflows.run import files
from stableflows.run.files import (
    append_line,
    as_json,
    check_writable,
    free_space,
    json_pieces,
    line_pieces,
    one_line,
    read_lines,
    write_new,
    write_whole,
)


def test_write_whole_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_model_in_pieces_is_the_model_as_a_whole(tmp_path: Path) -> None:
    class Item(BaseModel):
        name: str
        more: dict[str, object] = {}

    class Inner(BaseModel):
        title: str = "a\nb \ud83d"
        items: tuple[Item, ...] = ()

    class Outer(BaseModel):
        none: None = None
        empty: tuple[Item, ...] = ()
        inner: Inner
        items: tuple[Item, ...] = ()
        last: dict[str, list[int]] = {"a": [1, 2], "b": []}

    items = (Item(name="ä", more={"x": [1, {"y": None}]}), Item(name="b"))
    for model in (Outer(inner=Inner()), Outer(inner=Inner(items=items), items=items)):
        path = tmp_path / "model.json"
        write_whole(path, json_pieces(model))
        assert path.read_bytes() == as_json(model.model_dump())
        assert "".join(line_pieces(model)) == one_line(model.model_dump())


def test_write_new_never_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_new(path, b"one")
    with pytest.raises(FileExistsError):
        write_new(path, b"two")
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_write_new_loses_a_race_without_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    beside = files._write_beside

    def meanwhile_somebody_else(where: Path, data: bytes) -> Path:
        path.write_bytes(b"theirs")
        return beside(where, data)

    monkeypatch.setattr(files, "_write_beside", meanwhile_somebody_else)
    with pytest.raises(FileExistsError):
        write_new(path, b"ours")
    assert path.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_write_new_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "a.png"
    write_new(path, b"one")
    with pytest.raises(FileExistsError):
        write_new(path, b"two")
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", [write_whole, write_new])
def test_a_full_disk_leaves_nothing_half_written(
    write: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "a.png", b"data")  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


def test_a_torn_last_line_is_sealed_off_and_skipped(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    append_line(path, '{"n": 1}', lock=False)
    with path.open("ab") as file:
        file.write('{"n": 2, "prompt": "caf\u00e9'.encode()[:-1])  # in the middle of a character
    assert list(read_lines(path)) == [{"n": 1}]
    append_line(path, '{"n": 3}', lock=True)
    append_line(path, '{"n": 4}', lock=False)
    assert list(read_lines(path)) == [{"n": 1}, {"n": 3}, {"n": 4}]


def test_a_line_that_lacks_only_its_end_counts(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": 2}')
    append_line(path, '{"n": 3}', lock=False)
    assert [line["n"] for line in read_lines(path)] == [1, 2, 3]


def test_no_file_has_no_lines(tmp_path: Path) -> None:
    assert list(read_lines(tmp_path / "none.jsonl")) == []


def test_one_line_at_a_time(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one line"):
        append_line(tmp_path / "a", "a\nb", lock=False)


def test_half_a_surrogate_pair_survives(tmp_path: Path) -> None:
    data = {"infotext": "\ud83d half, \U0001f600 whole"}
    assert json.loads(as_json(data)) == data
    append_line(tmp_path / "a.jsonl", json.dumps(data, ensure_ascii=False), lock=False)
    assert list(read_lines(tmp_path / "a.jsonl")) == [data]


WRITER = """
import hashlib, json, os, sys
from pathlib import Path
from stableflows.run.files import append_line, write_new
folder, start = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
for n in range(start, start + 1_000_000):
    data = os.urandom(200_000)
    write_new(folder / f"{n}.png", data)
    line = {"n": n, "sha256": hashlib.sha256(data).hexdigest(), "pad": "x" * 5000}
    append_line(folder / "calls.jsonl", json.dumps(line), lock=sys.argv[3] == "lock")
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize("lock", ["lock", "no lock"])
def test_killed_at_any_instant(tmp_path: Path, lock: str) -> None:
    dice = random.Random(7)  # noqa: S311 (when to kill)
    lines = tmp_path / "calls.jsonl"
    told: set[int] = set()
    for turn in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(turn * 1_000_000), lock], stdout=subprocess.PIPE
        )
        assert writer.stdout
        assert writer.stdout.readline() == b"ready\n"
        # Not after a time, which a busy machine would make nothing of, but at a length.
        enough = _size(lines) + dice.randrange(1, 100_000)
        while _size(lines) < enough and writer.poll() is None:
            time.sleep(0.001)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        # What was readable stays readable, whatever a later kill does.
        readable = {line["n"] for line in read_lines(lines)}
        assert told <= readable
        told = readable
    assert len(told) >= 8
    for line in read_lines(lines):
        assert hashlib.sha256((tmp_path / f"{line['n']}.png").read_bytes()).hexdigest() == line["sha256"]
    for image in tmp_path.glob("*.png"):
        assert image.stat().st_size == 200_000
    raw = lines.read_bytes().split(b"\n")
    # A kill tears at most one line; nothing else is unreadable.
    assert len([line for line in raw if line]) - len(told) <= 8


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


APPENDER = """
import json, sys
from pathlib import Path
from stableflows.run.files import append_line
print("ready", flush=True)
sys.stdin.readline()
for n in range(60):
    append_line(Path(sys.argv[1]), json.dumps({"who": sys.argv[2], "n": n, "pad": "x" * 100_000}), lock=True)
"""


def test_processes_that_append_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(b'{"torn": ')
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", APPENDER, str(path), who], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for who in "abc"
    ]
    for writer in writers:
        assert writer.stdout
        assert writer.stdout.readline() == b"ready\n"
    for writer in writers:
        assert writer.stdin
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    lines = list(read_lines(path))
    for who in "abc":
        assert [line["n"] for line in lines if line["who"] == who] == list(range(60))
    assert len(path.read_bytes().splitlines()) == 181


def test_free_space_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert free_space(tmp_path / "not" / "yet") > 0


def test_check_writable_creates_the_folder_and_leaves_nothing_in_it(tmp_path: Path) -> None:
    root = tmp_path / "out" / "puts"
    check_writable(root)
    assert list(root.iterdir()) == []


def refused(root: Path) -> str:
    with pytest.raises(InputError) as caught:
        check_writable(root)
    assert caught.value.exit_code == ExitCode.BAD_INPUT
    assert str(root) in str(caught.value)
    assert "--out" in str(caught.value)
    return str(caught.value)


def test_check_writable_says_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    assert "is a file, not a folder" in refused(file)
    assert "is a file, not a folder" in refused(file / "below")
    assert "too long" in refused(tmp_path / ("x" * 300))
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(("code", "reason"), [(errno.EROFS, "read-only"), (errno.ENOSPC, "disk is full")])
def test_check_writable_takes_back_the_folders_it_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, reason: str
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert reason in refused(tmp_path / "out" / "puts")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs to become somebody else")
def test_check_writable_without_permission(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:  # a process of its own, for it cannot become root again
        try:
            os.setgid(65534)
            os.setuid(65534)
            check_writable(tmp_path / "out")
        except InputError as error:
            os._exit(0 if "permission" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
