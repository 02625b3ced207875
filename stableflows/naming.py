"""The template by which an entry's finished images are named, and their names."""

from __future__ import annotations

from datetime import date
from pathlib import PurePosixPath

from stableflows.entries import Entry
from stableflows.run.name_template import NameFacts

__all__ = ["own_name"]


def own_name(
    entry: Entry, *, index: int, n: int, seed: int | None, day: date, suffix: str
) -> PurePosixPath | None:
    """A finished image's name by its entry's template, relative to the run's folder; None: there is none."""
    if entry.names is None:
        return None
    facts = NameFacts(
        entry=entry.index + 1,
        index=index,
        n=n,
        pack=entry.item.pack_id,
        title=entry.title,
        seed=seed,
        checkpoint=next((stage.generation.checkpoint for stage in entry.plan if stage.generation), None),
        day=day,
        values={name: str(value) for name, value in entry.item.chosen.items()},
    )
    return entry.names.path(facts, suffix)
