"""A job expanded: every entry with its whole plan and its seed. After this nothing is random.

Source (pack files) --read_job--> Job --expand--> Entry...
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stableflows.config import ADetailerConfig, PipelineConfig, Txt2ImgConfig
from stableflows.config.generation import Sampling
from stableflows.config.layers import Layer, merge, merge_values
from stableflows.embeddings import bare_embeddings
from stableflows.errors import InputError, InvalidInputs, Places, Where
from stableflows.inputs import REFERENCE, InputImage, InputImages
from stableflows.items import ItemReader, bound_layer, default_layer, placed
from stableflows.job import EntrySpec, Job, JobItem, Lora, RunConfig
from stableflows.packs.model import PackEntry, PromptPack, Source
from stableflows.payload import Texts
from stableflows.prompts.model import Sweep
from stableflows.prompts.resolve import Resolver
from stableflows.prompts.sweep import STYLES, together
from stableflows.run.name_template import NameTemplate
from stableflows.seeds import Draw, SeedChoice, choose
from stableflows.sequencer import StageSequencer
from stableflows.stages import StageExecution, StageExecutionPlan

__all__ = ["Entry", "entry_config", "expand", "place_of", "read_job", "with_loras"]


MAX_IMAGES = 100_000
"""In one job: weeks of rendering, and a plan of about a gigabyte in memory."""


@dataclass(frozen=True)
class Entry:
    """One prompt, ready to be rendered.

    Attributes:
        index: its place in the job, from 0.
        count: images it begins with (an input image, if it has inputs).
        seed: of its first image; None if its first stage needs none (upscale through extras).
        subseed: variation seed, if its first stage has a subseed_strength above 0.
        places: the file and lines it came from, for messages.
        names: by which its finished images are called; None: as usual.
    """

    index: int
    item: JobItem
    texts: Texts
    plan: StageExecutionPlan
    count: int
    seed: SeedChoice | None
    subseed: SeedChoice | None
    inputs: tuple[InputImage, ...] = ()
    places: Places = field(default_factory=Places)
    names: NameTemplate | None = None

    @property
    def title(self) -> str:
        """What a person knows it by."""
        return self.item.entry.name or " ".join(self.item.entry.prompt.split()) or "(no prompt)"


def read_job(
    source: Source,
    *,
    images: InputImages,
    settings: Sequence[Layer] = (),
    run_config: RunConfig | None = None,
    inputs: Sequence[Path] = (),
    first_seed: int | None = None,
    sweep: Sweep | None = None,
    wildcards: Sequence[Path] = (),
) -> tuple[Job, tuple[Places, ...]]:
    """The job that pack files and a command line make together, checked, and where each entry stands.

    Args:
        images: takes up every image that the job names.
        settings: layers above all others, those of the command line.
        inputs: images that every entry without inputs of its own continues.
        first_seed: of every entry's first image, in place of what packs say.
        sweep: of every entry, beside those of job file and packs.
        wildcards: folders that are looked in before those of the packs.

    Raises:
        InvalidInputs: everything that is wrong with it, each with file, line and field.
    """
    wanted = run_config or (RunConfig.read(source.run_config) if source.run_config else RunConfig())
    _refuse_too_many(sum(len(pack.entries) for pack in source.packs), "entries")
    reading = ItemReader(
        source,
        images,
        above=[Layer(wanted.settings(), "run_config"), *(bound_layer(layer, images) for layer in settings)],
        inputs=tuple(inputs),
        resolver=Resolver(source.seed, wildcards, together([source.sweep, sweep or Sweep()], Where())),
        finished_images=wanted.prompt_source == "image",
    )
    errors: list[InputError] = []
    found: list[tuple[JobItem, Places]] = []
    for pack, entry in _entries(source):
        try:
            for each in reading.items(pack, entry):
                found.append(each)
                _refuse_too_many(len(found), "entries")
        except InvalidInputs as error:
            errors += error.errors
        except InputError as error:
            errors.append(error)
    errors += _name_faults(source, found, settings)
    if errors:
        raise InvalidInputs(list({str(error): error for error in errors}.values()))
    job = Job(
        name=source.name or (source.packs[0].name if source.packs else "empty"),
        packs=tuple(item for item, _ in found),
        pipeline=merge_values([bound_layer(layer, images) for layer in source.pipeline]),
        settings=merge_values([bound_layer(layer, images) for layer in settings]),
        run_config=wanted,
        seed=source.seed,
        first_seed=first_seed,
    )
    return job, tuple(places for _, places in found)


def expand(job: Job, *, images: InputImages, draw: Draw, places: Sequence[Places] = ()) -> tuple[Entry, ...]:
    """Every entry of a job with its plan and seeds.

    Raises:
        InvalidInputs: entries that cannot be rendered, each with where it stands.
    """
    _refuse_too_many(len(job.packs), "entries")
    errors: list[InputError] = []
    entries: list[Entry] = []
    planned = _Planned(job)
    for index in range(len(job.packs)):
        at = places[index] if places else Places(Where(field=f"packs.{index}"))
        try:
            entries.append(_expand_one(job, index, planned, images=images, draw=draw, places=at))
        except InvalidInputs as error:
            errors += error.errors
        except InputError as error:
            errors.append(error if str(error.where) else placed(error, at.entry))
    if errors:
        raise InvalidInputs(list({str(error): error for error in errors}.values()))
    _refuse_too_many(sum(entry.count * max(1, len(entry.inputs)) for entry in entries), "images")
    return tuple(entries)


def _refuse_too_many(count: int, what: str) -> None:
    if count > MAX_IMAGES:
        raise InvalidInputs(
            [InputError(f"the job has {count} {what}; at most {MAX_IMAGES} are read at once.")]
        )


def _name_faults(
    source: Source, found: Sequence[tuple[JobItem, Places]], settings: Sequence[Layer]
) -> list[InputError]:
    """What is wrong with the templates of names. Fields may be whatever was drawn anywhere in the job."""
    above, below = (merge_values(layers).get("names") for layers in (settings, source.pipeline))
    chosen = {name for item, _ in found for name in item.chosen}
    errors: dict[str, InputError] = {}
    for item, places in found:
        template = above or item.config_snapshot.get("names") or below
        if isinstance(template, str) and template not in errors:
            try:
                NameTemplate.read(template, places.of("names")).refuse_unknown(chosen, places.of("names"))
            except InputError as error:
                errors[template] = error
    return list(errors.values())


def _entries(source: Source) -> Iterator[tuple[PromptPack, PackEntry]]:
    for pack in source.packs:
        for entry in pack.entries:
            yield pack, entry


class _Planned:
    """The config and plan of a job's entries. Those with the same settings share them: to make them takes
    most of the time in which a large job is read."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._known: dict[str, tuple[PipelineConfig, StageExecutionPlan]] = {}

    def of(self, item: JobItem) -> tuple[PipelineConfig, StageExecutionPlan]:
        """Raises: InputError: they make no plan."""
        with_inputs = bool(item.entry.inputs)
        settings = json.dumps([with_inputs, item.config_snapshot], sort_keys=True)
        if settings not in self._known:
            config = merge(_stack(self._job, item))
            finished = self._job.run_config.prompt_source == "image" and with_inputs
            plan = StageSequencer().build_plan(config, of_finished_images=finished)
            self._known[settings] = config, plan
        return self._known[settings]


