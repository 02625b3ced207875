"""The native form of a pack: a mapping with `entries`, in YAML or JSON.

id: lighthouse                       # optional; default: the file's stem
name: Lighthouses                    # optional; default: the id
globals: {prompt: ..., negative_prompt: ...}
config:                              # for every entry: a diff of the pipeline config, nested or flat
  txt2img: {enabled: true, steps: 24}
entries:
  - a lighthouse at dusk             # a text is an entry
  - prompt: a lighthouse in fog
    negative_prompt: text, watermark
    name: fog
    count: 2                         # images; short for config.count
    inputs: [relative/to/this.png]   # what the first stage continues; patterns too
    config: {txt2img: {seed: 7}}     # wins over the pack's config
    styles: [ink]                    # beside the pack's

prompts, matrix, wildcards, styles, styles_file, negatives, sweep: see `stableflows.prompts.model`. An entry
may have prompts, styles and sweep.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, JsonValue, ValidationError, field_validator, model_validator

from stableflows.config.layers import Layer, explain
from stableflows.errors import InputError
from stableflows.packs.document import Document, kind
from stableflows.packs.fields import Around, Label, Names, Read, Settings, gather, input_files
from stableflows.packs.model import Globals, PackEntry, PromptPack, Source
from stableflows.packs.settle import settle
from stableflows.prompts.model import Drawing, Language, Matrix, Sweep

__all__ = ["ENTRY_KEYS", "read_pack"]


class _Entry(Read):
    prompt: str = ""
    negative_prompt: str = ""
    name: Label | None = None
    count: JsonValue = None
    inputs: Names = ()
    config: Settings = Field(default_factory=dict)
    prompts: Drawing | None = None
    styles: Names = ()
    sweep: Sweep = Sweep()

    @model_validator(mode="before")
    @classmethod
    def _text_is_a_prompt(cls, data: Any) -> Any:
        if data is None:
            raise ValueError("is empty")
        if isinstance(data, str):
            return {"prompt": data}
        if isinstance(data, dict) and len(data) == 1:
            (key,) = data
            if " " in key and key not in cls.model_fields:
                raise ValueError(
                    f"is read as a mapping with the key {key!r}; a prompt with ': ' in it must be in quotes"
                )
        return data

    @model_validator(mode="after")
    def _renders_something(self) -> _Entry:
        if not self.prompt and not self.inputs:
            raise ValueError("has neither a prompt nor inputs")
        return self


ENTRY_KEYS = tuple(_Entry.model_fields)
"""What an entry may say."""


class _Pack(Read):
    id: Label | None = None
    name: Label | None = None
    globals: Around = Globals()
    config: Settings = Field(default_factory=dict)
    prompts: Drawing = Drawing()
    matrix: Matrix = Matrix()
    wildcards: Names | None = None
    styles: Names = ()
    styles_file: str | None = None
    negatives: dict[str, str] = Field(default_factory=dict)
    sweep: Sweep = Sweep()
    entries: tuple[_Entry, ...]

    @field_validator("entries", mode="before")
    @classmethod
    def _is_a_list(cls, value: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError(f"must be a list, each entry beginning with '- ', not {kind(value)}")
        if not value:
            raise ValueError("is empty; a pack has at least one entry")
        return value


def read_pack(document: Document) -> Source:
    """The pack that `document` holds.

    Raises:
        InvalidInputs: everything that is wrong in it, but for the settings themselves, which can only be
            judged when all layers are known (`config.layers.merge`).
    """
    document, errors = settle(document)
    try:
        pack = _Pack.model_validate(document.data)
    except ValidationError as error:
        raise gather([*errors, *explain(error, _Pack, layer=document.layer())]) from None
    entries = tuple(_entry(document, index, entry, errors) for index, entry in enumerate(pack.entries))
    if errors:
        raise gather(errors)
    pack_id = pack.id or document.file.stem
    layers = (document.layer("config"),) if pack.config else ()
    return Source(
        (
            PromptPack(
                pack_id,
                pack.name or pack_id,
                entries,
                document.file,
                layers,
                pack.globals,
                language=_language(pack, document),
            ),
        )
    )


def _language(pack: _Pack, document: Document) -> Language:
    folder = document.file.parent.absolute()
    return Language(
        prompts=pack.prompts,
        matrix=pack.matrix,
        wildcards=None if pack.wildcards is None else tuple(folder / name for name in pack.wildcards),
        styles=pack.styles,
        styles_file=folder / pack.styles_file if pack.styles_file else None,
        negatives=pack.negatives,
        sweep=pack.sweep,
    )


def _entry(document: Document, index: int, entry: _Entry, errors: list[InputError]) -> PackEntry:
    at = ("entries", index)
    layers: list[Layer] = [document.layer(*at, "config")] if entry.config else []
    if entry.count is not None:
        if entry.config.get("count", entry.count) != entry.count:
            errors.append(
                InputError(
                    f"says {entry.count!r}, but config.count is the same setting and says "
                    f"{entry.config['count']!r}; keep one.",
                    where=document.where(*at, "count"),
                )
            )
        layers.append(Layer({"count": entry.count}, file=document.file, lines=document.lines, prefix=at))
    return PackEntry(
        prompt=entry.prompt,
        negative_prompt=entry.negative_prompt,
        name=entry.name,
        layers=tuple(layers),
        inputs=input_files(entry.inputs, document.file.parent, document.where(*at, "inputs"), errors),
        where=document.where(*at),
        styles=entry.styles,
        drawing=entry.prompts,
        sweep=entry.sweep,
    )
