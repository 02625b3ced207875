"""index.html: the page on which one looks at a run. It works from disk and asks nobody for anything.

Prompts, names and errors are untrusted text: the template escapes all of it, the script reads it back from
the page, and the page's own policy lets no other script run.
"""

from __future__ import annotations

import base64
import hashlib
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from itertools import count
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from stableflows.results import CallRecord, EntryResult, EntryStatus, ImageRecord, RunStatus
from stableflows.run.chains import Chain, chains_of
from stableflows.run.describe import STAGE_WORDS, stage_settings
from stableflows.run.folder import RunFolder
from stableflows.run.plan_record import InputRecord, PlannedEntry, PlanRecord

if TYPE_CHECKING:
    from stableflows.run.manifest import Manifest

__all__ = ["render"]

HERE = Path(__file__).parent

STATUS_WORDS = {
    EntryStatus.OK: "done",
    EntryStatus.ERROR: "failed",
    EntryStatus.CANCELLED: "stopped",
    EntryStatus.NOT_REACHED: "not reached",
}

RUN_WORDS = {
    RunStatus.COMPLETED: "Completed",
    RunStatus.FAILED: "Failed",
    RunStatus.CANCELLED: "Cancelled",
    RunStatus.CRASHED: "Crashed",
}


@dataclass(frozen=True)
class Picture:
    """One image file. `word` says what was done to it, `caption` what it is."""

    href: str
    word: str
    caption: str
    width: int | None
    height: int | None


@dataclass(frozen=True)
class Figure:
    """One image of an entry with the stages that it went through; the last of them is shown large.

    Attributes:
        unfinished: what did not happen any more, if its chain stopped before its last stage.
    """

    alt: str
    steps: tuple[Picture, ...]
    unfinished: str

    @property
    def shown(self) -> Picture:
        return self.steps[-1]


@dataclass(frozen=True)
class Grid:
    """A sweep's labelled grid."""

    href: str
    title: str
    width: int
    height: int


@dataclass(frozen=True)
class Card:
    """One entry.

    Attributes:
        ratio: width to height of the frames, if there are several.
        drawn: what was chosen for its wildcards, slots, variables and swept settings.
        facts: (name, value) pairs of its details.
        infotexts: what the server wrote into its finished images.
    """

    number: int
    title: str
    pack: str
    prompt: str
    negative_prompt: str
    settings: str
    drawn: str
    status: str
    status_word: str
    error: str
    figures: tuple[Figure, ...]
    ratio: float
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    unverified: tuple[str, ...]
    infotexts: tuple[str, ...]


def render(
    folder: RunFolder, plan: PlanRecord, records: Mapping[str, CallRecord], manifest: Manifest
) -> Iterator[bytes]:
    """The page, as UTF-8, in pieces: that of ten thousand entries has 20 MB. URLs in it are relative to the
    run's folder.

    Args:
        records: those that count, by call id.
    """
    picks = count(1)
    cards = (
        _card(folder, number, entry, result, _recorded(entry, records), picks=picks)
        for number, (entry, result) in enumerate(zip(plan.entries, manifest.result.results, strict=True), 1)
    )
    shown = (
        chain.steps[-1].image
        for entry in plan.entries
        for chain in chains_of(entry, _recorded(entry, records))
    )
    style, script = (HERE / "gallery.css").read_text("utf-8"), (HERE / "gallery.js").read_text("utf-8")
    pieces = (
        _environment()
        .get_template("gallery.html.j2")
        .generate(
            style=Markup(style),  # noqa: S704 (our own file)
            script=Markup(script),  # noqa: S704 (our own file)
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            manifest=manifest,
            status_word=RUN_WORDS[manifest.status],
            summary=_summary(manifest),
            server=_server(plan),
            created=datetime.fromisoformat(plan.created).astimezone(),
            cards=cards,
            grids=[_grid(folder, grid) for grid in manifest.grids],
            statuses=[(s.value, STATUS_WORDS[s], n) for s in EntryStatus if (n := _count(manifest, s))],
            ratio=_common_ratio(shown),
        )
    )
    return (piece.encode("utf-8", "replace") for piece in pieces)


def _recorded(entry: PlannedEntry, records: Mapping[str, CallRecord]) -> list[CallRecord]:
    return [records[call_id] for call_id in entry.calls if call_id in records]


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _grid(folder: RunFolder, path: str) -> Grid:
    """`grids/0001-a-stone-bridge.png`, named as a person would say it."""
    number, _, title = posixpath.basename(path).removesuffix(".png").partition("-")
    with Image.open(folder.path / path) as image:
        width, height = image.size
    return Grid(quote(path), f"{number} {title.replace('-', ' ')}", width, height)


