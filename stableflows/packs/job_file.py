"""Job files and pack lists: a mapping with `packs`, in JSON or YAML.

    {"packs": ["a.txt", "b/*.yaml"]}                          a pack list
    {"packs": [...], "pipeline": {...}, "run_config": {...}}  a job file; also name and seed,
                                                              and settings, first_seed: above the packs

A member of `packs` is a path or pattern relative to the file, or one entry with its config:
`{pack_id, name, entry: {prompt, negative_prompt, name, globals, inputs}, config_snapshot}`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from stableflows.config.generation import Seed
from stableflows.config.layers import explain
from stableflows.errors import InputError, Where
from stableflows.packs.document import Document, kind
from stableflows.packs.fields import Around, Label, Names, Read, Settings, gather, input_files
from stableflows.packs.model import Globals, PackEntry, PromptPack, Source
from stableflows.packs.settle import settle
from stableflows.prompts.model import Sweep

__all__ = ["JobFile", "NamedPack", "read_job"]


@dataclass(frozen=True)
class NamedPack:
    """A pack that a job file or pack list names: a path or pattern relative to the file."""

    pattern: str
    where: Where


@dataclass(frozen=True)
class JobFile:
    """A job file or a pack list whose packs are not read yet.

    Attributes:
        source: what it says beyond its packs.
        stands_alone: it says something of the whole job, and so cannot be put together with other packs.
    """

    packs: tuple[NamedPack | PromptPack, ...]
    source: Source
    stands_alone: bool


class _ItemEntry(Read):
    prompt: str = ""
    negative_prompt: str = ""
    name: Label | None = None
    globals: Around = Globals()
    inputs: Names = ()


class _Item(Read):
    pack_id: Label | None = None
    name: Label | None = None
    entry: _ItemEntry = _ItemEntry()
    config_snapshot: Settings = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _id_is_the_pack_id(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "id" not in data:
            return data
        if data.get("pack_id", data["id"]) != data["id"]:
            raise ValueError("has both id and pack_id, and they differ; keep pack_id")
        rest = {key: value for key, value in data.items() if key != "id"}
        return {**rest, "pack_id": data["id"]}


class _Job(Read):
    packs: tuple[Any, ...]
    pipeline: Settings = Field(default_factory=dict)
    run_config: Settings = Field(default_factory=dict)
    settings: Settings = Field(default_factory=dict)
    first_seed: Seed | None = None
    name: Label | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    sweep: Sweep = Sweep()

    @field_validator("packs", mode="before")
    @classmethod
    def _is_a_list(cls, value: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError(f"must be a list of packs, not {kind(value)}")
        return value


def read_job(document: Document) -> JobFile:
    """The job or pack list that `document` holds.

    Raises:
        InvalidInputs: everything that is wrong in it, but for the settings in `pipeline`, `run_config`
            and `config_snapshot`, and for the packs that it names.
    """
    document, errors = settle(document)
    try:
        job = _Job.model_validate(document.data)
    except ValidationError as error:
        raise gather([*errors, *explain(error, _Job, layer=document.layer())]) from None
    packs = [_pack(document, index, one, errors) for index, one in enumerate(job.packs)]
    if errors:
        raise gather(errors)
    source = Source(
        packs=(),
        pipeline=(document.layer("pipeline"),) if job.pipeline else (),
        run_config=document.layer("run_config") if job.run_config else None,
        settings=document.layer("settings") if job.settings else None,
        first_seed=job.first_seed,
        name=job.name or document.file.stem,
        seed=job.seed,
        sweep=job.sweep,
    )
    found = tuple(pack for pack in packs if pack is not None)
    return JobFile(found, source, stands_alone=job.model_fields_set != {"packs"})


def _pack(
    document: Document, index: int, one: Any, errors: list[InputError]
) -> NamedPack | PromptPack | None:
    at = ("packs", index)
    if isinstance(one, str) and one.strip():
        return NamedPack(one.strip(), document.where(*at))
    if isinstance(one, dict):
        return _item(document, index, errors)
    errors.append(
        InputError(
            f"must be a pack's path, or a mapping with `entry`, not {kind(one)}.",
            where=document.where(*at),
        )
    )
    return None


def _item(document: Document, index: int, errors: list[InputError]) -> PromptPack | None:
    at = ("packs", index)
    layer = document.layer(*at)
    try:
        item = _Item.model_validate(dict(layer.values))
    except ValidationError as error:
        errors += explain(error, _Item, layer=layer)
        return None
    # The prompt may stand in the config; the entry's own wins.
    config = dict(item.config_snapshot)
    prompts = {field: config.pop(field, None) for field in ("prompt", "negative_prompt")}
    prompt = item.entry.prompt or (prompts["prompt"] or "").strip()
    if not prompt and not item.entry.inputs:
        errors.append(InputError("has neither a prompt nor inputs.", where=document.where(*at)))
    where = document.where(*at, "entry", "inputs")
    entry = PackEntry(
        prompt=prompt,
        negative_prompt=item.entry.negative_prompt or (prompts["negative_prompt"] or "").strip(),
        name=item.entry.name,
        layers=(replace(document.layer(*at, "config_snapshot"), values=config),) if config else (),
        inputs=input_files(item.entry.inputs, document.file.parent, where, errors),
        where=document.where(*at),
    )
    pack_id = item.pack_id or item.name or document.file.stem
    return PromptPack(pack_id, item.name or pack_id, (entry,), document.file, globals=item.entry.globals)
