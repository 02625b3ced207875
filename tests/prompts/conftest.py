"""Prompts of one entry, resolved as a pack would have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stableflows.errors import Where
from stableflows.packs.model import Globals, PackEntry, PromptPack
from stableflows.prompts.model import Language
from stableflows.prompts.resolve import Resolved, Resolver

ALL: dict[str, Any] = {"prompts": {"mode": "combinatorial"}}


class Words:
    """A folder with a pack and its wildcards.

    `resolved` and its siblings take what a pack says (`matrix`, `prompts`, ...) as keywords.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        return file

    def pack(
        self, prompt: str, negative: str = "", *, around: Globals | None = None, **said: Any
    ) -> PromptPack:
        entry = PackEntry(prompt, negative, where=Where(self.folder / "pack.yaml", 3))
        return PromptPack(
            "pack",
            "pack",
            (entry,),
            self.folder / "pack.yaml",
            language=Language.model_validate(said),
            globals=around or Globals(),
        )

    def resolved(self, prompt: str, negative: str = "", *, seed: int = 0, **said: Any) -> list[Resolved]:
        pack = self.pack(prompt, negative, **said)
        return list(Resolver(seed).resolve(pack, pack.entries[0]))

    def prompts(self, prompt: str, **said: Any) -> list[str]:
        """Every prompt that it stands for."""
        return [each.prompt for each in self.resolved(prompt, **{**ALL, **said})]

    def count(self, prompt: str, negative: str = "", **said: Any) -> int:
        pack = self.pack(prompt, negative, **{**ALL, **said})
        return Resolver().count(pack, pack.entries[0])


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Words:
    monkeypatch.chdir(tmp_path)
    return Words(tmp_path)
