"""Writing files so that a process killed at any instant leaves no half-written one.

A whole file is written beside its place, synced, and renamed in. A line is appended and synced; what a
kill can leave is one torn last line, which the next append seals off and which readers skip.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout
from pydantic import BaseModel

from stableflows.errors import InputError
from stableflows.failpoints import failpoint

__all__ = [
    "PARTIAL_SUFFIX",
    "append_line",
    "as_json",
    "check_writable",
    "free_space",
    "json_pieces",
    "line_pieces",
    "link_or_copy",
    "one_line",
    "parsed",
    "read_lines",
    "sync_directory",
    "try_lock",
    "unlock",
    "why_not",
    "write_new",
    "write_whole",
]

log = logging.getLogger(__name__)

PARTIAL_SUFFIX = ".part"
"""Ends the name of a file that is being written; one that outlives its process was cut off by a kill."""


Data = bytes | Iterable[bytes]
"""What a file is to hold; in pieces, where the whole would take too much memory."""


def write_whole(path: Path, data: Data) -> None:
    """Put `data` at `path`, in place of what may be there: all of it or, after a kill, none.

    Raises:
        OSError: as the system says (no space, no permission); nothing half-written is left.
    """
    partial = _write_beside(path, data)
    try:
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_new(path: Path, data: Data) -> None:
    """As `write_whole`, but never in place of anything, also when two processes try at once.

    Raises:
        FileExistsError: there is something at `path`; it is untouched.
        OSError: as the system says; nothing half-written is left.
    """
    if path.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    partial = _write_beside(path, data)
    try:
        _move_to_free_place(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    sync_directory(path.parent)


NO_HARD_LINKS = frozenset(
    {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES}
)
"""How file systems without hard links (exFAT, some network shares), or a file with too many, say so."""


def link_or_copy(source: Path, target: Path) -> None:
    """Put `source` at `target` too: as a hard link, or as a copy where links are not possible.

    Raises:
        FileExistsError: there is something at `target`; it is untouched.
        OSError: it cannot be written.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        write_new(target, source.read_bytes())


def _move_to_free_place(partial: Path, path: Path) -> None:
    if os.name == "nt":
        partial.rename(path)  # Windows refuses an existing target by itself.
        return
    try:
        os.link(partial, path)  # POSIX rename replaces; link does not.
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        partial.rename(path)


