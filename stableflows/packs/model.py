"""What a pack file says, before anything is merged, derived or drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stableflows.config.base import Strict
from stableflows.config.layers import Layer
from stableflows.errors import Where
from stableflows.prompts.model import Drawing, Language, Sweep

__all__ = ["Globals", "PackEntry", "PromptPack", "Remark", "Source"]


class Remark(str):
    """A warning about a file: as text the whole message, and its parts for who wants them (the linter).

    Attributes:
        rule: a short name of what is warned of, such as `leaking-negative`.
        message: the text without the place.
        mend: what to do about it.
    """

    def __new__(cls, message: str, rule: str = "", where: Where | None = None, mend: str = "") -> Remark:
        told = f"{message}; {mend}." if mend else f"{message}."
        remark = super().__new__(cls, f"{where}: {told}" if where else message)
        remark.rule, remark.where, remark.message, remark.mend = rule, where or Where(), message, mend
        return remark

    rule: str
    where: Where
    message: str
    mend: str


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
        styles: names of styles, beside those of the pack.
        drawing: in place of the pack's.
        sweep: beside the pack's.
        randomizer: what was chosen for it before it came here (an image of an earlier run).
    """

    prompt: str
    negative_prompt: str = ""
    name: str | None = None
    layers: tuple[Layer, ...] = ()
    inputs: tuple[Path, ...] = ()
    where: Where = field(default_factory=Where)
    styles: tuple[str, ...] = ()
    drawing: Drawing | None = None
    sweep: Sweep = field(default_factory=Sweep)
    randomizer: dict[str, Any] | None = None


@dataclass(frozen=True)
class PromptPack:
    """A file of prompts.

    Attributes:
        pack_id: what the pack declares, else its file's stem.
        layers: the config layers of the whole pack, lowest first.
        format: what it was read as, in words: "block text", "CSV", ...
        language: how its prompts are to be drawn and multiplied.
    """

    pack_id: str
    name: str
    entries: tuple[PackEntry, ...]
    file: Path | None = None
    layers: tuple[Layer, ...] = ()
    globals: Globals = field(default_factory=Globals)
    format: str = ""
    language: Language = field(default_factory=Language)


@dataclass(frozen=True)
class Source:
    """All that was named to be rendered: packs, and, if it was a job file, what the job says beyond them.

    Attributes:
        pipeline: the job file's pipeline config, as layers below those of the packs.
        run_config: the job file's run_config as it was written; validated by `stableflows.job`.
        settings: the job file's config above packs and entries, and below the command line's.
        first_seed: of every entry's first image, whatever packs say.
        warnings: what was read as the format says, but may be meant otherwise; each with its place, most of
            them a `Remark`.
        sweep: of every pack, beside the packs' own.
    """

    packs: tuple[PromptPack, ...]
    pipeline: tuple[Layer, ...] = ()
    run_config: Layer | None = None
    settings: Layer | None = None
    first_seed: int | None = None
    name: str | None = None
    seed: int = 0
    warnings: tuple[str, ...] = ()
    sweep: Sweep = field(default_factory=Sweep)
