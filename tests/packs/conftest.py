from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from stableflows.errors import InvalidInputs
from stableflows.packs import read_sources
from stableflows.packs.model import PromptPack

Write = Callable[..., Path]
Refusals = Callable[..., list[str]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file, its text dedented."""

    def write(name: str, text: str | bytes) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, bytes):
            file.write_bytes(text)
        else:
            file.write_text(dedent(text).removeprefix("\n"), encoding="utf-8", newline="")
        return file

    return write


@pytest.fixture
def pack_of(write: Write) -> Callable[[str], PromptPack]:
    """The one pack in a YAML text."""

    def pack_of(text: str) -> PromptPack:
        (pack,) = read_sources([write("pack.yaml", text)]).packs
        return pack

    return pack_of


@pytest.fixture
def refusals(write: Write, tmp_path: Path) -> Refusals:
    """What is said about a file with this text, without the folder's name."""

    def refusals(text: str | bytes, name: str = "pack.yaml") -> list[str]:
        file = write(name, text)
        with pytest.raises(InvalidInputs) as caught:
            read_sources([file])
        return [str(error).replace(f"{tmp_path}/", "") for error in caught.value.errors]

    return refusals
