"""An entry of a pack as the prompts that it stands for. Everything random in a job but its seeds is here.

Draws follow from the job's seed and the entry's own words, so that an entry more changes no other.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from stableflows.config.layers import Layer
from stableflows.errors import InputError, Where
from stableflows.packs.model import Globals, PackEntry, PromptPack
from stableflows.packs.prompts import faults
from stableflows.prompts import sweep as sweeps
from stableflows.prompts.model import MOST_PROMPTS, Sweep
from stableflows.prompts.own import OwnPrompt, Place, own_prompts
from stableflows.prompts.styles import Style, read_styles
from stableflows.prompts.template import Template
from stableflows.prompts.wildcards import Wildcards
from stableflows.seeds import Draws, choose

__all__ = ["Around", "Resolved", "Resolver", "told"]


@dataclass(frozen=True)
class Resolved:
    """One of the prompts that an entry stands for, with nothing left to be chosen.

    Attributes:
        randomizer: what was chosen, by name, and the seed of the draw; None if there was no choice.
        point: of the sweep: for each axis its fields and values.
        sweep_of: the same for all points of one sweep, and for no other.
        own: the stages' own prompts that were drawn, by their place in the settings.
    """

    prompt: str
    negative_prompt: str
    globals: Globals
    randomizer: dict[str, Any] | None = None
    point: sweeps.Point = ()
    sweep_of: str | None = None
    own: Mapping[Place, str] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """What the sweep sets, in the nested form."""
        return sweeps.as_settings(self.point)


@dataclass(frozen=True)
class Around:
    """The settings around those of a pack, in which a stage's own prompts may stand, too.

    Attributes:
        below: the layers below the pack's.
        above: those above the entry's.
    """

    below: Sequence[Layer] = ()
    above: Sequence[Layer] = ()


NOTHING = Around()


@dataclass
class Resolver:
    """Resolves the entries of one job.

    Args:
        seed: the job's.
        wildcards: folders that are looked in before those of the packs.
        sweep: beside the packs' own.
        draw: gives the seeds of packs that say `prompts: {seed: -1}`.
    """

    seed: int = 0
    wildcards: Sequence[Path] = ()
    sweep: Sweep = field(default_factory=Sweep)
    draw: Draws = field(default_factory=Draws)

    def __post_init__(self) -> None:
        self._folders: dict[tuple[Path, ...], Wildcards] = {}
        self._styles: dict[Path, dict[str, Style]] = {}
        self._met: Counter[tuple[str, ...]] = Counter()
        self._taken: Counter[tuple[str, ...]] = Counter()
        self._numbers = count()

    def count(self, pack: PromptPack, entry: PackEntry, around: Around = NOTHING) -> int:
        """How many prompts an entry stands for, without making any; equal texts count as often as they come.

        Raises:
            InputError: a name that there is not, a template that cannot be read, ...
        """
        swept = self._sweep(pack, entry)
        own = _own(pack, entry, around, swept)
        styled = _styled(swept)
        per_style = sweeps.size(swept) // len(styled)
        return sum(per_style * self._template(pack, entry, styles, own).count() for styles in styled)

    def resolve(self, pack: PromptPack, entry: PackEntry, around: Around = NOTHING) -> Iterator[Resolved]:
        """The prompts that an entry stands for, one after another; no two are the same.

        Raises:
            InputError: as for `count`; or they are more than `MOST_PROMPTS`.
        """
        swept = self._sweep(pack, entry)
        own = _own(pack, entry, around, swept)
        template = self._template(pack, entry, _styled(swept)[0], own)
        if not template.is_dynamic and not swept:
            prompt, negative, *globals_ = template.written
            yield Resolved(prompt, negative, Globals(prompt=globals_[0], negative_prompt=globals_[1]))
            return
        # A template is costly to read; only styles that are swept make several.
        several = any(sweeps.STYLES in group for group in swept.groups)
        total = self.count(pack, entry, around) if several else template.count() * sweeps.size(swept)
        if total > MOST_PROMPTS:
            raise InputError(
                f"stands for {told(total)} prompts; at most {MOST_PROMPTS:,} are rendered. Give a limit: "
                f"{'`matrix: {limit: 100}`' if template.slots else '`prompts: {limit: 100}`'}.",
                where=entry.where,
            )
        seed = self._seed(pack, entry)
        if several:
            for point in sweeps.points(swept):
                styled = self._template(pack, entry, _styles_at(point), own)
                yield from self._written(styled, pack, entry, seed, [point])
        else:
            yield from self._written(template, pack, entry, seed, list(sweeps.points(swept)))
        if template.slots:
            self._taken[_slots_key(pack, template)] += template.combinations

    def _written(
        self,
        template: Template,
        pack: PromptPack,
        entry: PackEntry,
        seed: int,
        points: Sequence[sweeps.Point],
    ) -> Iterator[Resolved]:
        taken = self._taken[_slots_key(pack, template)]
        for number, written in enumerate(template.prompts(seed, taken=taken)):
            prompt, negative, around, negative_around = written.texts
            every = (*written.texts, *written.own.values())
            for fault in (fault for text in every for fault in faults(text, entry.where)):
                raise fault
            words = [pack.pack_id, entry.name, entry.prompt, entry.negative_prompt, *map(str, entry.inputs)]
            identity = hashlib.sha256(json.dumps([*words, number]).encode()).hexdigest()[:12]
            for point in points:
                swept = {name: value for axis in point for name, value in axis.items()}
                values = {**written.values, **swept}
                yield Resolved(
                    prompt=prompt.strip(),
                    negative_prompt=negative.strip(),
                    globals=Globals(prompt=around, negative_prompt=negative_around),
                    randomizer={"seed": written.seed, "values": values} if values else None,
                    point=point,
                    sweep_of=identity if swept else None,
                    own=written.own,
                )

    def _sweep(self, pack: PromptPack, entry: PackEntry) -> Sweep:
        return sweeps.together([self.sweep, pack.language.sweep, entry.sweep], entry.where)

    def _seed(self, pack: PromptPack, entry: PackEntry) -> int:
        drawing = entry.drawing or pack.language.prompts
        words = (entry.prompt, entry.negative_prompt)
        self._met[words] += 1
        # Who writes an entry twice wants to see two draws.
        again = (str(self._met[words]),) if self._met[words] > 1 else ()
        anew = drawing.seed == -1
        job_seed = self.seed if drawing.seed is None or anew else drawing.seed
        name = f"{next(self._numbers)}/prompts"
        choice = choose(
            -1 if anew else None, job_seed=job_seed, content=(*words, *again), name=name, draw=self.draw
        )
        return choice.value

    def _template(
        self, pack: PromptPack, entry: PackEntry, styles: Sequence[str], own: Sequence[OwnPrompt]
    ) -> Template:
        prompt, negative = entry.prompt, entry.negative_prompt
        for name in (*pack.language.styles, *entry.styles, *styles):
            prompt, negative = self._style(pack, name, entry.where).apply(prompt, negative)
        return Template(
            (prompt, negative, pack.globals.prompt, pack.globals.negative_prompt),
            entry.where,
            self._wildcards(pack),
            matrix=pack.language.matrix,
            drawing=entry.drawing or pack.language.prompts,
            negatives=pack.language.negatives,
            own=own,
        )

    def _wildcards(self, pack: PromptPack) -> Wildcards:
        named = pack.language.wildcards
        for folder in (*self.wildcards, *(named or ())):
            if not folder.is_dir():
                raise InputError(f"there is no folder of wildcards {folder}.", where=Where(pack.file))
        usual = [folder for folder in _beside(pack, "wildcards") if folder.is_dir()]
        folders = tuple(dict.fromkeys((*self.wildcards, *(usual if named is None else named))))
        if folders not in self._folders:
            self._folders[folders] = Wildcards(folders)
        return self._folders[folders]

    def _style(self, pack: PromptPack, name: str, where: Where) -> Style:
        file = pack.language.styles_file or next(
            (file for file in _beside(pack, "styles.csv") if file.is_file()), None
        )
        if file is None:
            raise InputError(
                f"there is no style {name!r}, for there is no styles.csv; name one with `styles_file: FILE`.",
                where=where,
            )
        if file not in self._styles:
            self._styles[file] = read_styles(file)
        if name not in self._styles[file]:
            raise InputError(
                f"there is no style {name!r} in {file}.",
                where=where,
                allowed=list(self._styles[file]),
                value=name,
            )
        return self._styles[file][name]


def _own(pack: PromptPack, entry: PackEntry, around: Around, sweep: Sweep) -> tuple[OwnPrompt, ...]:
    layers = (*around.below, *pack.layers, *entry.layers, *around.above)
    return own_prompts(layers, entry.where, sweep)


def told(number: int) -> str:
    """A count for people, however large."""
    if number < 10**15:
        return f"{number:,}"
    return f"about 10^{int(math.log10(number))}"


def _beside(pack: PromptPack, name: str) -> list[Path]:
    """Where something is looked for that nobody has named."""
    return [*([pack.file.absolute().parent / name] if pack.file else []), Path.cwd() / name]


def _slots_key(pack: PromptPack, template: Template) -> tuple[str, ...]:
    return (str(pack.file), pack.pack_id, *(slot.name for slot in template.slots))


def _styled(swept: Sweep) -> list[tuple[str, ...]]:
    """The styles of each point of a sweep over styles; none, if they are not swept."""
    values = next((group[sweeps.STYLES] for group in swept.groups if sweeps.STYLES in group), ((),))
    return [_names(value) for value in values]


def _names(value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"a sweep over styles has {value!r} where the name of a style is expected, or a list of names.",
            where=Where(field="sweep styles"),
        )
    return tuple(names)


def _styles_at(point: sweeps.Point) -> tuple[str, ...]:
    return next((_names(axis[sweeps.STYLES]) for axis in point if sweeps.STYLES in axis), ())
