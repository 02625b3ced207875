"""What a pack says of its prompts beyond their text: how to draw, slots, styles, sweeps.

    prompts: {mode: random, limit: 3, seed: -1}   # dynamic prompts: {a|b}, __wildcard__, ${variable}
    wildcards: my-wildcards                       # a folder; several in a list
    styles: [ink]                                 # from styles.csv, or styles_file
    negatives: {winter: green leaves}             # added to the negative prompt when `winter` was chosen
    matrix:                                       # [[slot]] in a prompt
      mode: fanout                                # or random, sequential, rotate
      limit: 12
      slots: {hair: [red, black], sky: {clear: clouds, grey: ''}}    # value, or value: its negative text
      replace: [old => a | b]
    sweep:                                        # an axis an item; fields of one item move together
      - checkpoint: [a, b]
      - {txt2img.steps: [20, 30], txt2img.cfg_scale: [5, 7]}

The models take each part as it is written there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from stableflows.config.base import Strict
from stableflows.config.generation import Seed

__all__ = ["MOST_PROMPTS", "Drawing", "Language", "Matrix", "Replace", "Slot", "Sweep"]

MOST_PROMPTS = 100_000
"""Entries that a job may resolve to; a night renders some hundreds."""

Limit = Annotated[int, Field(ge=1, le=MOST_PROMPTS)]


class Drawing(Strict):
    """How dynamic prompts become prompts: the key `prompts` of a pack or an entry."""

    mode: Literal["random", "combinatorial", "off"] = "random"
    """off: every prompt is rendered as it stands."""
    limit: Limit | None = None
    """Prompts of an entry, or of each of its matrix combinations. Left out: 1, or all if combinatorial."""
    seed: Seed | None = None
    """Left out: follows from the job's seed and the entry's prompts. -1: drawn anew when a pack is read."""


def _text(value: Any) -> Any:
    """A number that stands where a text does, as YAML reads `[1, 2]`."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class Slot(Strict):
    """A name that stands in prompts as `[[name]]`, and what can stand there."""

    name: Annotated[str, Field(min_length=1, pattern=r"^[^\[\]|:,()<>{}\n]+$")]
    values: Annotated[tuple[str, ...], Field(min_length=1)]
    negatives: dict[str, str] = Field(default_factory=dict)
    """What is added to the negative prompt when a value is chosen, by value."""

    @model_validator(mode="before")
    @classmethod
    def _values_may_have_negatives(cls, data: Any) -> Any:
        """`values: {red: negative}` and `values: [blue, {red: negative}]` as values and negatives."""
        if not isinstance(data, Mapping) or "negatives" in data:
            return data
        written = data.get("values")
        if isinstance(written, Mapping):
            written = [{value: negative} for value, negative in written.items()]
        if not isinstance(written, list | tuple):
            return data
        pairs = [
            next(iter(each.items())) if isinstance(each, Mapping) and len(each) == 1 else (each, None)
            for each in written
        ]
        texts = [(_text(value), negative) for value, negative in pairs]
        negatives = {value: negative for value, negative in texts if isinstance(value, str) and negative}
        return {**data, "values": [value for value, _ in texts], "negatives": negatives}


class Replace(Strict):
    """Search and replace: wherever `old` stands in a prompt, one of `values` does. Written `old => a | b`."""

    old: Annotated[str, Field(min_length=1)]
    values: Annotated[tuple[str, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        old, arrow, values = data.partition("=>")
        if not arrow or not old.strip():
            raise ValueError(f"{data!r} is no replacement; write it as: old => one | another")
        return {"old": old, "values": [value.strip() for value in values.split("|")]}


class Matrix(Strict):
    """The slots of a pack, and which combinations of their values an entry gets.

    random: `limit` (default 1) combinations, without repetition. fanout: all, or `limit` of them, spread over
    all. sequential: the entries of a pack take the combinations in turn, `limit` (default 1) each, none
    twice before all were taken. rotate: likewise, but every slot moves to its next value at each step.
    """

    enabled: bool = True
    mode: Literal["random", "fanout", "sequential", "rotate"] = "fanout"
    limit: Limit | None = None
    slots: tuple[Slot, ...] = ()
    replace: tuple[Replace, ...] = ()

    @field_validator("slots", mode="before")
    @classmethod
    def _slots_by_name(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return [{"name": name, "values": values} for name, values in value.items()]
        return value

    @field_validator("slots")
    @classmethod
    def _each_slot_once(cls, value: tuple[Slot, ...]) -> tuple[Slot, ...]:
        names = [slot.name for slot in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the slot {name!r} stands here twice")
        return value


class Sweep(Strict):
    """Config fields over lists of values: zipped within a group, the product between groups."""

    groups: tuple[dict[str, tuple[JsonValue, ...]], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_a_list(cls, data: Any) -> Any:
        if isinstance(data, list | tuple):
            return {"groups": data}
        if isinstance(data, Mapping) and "groups" not in data:
            if len(data) > 1:
                raise ValueError(
                    f"has several fields: {', '.join(map(str, data))}; write '- ' before each for every "
                    "combination, or '- ' before the first alone, if they move together"
                )
            return {"groups": [data] if data else []}
        return data

    @field_validator("groups")
    @classmethod
    def _groups_are_whole(
        cls, value: tuple[dict[str, tuple[JsonValue, ...]], ...]
    ) -> tuple[dict[str, tuple[JsonValue, ...]], ...]:
        seen: set[str] = set()
        for group in value:
            lengths = {field: len(values) for field, values in group.items()}
            if not group or 0 in lengths.values():
                raise ValueError("each axis needs a field and a list with at least one value")
            if len(set(lengths.values())) > 1:
                told = ", ".join(f"{field} {length}" for field, length in lengths.items())
                raise ValueError(f"fields of one axis move together, but have lists of other lengths: {told}")
            if twice := seen & group.keys():
                raise ValueError(f"{', '.join(sorted(twice))} is swept twice")
            seen |= group.keys()
        return value

    def __bool__(self) -> bool:
        return bool(self.groups)


class Language(Strict):
    """All that a pack says of its prompts. Paths are absolute."""

    prompts: Drawing = Drawing()
    matrix: Matrix = Matrix()
    wildcards: tuple[Path, ...] | None = None
    """Folders. None: `wildcards` beside the pack, and in the current folder."""
    styles: tuple[str, ...] = ()
    """Names of styles for every entry."""
    styles_file: Path | None = None
    """None: `styles.csv` beside the pack, or in the current folder."""
    negatives: dict[str, str] = Field(default_factory=dict)
    """What is added to the negative prompt when a value is chosen, by value."""
    sweep: Sweep = Sweep()
