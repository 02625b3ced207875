"""What a pack file says, before anything is merged, derived or drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from stableflows.config.base import Strict
from stableflows.config.layers import Layer
from stableflows.errors import Where

__all__ = ["Globals", "PackEntry", "PromptPack", "Source"]


class Globals(Strict):
    """Prompts around every entry's own; ADetailer does without them."""

    prompt: str = ""
    """Put in front of the entry's prompt, joined with ", "."""
    negative_prompt: str = ""
    """Appended to the entry's negative prompt, joined with ", "."""


@dataclass(frozen=True)
class PackEntry:
    """One prompt of a pack with its own settings.

    Attributes:
        layers: the config layers of this entry alone, lowest first: those of a job item or pack that
            differ from entry to entry, then the entry's own.
        inputs: image files that the first stage continues, absolute paths.
        where: file and line at which the entry begins.
    """

    prompt: str
    negative_prompt: str = ""
    name: str | None = None
    layers: tuple[Layer, ...] = ()
    inputs: tuple[Path, ...] = ()
    where: Where = field(default_factory=Where)


@dataclass(frozen=True)
class PromptPack:
    """A file of prompts.

    Attributes:
        pack_id: what the pack declares, else its file's stem.
        layers: the config layers of the whole pack, lowest first.
    """

    pack_id: str
    name: str
    entries: tuple[PackEntry, ...]
    file: Path | None = None
    layers: tuple[Layer, ...] = ()
    globals: Globals = field(default_factory=Globals)


@dataclass(frozen=True)
class Source:
    """All that was named to be rendered: packs, and, if it was a job file, what the job says beyond them.

    Attributes:
        pipeline: the job file's pipeline config, as layers below those of the packs.
        run_config: the job file's run_config as it was written; validated by `stableflows.job`.
        warnings: what was read as the format says, but may be meant otherwise; each with its place.
    """

    packs: tuple[PromptPack, ...]
    pipeline: tuple[Layer, ...] = ()
    run_config: Layer | None = None
    name: str | None = None
    seed: int = 0
    warnings: tuple[str, ...] = ()
