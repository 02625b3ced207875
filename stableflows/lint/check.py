"""A file and the packs that it names, looked through by every rule."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stableflows.config import PipelineConfig
from stableflows.config.base import PROMPT_FIELDS
from stableflows.config.flat import STAGES
from stableflows.config.layers import Layer, merge, written_at
from stableflows.errors import InputError, InvalidInputs, Where
from stableflows.items import default_layer, job_wide
from stableflows.lint.finding import Finding, Report, Rule, Severity, of_error, of_remark
from stableflows.lint.prompts import faults_of
from stableflows.lint.settings import Written, idle_settings
from stableflows.packs import read_sources
from stableflows.packs.files import read_text
from stableflows.packs.model import PackEntry, PromptPack, Source
from stableflows.packs.sources import READERS, pack_files
from stableflows.prompts.model import MOST_PROMPTS
from stableflows.prompts.resolve import Around, Resolver, told
from stableflows.sequencer import StageSequencer

__all__ = ["lint"]

LINES_OF_AN_ENTRY = 40
"""So far a piece of a prompt is looked for from where its entry begins."""


def lint(name: str | Path) -> Report:
    """All that is to be said of the file, or the files, of this name or pattern."""
    try:
        files, left_out = pack_files(name)
        for file in files:
            read_text(file)
            if file.suffix.lower() not in READERS:
                read_sources([file])
    except InputError as error:
        return Report(findings=tuple(of_error(error, Rule.UNREADABLE)), readable=False)
    findings = [*map(of_remark, left_out), *(finding for file in files for finding in _lint(file))]
    unique = dict.fromkeys(findings)
    return Report(findings=tuple(sorted(unique, key=lambda each: (each.file, each.line or 0))))


def _lint(file: Path) -> Iterator[Finding]:
    try:
        source = read_sources([file])
        above = job_wide(source)
    except InputError as error:
        return iter(of_error(error))
    return _Check(source, above).findings()


class _Check:
    """One file's packs under all rules."""

    def __init__(self, source: Source, above: list[Layer]) -> None:
        self._source = source
        self._above = above
        self._written: list[Written] = []
        self._first: dict[tuple[str, ...], Where] = {}
        self._lines: dict[Path, list[str]] = {}
        self._resolver = Resolver(seed=source.seed, sweep=source.sweep)

    def findings(self) -> Iterator[Finding]:
        yield from map(of_remark, self._source.warnings)
        for pack in self._source.packs:
            yield from self._of_pack(pack)
        yield from idle_settings(self._written)

    def _of_pack(self, pack: PromptPack) -> Iterator[Finding]:
        for side in ("prompt", "negative_prompt"):
            where = Where(pack.file, None, f"globals.{side}")
            yield from self._of_text(getattr(pack.globals, side), where, positive=side == "prompt")
        alike: dict[bool, Written] = {}
        for entry in pack.entries:
            # Many entries have no settings of their own.
            written = None if entry.layers else alike.get(bool(entry.inputs))
            try:
                written = written or self._settings(pack, entry)
            except InputError as error:
                yield from of_error(_placed(error, entry), Rule.INVALID_SETTING)
                continue
            if not entry.layers:
                alike[bool(entry.inputs)] = written
            yield from self._of_prompts(entry, written)
            yield from self._of_drawing(pack, entry)
            yield from self._repeated(entry, written)

    def _settings(self, pack: PromptPack, entry: PackEntry) -> Written:
        """The settings of an entry.

        Raises:
            InputError: they are wrong, or make no plan.
        """
        layers = [*self._below(entry), *pack.layers, *entry.layers, *self._above]
        config = merge(layers)
        StageSequencer().build_plan(config)
        self._written.append(Written(config, written_at(layers[1:]), entry.where))
        return self._written[-1]

    def _below(self, entry: PackEntry) -> list[Layer]:
        return [default_layer(entry.inputs), *self._source.pipeline]

    def _of_drawing(self, pack: PromptPack, entry: PackEntry) -> Iterator[Finding]:
        """Slots, wildcards, variables and styles that there are not."""
        try:
            total = self._resolver.count(pack, entry, Around(self._below(entry), self._above))
        except InputError as error:
            yield from of_error(error, Rule.UNRESOLVED)
            return
        if total > MOST_PROMPTS:
            message = f"stands for {told(total)} prompts; at most {MOST_PROMPTS:,} are rendered"
            mend = "give a limit: `matrix: {limit: 100}` or `prompts: {limit: 100}`"
            yield Finding.at(entry.where, Rule.UNRESOLVED, Severity.ERROR, message, mend)

    def _of_prompts(self, entry: PackEntry, written: Written) -> Iterator[Finding]:
        for side in ("prompt", "negative_prompt"):
            yield from self._of_text(getattr(entry, side), entry.where, positive=side == "prompt")
        for path, part in _parts(written.config):
            for side in PROMPT_FIELDS:
                if text := getattr(part, side, None):
                    where = written.place(f"{path}.{side}")
                    yield from self._of_text(text, where, positive="negative" not in side)

    def _of_text(self, text: str, where: Where, *, positive: bool) -> Iterator[Finding]:
        for rule, severity, message, mend, piece in faults_of(text, positive=positive):
            at = Where(where.file, self._line_of(piece, where), where.field)
            yield Finding.at(at, rule, severity, message, mend)

    def _line_of(self, piece: str, where: Where) -> int | None:
        """The line on which a piece of a prompt stands, from where its entry begins; else the entry's own."""
        if where.file is None or not piece:
            return where.line
        if where.file not in self._lines:
            self._lines[where.file] = read_text(where.file).split("\n")
        lines = self._lines[where.file]
        start = (where.line or 1) - 1
        near = range(start, min(start + LINES_OF_AN_ENTRY, len(lines)))
        return next((number + 1 for number in near if piece in lines[number]), where.line)

    def _repeated(self, entry: PackEntry, written: Written) -> Iterator[Finding]:
        if -1 in (written.config.txt2img.seed, self._source.first_seed):
            return  # drawn anew for each
        content = (entry.prompt, entry.negative_prompt, written.content, *map(str, entry.inputs))
        earlier = self._first.setdefault(content, entry.where)
        if earlier is not entry.where:
            place = f"line {earlier.line}" if earlier.file == entry.where.file else str(earlier)
            message = f"is the same as the entry on {place}, and gives the same picture"
            mend = "give it a seed of its own, or a count of 2 to the first"
            yield Finding.at(entry.where, Rule.DUPLICATE, Severity.WARNING, message, mend)


def _placed(error: InputError, entry: PackEntry) -> InputError:
    if str(error.where) or isinstance(error, InvalidInputs):
        return error
    return InputError(error.message, where=entry.where, allowed=error.allowed, value=error.value)


def _parts(config: PipelineConfig) -> Iterator[tuple[str, object]]:
    """What may have prompts of its own."""
    yield from ((stage, getattr(config, stage)) for stage in STAGES)
    yield "txt2img.hires", config.txt2img.hires
    yield from ((f"adetailer.units.{number}", unit) for number, unit in enumerate(config.adetailer.units))