def _expand_one(
    job: Job, index: int, planned: _Planned, *, images: InputImages, draw: Draw, places: Places
) -> Entry:
    item = job.packs[index]
    config, plan = planned.of(item)
    inputs = tuple(images[reference.removeprefix(REFERENCE)] for reference in item.entry.inputs)
    _refuse_unrenderable(plan, item, inputs, places.entry)
    content = (*_words(item.entry), *(image.sha256 for image in inputs))

    def seed_of(configured: int | None, name: str) -> SeedChoice:
        return choose(configured, job_seed=job.seed, content=content, name=f"{index}/{name}", draw=draw)

    first = plan.stages[0].generation
    configured = job.first_seed if job.first_seed is not None or first is None else first.seed
    seed = seed_of(configured, "seed") if first else None
    subseed = seed_of(first.subseed, "subseed") if first and first.subseed_strength else None
    return Entry(
        index=index,
        item=item,
        texts=_texts(item.entry, job.run_config.loras),
        plan=StageExecutionPlan(
            stages=tuple(
                _with_job_loras(stage, job.run_config.loras)
                for stage in (
                    _with(plan.stages[0], seed=seed, subseed=subseed),
                    *(_with_draws(stage, seed_of) for stage in plan.stages[1:]),
                )
            )
        ),
        count=config.count,
        seed=seed,
        subseed=subseed,
        inputs=inputs,
        places=places,
        names=NameTemplate.read(config.names) if config.names else None,
    )


def _words(entry: EntrySpec) -> tuple[str, ...]:
    """What makes an entry this entry. Points of a sweep that differ in their styles are to be compared, and
    so have one seed."""
    swept = entry.sweep and any(STYLES in axis for axis in entry.sweep.axes)
    return (entry.sweep.of,) if entry.sweep and swept else (entry.prompt, entry.negative_prompt)


def _stack(job: Job, item: JobItem) -> list[Layer]:
    """The layers of an entry, lowest first."""
    return [
        default_layer(item.entry.inputs),
        Layer(job.pipeline, "pipeline"),
        Layer(item.config_snapshot, "config_snapshot"),
        Layer(job.run_config.settings(), "run_config"),
        Layer(job.settings, "settings"),
    ]


