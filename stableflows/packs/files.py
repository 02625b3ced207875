"""Files that people name: found, or missed with the nearest that exist; read as text, or refused."""

from __future__ import annotations

import errno
import glob
import re
from collections.abc import Collection
from pathlib import Path

from stableflows.errors import InputError, Where, nearest

__all__ = ["MAX_BYTES", "find_files", "full_path", "read_text"]

MAX_BYTES = 4 * 1024 * 1024
"""Largest file of prompts that is read: a night's 240 entries are about 200 KB."""

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
NOT_UNICODE = re.compile("[\ud800-\udfff]")
"""What Python makes of bytes that are no UTF-8, in arguments and names of files; no record could hold it."""


def full_path(path: str | Path, *, base: Path | None = None, where: Where | None = None) -> Path:
    """`path` as somebody wrote it, absolute, with `~` and links resolved; it need not exist.

    Args:
        base: the folder that a relative path starts from; default the current one.
        where: the place that names it, for errors.

    Raises:
        InputError: there can be none of that name.
    """
    try:
        full = ((base or Path()) / path).expanduser().resolve()
        _refuse_a_circle(full)
    except (OSError, RuntimeError, ValueError) as error:
        # ~somebody who has no home, a link to itself, a zero byte.
        raise InputError(f"{str(path)!r} is no path: {error}.", where=where) from None
    if NOT_UNICODE.search(str(full)):
        raise InputError(f"{str(full)!r} is not UTF-8; rename it.", where=where)
    return full


def _refuse_a_circle(full: Path) -> None:
    """Raises: OSError: links in it lead in a circle, which `resolve` lets pass from Python 3.13 on."""
    try:
        full.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise


def find_files(
    pattern: str | Path,
    *,
    base: Path | None = None,
    where: Where | None = None,
    suffixes: Collection[str] = (),
) -> list[Path]:
    """The file of that name, or the files that a glob pattern matches, sorted.

    Args:
        pattern: a path; or one with `*`, `?`, `[...]` or `**`, unless a file has exactly that name.
        base: the folder that a relative path starts from; default the current one.
        where: the place that names it, for errors.
        suffixes: what suggested files end with; any, if empty.

    Raises:
        InputError: there is none, or it is a folder.
    """
    if CONTROL.search(str(pattern)):
        raise InputError(f"{str(pattern)!r} is no file name: it holds a control character.", where=where)
    path = (base or Path()) / pattern
    found = _find(pattern, path, base, where, suffixes)
    if odd := next((file for file in found if NOT_UNICODE.search(str(file.absolute()))), None):
        raise InputError(f"the name {str(odd)!r} is not UTF-8; rename it.", where=where)
    return found


def _find(
    pattern: str | Path, path: Path, base: Path | None, where: Where | None, suffixes: Collection[str]
) -> list[Path]:
    try:
        if path.is_file():
            return [path]
        if path.is_dir():
            example = f", for instance {path / f'*{next(iter(suffixes))}'}" if suffixes else ""
            raise InputError(f"{path} is a folder; name its files{example}.", where=where)
        if path.exists():
            raise InputError(f"{path} is not a regular file.", where=where)
        if glob.has_magic(str(pattern)):
            # A bracket in the folder that the pattern starts from is no pattern.
            rest = glob.glob(  # noqa: PTH207 (Path.glob takes no absolute pattern)
                str(pattern), root_dir=base, recursive=True, include_hidden=False
            )
            found = [(base or Path()) / match for match in sorted(rest)]
            files = [match for match in found if match.is_file()]
            if files:
                return files
            raise InputError(f"no file matches {path}.{_beside(path, suffixes)}", where=where)
        raise InputError(f"there is no file {path}.{_beside(path, suffixes)}", where=where)
    except (OSError, ValueError) as error:
        # A name that is too long, or in a folder that we may not look into.
        raise InputError(f"{str(path)!r} cannot be looked up: {_reason(error)}.", where=where) from None


def _beside(path: Path, suffixes: Collection[str]) -> str:
    """What exists near a path that does not."""
    folder = path.parent
    if not folder.is_dir():
        if glob.has_magic(str(folder)):
            return ""
        ancestor = next(parent for parent in folder.parents if parent.is_dir())
        missing = folder.relative_to(ancestor).parts[0]
        close = nearest(missing, [each.name for each in ancestor.iterdir() if each.is_dir()])
        hint = f" Did you mean {' or '.join(str(ancestor / name) for name in close)}?" if close else ""
        return f" There is no folder {ancestor / missing}.{hint}"
    names = sorted(
        each.name
        for each in folder.iterdir()
        if each.is_file() and (not suffixes or each.suffix.lower() in suffixes)
    )
    if close := nearest(re.sub(r"[*?]|\[.*?]", "", path.name), names):
        return f" Did you mean {' or '.join(str(folder / name) for name in close)}?"
    if not names:
        return f" The folder {folder} has none."
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f" The folder {folder} has: {shown}"


def read_text(file: Path) -> str:
    r"""The text of a UTF-8 file with lines ending in "\n" and without byte-order marks.

    Raises:
        InputError: it cannot be read, is larger than `MAX_BYTES`, not UTF-8, or not text.
    """
    where = Where(file)
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {_reason(error)}.", where=where) from None
    if len(data) > MAX_BYTES:
        raise InputError(
            f"is larger than {MAX_BYTES // 1024**2} MB; is it a pack? If so, split it.", where=where
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"is UTF-16, not UTF-8. {_convert(file, 'UTF-16')}", where=where)
    if b"\x00" in data[:4096]:
        raise InputError("is a binary file, not text.", where=where)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}. "
            + _convert(file, "WINDOWS-1252"),
            where=Where(file, line),
        ) from None
    # Marks also stand in the middle, where files were put together; to a server they are a character.
    text = text.replace("\ufeff", "").replace("\r\n", "\n").replace("\r", "\n")
    if control := CONTROL.search(text):
        raise InputError(
            f"holds the control character U+{ord(control[0]):04X}; is it text? If so, take it out.",
            where=Where(file, text.count("\n", 0, control.start()) + 1),
        )
    return text


def _convert(file: Path, encoding: str) -> str:
    return f"Save it as UTF-8 in your editor, or: iconv -f {encoding} -t UTF-8 {file.name} > utf8-{file.name}"


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
