"""Settings that are written and change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from stableflows.config import PipelineConfig
from stableflows.config.flat import STAGES
from stableflows.errors import Where
from stableflows.lint.finding import Finding, Rule, Severity

__all__ = ["Written", "idle_settings"]

MOST_NAMED = 5


@dataclass(frozen=True)
class Written:
    """The settings of one entry.

    Attributes:
        places: where each was written, by dotted field.
    """

    config: PipelineConfig
    places: dict[str, Where]
    where: Where

    @cached_property
    def content(self) -> str:
        """The same for the same settings."""
        return self.config.model_dump_json()

    def place(self, field: str) -> Where:
        """Where a setting was written, or else what it is in, or the entry."""
        parts = field.split(".")
        names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        return next((self.places[name] for name in names if name in self.places), self.where)


def idle_settings(entries: list[Written]) -> Iterator[Finding]:
    """What has no effect in any entry of a file: one entry may switch on what another leaves off."""
    for section in (*STAGES, "txt2img.hires", "txt2img.refiner"):
        if not any(_is_on(entry.config, section) for entry in entries):
            yield from _of_section(section, entries)
    if not any(entry.config.txt2img.subseed_strength for entry in entries):
        place = _first(entries, "txt2img.subseed")
        if place:
            message = "has no effect: txt2img.subseed_strength is 0 everywhere"
            yield Finding.at(place, Rule.NO_EFFECT, Severity.WARNING, message)
    yield from _hires_then_upscale(entries)


def _of_section(section: str, entries: list[Written]) -> Iterator[Finding]:
    fields: dict[str, Where] = {}
    for entry in entries:
        for field, place in entry.places.items():
            if field.startswith(f"{section}.") and (field.count(".") == section.count(".") + 1):
                fields.setdefault(field, place)
    # Who wrote that it is off knows.
    off_is_written = fields.pop(f"{section}.enabled", None)
    if not fields:
        return
    names = [field.removeprefix(f"{section}.") for field in fields]
    more = ", ..." if len(names) > MOST_NAMED else ""
    named = ", ".join(names[:MOST_NAMED]) + more
    has = "has" if len(names) == 1 else "have"
    yield Finding.at(
        next(iter(fields.values())),
        Rule.NO_EFFECT,
        Severity.NOTICE if off_is_written else Severity.WARNING,
        f"{named} {has} no effect: {section} is off in every entry",
        "" if off_is_written else f"switch it on with {section}.enabled: true",
    )


def _hires_then_upscale(entries: list[Written]) -> Iterator[Finding]:
    both = [
        entry
        for entry in entries
        if entry.config.txt2img.enabled
        and entry.config.txt2img.hires.enabled
        and entry.config.upscale.enabled
        and entry.config.upscale.factor > 1
    ]
    if both:
        entry = both[0]
        scale, factor = entry.config.txt2img.hires.scale, entry.config.upscale.factor
        others = f", and in {len(both) - 1} more" if len(both) > 1 else ""
        yield Finding.at(
            entry.places.get("upscale.factor", entry.where),
            Rule.HIRES_THEN_UPSCALE,
            Severity.NOTICE,
            f"hires makes the picture {scale:g} times as large, and upscale then {factor:g} times{others}",
            "one of them is often enough",
        )


def _is_on(config: PipelineConfig, section: str) -> bool:
    part: object = config
    for name in section.split("."):
        part = getattr(part, name)
    return bool(getattr(part, "enabled", False))


def _first(entries: list[Written], field: str) -> Where | None:
    return next((entry.places[field] for entry in entries if field in entry.places), None)