def _write_beside(path: Path, data: Data) -> Path:
    partial = path.with_name(f".{uuid4().hex[:12]}{PARTIAL_SUFFIX}")
    try:
        with partial.open("xb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    failpoint("before-rename")
    return partial


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` survive a power cut; Windows does so without being asked."""
    if os.name == "nt":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def as_json(data: Any) -> bytes:
    """JSON that a person can read, with a line's end."""
    return _encoded(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def json_pieces(model: BaseModel) -> Iterator[bytes]:
    """As `as_json` of the dumped model, in pieces: a job of ten thousand entries, dumped as a whole, takes
    twenty times its file."""

    def text(value: Any, depth: int) -> str:
        return textwrap.indent(json.dumps(value, indent=2, ensure_ascii=False), "  " * depth).lstrip(" ")

    def start(depth: int) -> str:
        return "\n" + "  " * depth

    yield from map(_encoded, _pieces(model, 0, text=text, start=start, colon=": "))
    yield b"\n"


def line_pieces(model: BaseModel) -> Iterator[str]:
    """As `one_line` of the dumped model, in pieces."""
    return _pieces(model, 0, text=lambda value, _: one_line(value), start=lambda _: "", colon=":")


def _pieces(
    model: BaseModel,
    depth: int,
    *,
    text: Callable[[Any, int], str],
    start: Callable[[int], str],
    colon: str,
) -> Iterator[str]:
    """Args: start: what goes before a value of its own line; text: a value at that depth."""
    yield "{"
    for number, name in enumerate(type(model).model_fields):
        value = getattr(model, name)
        yield f"{',' if number else ''}{start(depth + 1)}{json.dumps(name)}{colon}"
        if _has_long_lists(value):
            yield from _pieces(value, depth + 1, text=text, start=start, colon=colon)
        elif _is_long_list(value):
            yield "["
            for place, item in enumerate(value):
                comma = "," if place else ""
                yield f"{comma}{start(depth + 2)}{text(item.model_dump(mode='json'), depth + 2)}"
            yield f"{start(depth + 1)}]"
        else:
            yield text(model.model_dump(mode="json", include={name})[name], depth + 1)
    yield f"{start(depth)}}}"


def _is_long_list(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], BaseModel)


def _has_long_lists(value: Any) -> bool:
    return isinstance(value, BaseModel) and any(
        _is_long_list(getattr(value, name)) for name in type(value).model_fields
    )


def parsed(data: str | bytes) -> Any:
    """The value of a JSON document.

    Raises:
        ValueError: it is none, or nested without end.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def one_line(data: Any) -> str:
    """JSON on one line; a value that JSON does not know is written as text."""
    return json.dumps(data, ensure_ascii=False, default=str, separators=(",", ":"))


def _encoded(text: str) -> bytes:
    # A server's answer can hold half a surrogate pair, which UTF-8 has no bytes for; "\ud83d", which this
    # makes of it, is what JSON calls it.
    return text.encode("utf-8", "backslashreplace")


def append_line(path: Path, text: str | Iterable[str], *, lock: bool, sync: bool = True) -> None:
    """Append one line and sync it.

    Args:
        path: a file in an existing folder; it is created if it is not there.
        text: the line, without its end; in pieces, as those of `line_pieces`, where it is very long.
        lock: hold an operating-system lock (beside the file, `<name>.lock`; it dies with its holder)
            meanwhile, for a file to which several processes append.
        sync: without it a kill of the process loses nothing either, but a power cut may.

    Raises:
        ValueError: `text` is more than one line.
        OSError: as the system says; a part of the line may be there, which readers skip.
    """
    if isinstance(text, str) and "\n" in text:
        raise ValueError("one line at a time")
    with _locked(path.with_name(f"{path.name}.lock")) if lock else nullcontext():
        is_new = not path.exists()
        with path.open("a+b") as file:
            failpoint(f"before-line-of-{path.name}")
            if _ends_torn(file):
                file.write(b"\n")
            file.writelines(map(_encoded, [text] if isinstance(text, str) else text))
            file.write(b"\n")
            file.flush()
            if sync:
                os.fsync(file.fileno())
        if is_new:
            sync_directory(path.parent)


def try_lock(file: Path) -> FileLock | None:
    """Take an operating-system lock; None if another process, or another part of this one, holds it.

    The lock dies with its holder. Its file, which a kill leaves, means nothing by itself.
    """
    lock = FileLock(file)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    return lock


def unlock(lock: FileLock) -> None:
    """Give a lock back; its file is gone."""
    Path(lock.lock_file).unlink(missing_ok=True)  # before the release: who waits then takes a new file
    lock.release()


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    lock = FileLock(file)
    lock.acquire()
    try:
        yield
    finally:
        unlock(lock)


def _ends_torn(file: Any) -> bool:
    """Whether the last line of a file opened for reading has no end."""
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) != b"\n")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects in a file of lines, in order; none if there is no such file.

    A line that is not a whole JSON object was torn by a kill or a power cut, or is just being written: it
    is skipped.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for number, line in enumerate(file, 1):
            try:
                value = parsed(line)
            except ValueError:  # also of a character cut in half
                value = None
            if isinstance(value, dict):
                yield value
            elif line.strip():
                log.info("%s:%d is torn and was skipped", path, number)


def free_space(path: Path) -> int:
    """Bytes that are free where `path` is or would be created."""
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free


REASONS = {
    errno.EACCES: "there is no permission to write to it",
    errno.EPERM: "there is no permission to write to it",
    errno.EROFS: "it is on a read-only file system",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.ENOTDIR: "a part of that path is a file, not a folder",
    errno.EEXIST: "it is a file, not a folder",
    errno.ENAMETOOLONG: "the path is too long",
}


def why_not(error: OSError) -> str:
    """Why something could not be written, in words."""
    return REASONS.get(error.errno or 0, error.strerror or str(error))


def check_writable(root: Path) -> None:
    """Create the output folder if need be, and see that a file can be written into it.

    Raises:
        InputError: it cannot; with the reason. Folders that were created on the way are gone again.
    """
    missing: list[Path] = []
    try:
        missing = [folder for folder in (root, *root.parents) if not folder.exists()]
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root) as probe:
            probe.write(b"stableflows")
            probe.flush()
    except OSError as error:
        for folder in missing:
            if folder.is_dir():
                folder.rmdir()
        raise InputError(
            f"The output folder {root} cannot be written: {why_not(error)}. Name another with --out DIR."
        ) from None