def entry_config(job: Job, entry: Entry) -> dict[str, Any]:
    """An entry's merged config in the nested form, as plain data, with its prompts and its seed."""
    config = merge(_stack(job, entry.item)).model_dump(mode="json", exclude_none=True)
    prompts = {"prompt": entry.texts.prompt, "negative_prompt": entry.texts.negative_prompt}
    return {**config, **prompts, "seed": entry.seed.value if entry.seed else None}


def place_of(entry: Entry, name: str) -> Where:
    """Where a setting was written; one that a stage inherited, where that stage has it from."""
    stage, _, setting = name.partition(".")
    keys = [execution.config_key for execution in entry.plan if execution.generation]
    before = keys[: keys.index(stage) + 1][::-1] if stage in keys else []
    for candidate in (*(f"{key}.{setting}" for key in before), setting):
        if setting in Sampling.model_fields and candidate in entry.places.fields:
            return entry.places.fields[candidate]
    return entry.places.of(name)


def _with_draws(stage: StageExecution, seed_of: Callable[[int | None, str], SeedChoice]) -> StageExecution:
    """A later stage with its own draws made; without one, it takes the seed of the image it continues."""
    config = stage.generation
    if config is None:
        return stage
    seed = seed_of(-1, f"{stage.config_key}.seed") if config.seed == -1 else None
    subseed = seed_of(config.subseed, f"{stage.config_key}.subseed") if config.subseed_strength else None
    return _with(stage, seed=seed, subseed=subseed)


def _with(stage: StageExecution, **chosen: SeedChoice | None) -> StageExecution:
    values = {name: choice.value for name, choice in chosen.items() if choice}
    return stage.model_copy(update={"config": stage.config.model_copy(update=values)}) if values else stage


def _refuse_unrenderable(
    plan: StageExecutionPlan, item: JobItem, inputs: Sequence[InputImage], where: Where
) -> None:
    if plan.is_empty():
        raise InputError(
            "no stage is enabled, so there is nothing to render; enable one, for instance with "
            "--stages txt2img or txt2img: {enabled: true}.",
            where=where,
        )
    first = plan.stages[0].stage_type
    if plan.needs_input_images and not inputs:
        raise InputError(
            f"the first stage is {first}, which continues images, and there are none; "
            "name some (inputs: in the pack, --input on the command line) or enable txt2img.",
            where=where,
        )
    if inputs and not plan.needs_input_images:
        raise InputError(
            "has input images, but its first stage is txt2img, which takes none; "
            "leave txt2img out of the stages to continue the images.",
            where=where,
        )
    if not item.entry.prompt and any(stage.generation for stage in plan):
        raise InputError("has no prompt.", where=where)
    refiner = plan.stages[0]
    steps = refiner.generation.steps if refiner.generation else None
    if refiner.refiner_switch_step and steps and refiner.refiner_switch_step >= steps:
        raise InputError(
            f"txt2img.refiner.switch_step is {refiner.refiner_switch_step}, but there are only "
            f"{steps} steps, so the refiner would never take over.",
            where=where,
        )


def _texts(entry: EntrySpec, loras: Sequence[Lora]) -> Texts:
    own = with_loras(entry.prompt, loras)
    around = entry.globals
    return Texts(
        prompt=bare_embeddings(_joined(around.prompt, own)),
        negative_prompt=bare_embeddings(_joined(entry.negative_prompt, around.negative_prompt)),
        own_prompt=bare_embeddings(own),
        own_negative_prompt=bare_embeddings(entry.negative_prompt),
    )


def _joined(first: str, second: str) -> str:
    return f"{first.rstrip(', ')}, {second}" if first and second else first or second


def _with_job_loras(stage: StageExecution, loras: Sequence[Lora]) -> StageExecution:
    """The job's LoRAs in the positive prompts of a stage's own, too: hires, ADetailer units."""

    def extended(config: Any) -> Any:
        changes: dict[str, Any] = {
            field: with_loras(text, loras)
            for field in ("prompt", "ad_prompt")
            if (text := getattr(config, field, None))
        }
        if isinstance(config, Txt2ImgConfig):
            changes["hires"] = extended(config.hires)
        if isinstance(config, ADetailerConfig):
            changes["units"] = tuple(extended(unit) for unit in config.units)
        return config.model_copy(update=changes)

    return stage.model_copy(update={"config": extended(stage.config)}) if loras else stage


def with_loras(prompt: str, loras: Sequence[Lora]) -> str:
    """The prompt with each LoRA appended that does not stand in it."""
    for lora in loras:
        if not re.search(rf"<lora:{re.escape(lora.name)}(:[^>]*)?>", prompt):
            prompt = f"{prompt} {lora.tag}".strip()
    return prompt
