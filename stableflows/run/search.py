"""Runs of the history by name, day, pack, status and prompt text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from stableflows.results import RunStatus
from stableflows.run.history import HistoryLine

__all__ = ["Wanted", "run_title", "search"]


@dataclass(frozen=True)
class Wanted:
    """What is looked for; None: anything. Text is found anywhere in it, in any case.

    Attributes:
        since, before: local days; `before` is the first day that is not wanted any more.
        text: in a prompt, or the name of an entry.
    """

    name: str | None = None
    since: date | None = None
    before: date | None = None
    pack: str | None = None
    status: RunStatus | None = None
    text: str | None = None


def search(lines: Iterable[HistoryLine], wanted: Wanted) -> Iterator[HistoryLine]:
    """The runs that fit, in their order."""
    return (line for line in lines if _fits(line, wanted))


def run_title(line: HistoryLine) -> str:
    """What a run is called: its folder's name; without one, its first prompt's pack."""
    if line.result and line.result.results:
        return Path(line.result.output_dir).name
    return line.prompt_pack_id or ""


def _fits(line: HistoryLine, wanted: Wanted) -> bool:
    day = datetime.fromisoformat(line.timestamp).astimezone().date()
    entries = line.result.results if line.result else ()
    packs = [text for entry in entries for text in (entry.pack_id, entry.pack_name)]
    prompts = [text for entry in entries for text in (entry.prompt, str(entry.entry.get("name") or ""))]
    return (
        (wanted.since is None or day >= wanted.since)
        and (wanted.before is None or day < wanted.before)
        and (wanted.status is None or line.status is wanted.status)
        and _contains([run_title(line)], wanted.name)
        and _contains([*packs, line.prompt_pack_id or ""], wanted.pack)
        and _contains(prompts, wanted.text)
    )


def _contains(texts: list[str], part: str | None) -> bool:
    return part is None or any(part.casefold() in text.casefold() for text in texts)