def _card(
    folder: RunFolder,
    number: int,
    entry: PlannedEntry,
    result: EntryResult,
    recorded: Sequence[CallRecord],
    *,
    picks: Iterator[int],
) -> Card:
    name = str(entry.entry.get("name") or "")
    title = name or " ".join(entry.prompt.split()) or "(no prompt)"
    chains = chains_of(entry, recorded)
    figures = tuple(_figure(folder, entry, chain, title, picks) for chain in chains)
    facts = [(STAGE_WORDS[stage.stage_type].capitalize(), stage_settings(stage)) for stage in entry.stages]
    if entry.seed:
        facts.append(("Seed", f"{entry.seed.value} ({entry.seed.how})"))
    if entry.subseed:
        facts.append(("Variation seed", f"{entry.subseed.value} ({entry.subseed.how})"))
    if result.duration:
        facts.append(("Time", _seconds(result.duration)))
    return Card(
        number=number,
        title=title,
        pack=entry.pack_name or entry.pack_id,
        # The prompt is the heading already where the entry has no name.
        prompt=entry.prompt if name else "",
        negative_prompt=entry.negative_prompt,
        settings=stage_settings(entry.stages[0]) if entry.stages else "",
        drawn=_drawn(entry),
        status=result.status.value,
        status_word=STATUS_WORDS[result.status],
        error=result.error or "",
        figures=figures,
        ratio=_common_ratio(figure.shown for figure in figures),
        facts=tuple((fact, value) for fact, value in facts if value),
        warnings=tuple(result.result["warnings"]),
        unverified=tuple(result.result["unverified"]),
        infotexts=tuple(chain.final.infotext for chain in chains if chain.final and chain.final.infotext),
    )


def _drawn(entry: PlannedEntry) -> str:
    values = (entry.randomizer or {}).get("values")
    return (
        " · ".join(f"{name}: {value}" for name, value in values.items()) if isinstance(values, dict) else ""
    )


def _figure(folder: RunFolder, entry: PlannedEntry, chain: Chain, title: str, picks: Iterator[int]) -> Figure:
    steps = [_picture(folder, step.image, STAGE_WORDS[step.stage_type]) for step in chain.steps]
    if chain.final:
        # The number by which `stableflows finish --pick` takes it.
        steps[-1] = replace(steps[-1], caption=f"image {next(picks)} · {steps[-1].caption}")
    if entry.inputs:
        given = entry.inputs[chain.index // entry.count]
        if given.path:
            steps.insert(0, _picture(folder, given, "given"))
    last = chain.steps[-1].image
    missing = [STAGE_WORDS[stage.stage_type] for stage in entry.stages[len(chain.steps) :]]
    nth = f"image {chain.index + 1} of {entry.total_images}" if entry.total_images > 1 else ""
    seed = f"seed {last.seed}" if last.seed is not None else ""
    short = title if len(title) <= 120 else f"{title[:119]}…"
    return Figure(
        alt=", ".join(filter(None, (short, nth, seed))),
        steps=tuple(steps),
        unfinished=f"not {' and '.join(missing)}" if chain.final is None else "",
    )


def _picture(folder: RunFolder, image: ImageRecord | InputRecord, word: str) -> Picture:
    # posixpath: records have forward slashes on every system.
    href = quote(posixpath.relpath(image.path or "", folder.name))
    seed = f"seed {image.seed}" if isinstance(image, ImageRecord) and image.seed is not None else ""
    size = f"{image.width}×{image.height}" if image.width and image.height else ""
    return Picture(href, word, " · ".join(filter(None, (seed, size))), image.width, image.height)


def _common_ratio(images: Iterable[Picture | ImageRecord]) -> float:
    """Width to height of the frames: that of the middle one of all images, within what a grid can bear."""
    ratios = [image.width / image.height for image in images if image.width and image.height]
    return round(min(1.6, max(0.66, median(ratios))), 4) if ratios else 1.0


def _summary(manifest: Manifest) -> list[str]:
    totals = manifest.totals
    summary = [_plural(totals.images, "image"), _plural(totals.entries, "entry", "entries")]
    summary += [
        f"{count} {STATUS_WORDS[status]}"
        for status, count in (
            (EntryStatus.ERROR, totals.error),
            (EntryStatus.CANCELLED, totals.cancelled),
            (EntryStatus.NOT_REACHED, totals.not_reached),
        )
        if count
    ]
    if manifest.duration is not None:
        summary.append(_seconds(manifest.duration))
    if totals.calls_cached:
        summary.append(f"{totals.calls_cached} of {_plural(totals.calls_done, 'call')} from the store")
    return summary


def _server(plan: PlanRecord) -> str:
    server = plan.server
    return " · ".join(filter(None, (server.name, server.family, server.version)))


def _count(manifest: Manifest, status: EntryStatus) -> int:
    return sum(result.status is status for result in manifest.result.results)


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _seconds(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
