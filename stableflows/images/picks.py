"""Finished images of an earlier run, as entries that make them again, or take them further.

Everything is taken from that run's plan.json: what was drawn, inherited, and read from the server's options.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stableflows.config.layers import Layer, merge_values
from stableflows.entries import with_loras
from stableflows.errors import InputError, Where
from stableflows.images.recipe import AS_IT_STANDS
from stableflows.images.sampling import sampled_stages, sampling_of
from stableflows.images.values import HASH
from stableflows.inputs import with_files
from stableflows.packs.model import PackEntry, PromptPack, Source
from stableflows.results import CallRecord, ImageRecord
from stableflows.run.chains import chains_of, latest
from stableflows.run.folder import RunFolder
from stableflows.run.plan_record import PlannedEntry, PlannedStage, PlanRecord
from stableflows.stages import StageType

__all__ = ["Pick", "finish", "finished_images", "recorded"]


ANY_HASH = re.compile(r" \[[0-9a-f]+\]$")
DEEPEST = 6
"""Folders of a name's template that are looked through for the run's own."""


@dataclass(frozen=True)
class Pick:
    """One finished image of a run.

    Attributes:
        number: among the run's finished images in the order of results.csv, from 1.
        entry: index of its entry in the run, from 0.
        index: of the image among the entry's, from 0.
    """

    number: int
    entry: int
    index: int
    image: ImageRecord


def finished_images(folder: RunFolder) -> list[Pick]:
    """The finished images of a run, in the order of results.csv.

    Raises:
        StableflowsError: its plan.json or calls.jsonl is missing or cannot be read.
    """
    return _Earlier.of(folder).finished()


def finish(
    folder: RunFolder, numbers: Sequence[int], stages: Sequence[StageType], settings: Mapping[str, Any]
) -> Source:
    """The picked images of a run, with stages added that it left out.

    What the run made is planned again, call for call, so that the store has it; only the added stages are
    sent. An image from a batch cannot be made alone: there the file itself is continued.

    Args:
        numbers: of the picks, from 1, as `finished_images` counts.
        stages: those to add; each must come after the last that the run made.
        settings: of the command line, which decide how the upscale stage works.

    Raises:
        InputError: there is no such image, or a stage comes before one that the run made, or is one of them.
    """
    run = _Earlier.of(folder)
    images = run.finished()
    if not images:
        raise InputError(f"the run in {folder.path} has no finished image.")
    missing = [number for number in numbers if not 1 <= number <= len(images)]
    if missing:
        raise InputError(
            f"there is no image {', '.join(map(str, missing))}; the run has the finished images 1 to "
            f"{len(images)}, a row each in {folder.csv_file}.",
            where=Where(field="--pick"),
        )
    picks = [images[number - 1] for number in dict.fromkeys(numbers)]
    packs = tuple(run.finish(pick, stages, settings) for pick in picks)
    return Source(packs, name=f"{run.plan.job.name} finished")


def recorded(file: Path) -> Source | None:
    """The entry that makes a picture of ours again, if it lies in the folder of its run; else None.

    Raises:
        StableflowsError: the run's plan.json or calls.jsonl cannot be read.
    """
    for place in list(file.parents)[:DEEPEST]:
        folder = RunFolder(place.parent, place.name)
        if folder.plan_file.is_file() and folder.calls_file.is_file():
            break
    else:
        return None
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    run = _Earlier.of(folder)
    for record in run.records.values():
        for place_in_call, image in enumerate(record.output.images if record.output else ()):
            if image.sha256 == sha256:
                pick = Pick(0, record.entry, record.index + place_in_call, image)
                entry = run.plan.entries[record.entry]
                until = next(
                    number
                    for number, stage in enumerate(entry.stages)
                    if stage.stage_type is record.stage_type
                )
                return Source((run.again(pick, entry.stages[: until + 1]),))
    return None


@dataclass(frozen=True)
class _Earlier:
    """An earlier run, and how each of its calls ended."""

    folder: RunFolder
    plan: PlanRecord
    records: Mapping[str, CallRecord]

    @classmethod
    def of(cls, folder: RunFolder) -> _Earlier:
        return cls(folder, folder.plan(), latest(folder.calls()))

    def finished(self) -> list[Pick]:
        found = [
            (number, chain.index, chain.final)
            for number, entry in enumerate(self.plan.entries)
            for chain in chains_of(
                entry, [self.records[call] for call in entry.calls if call in self.records]
            )
            if chain.final
        ]
        return [Pick(number, *one) for number, one in enumerate(found, start=1)]

    def finish(self, pick: Pick, stages: Sequence[StageType], settings: Mapping[str, Any]) -> PromptPack:
        """The pick, with stages behind those that made it."""
        entry = self.plan.entries[pick.entry]
        _refuse_order(entry, stages)
        further = Layer({stage.value: {"enabled": True} for stage in stages}, "--stages")
        if _batch(entry, pick):
            pack = self._continued(pick, stages, settings)
        else:
            pack = self.again(pick, entry.stages)
        [one] = pack.entries
        return replace(pack, entries=(replace(one, layers=(*one.layers, further)),))

    def again(self, pick: Pick, stages: Sequence[PlannedStage]) -> PromptPack:
        """The pick's entry with only this image, or with the batch that it was in, through these stages."""
        entry = self.plan.entries[pick.entry]
        begin, count = _batch(entry, pick) or (pick.index, 1)
        first = stages[0]
        variant = begin % entry.count
        pins: dict[str, Any] = {}
        if entry.seed:
            pins["seed"] = entry.seed.value + (0 if first.config.get("subseed_strength") else variant)
        if entry.subseed:
            pins["subseed"] = entry.subseed.value + variant
        inputs: tuple[Path, ...] = ()
        if entry.inputs:
            kept = entry.inputs[pick.index // entry.count]
            inputs = (_kept_input(self.folder.root, kept.sha256),)
        layer = {**self._settings(pick, stages), "count": count}
        layer[first.config_key] = {**layer.get(first.config_key, {}), **pins}
        return self._as_pack(pick, layer, inputs)

    def _continued(self, pick: Pick, stages: Sequence[StageType], settings: Mapping[str, Any]) -> PromptPack:
        """The image itself as an input, with the settings that made it."""
        entry = self.plan.entries[pick.entry]
        layer = self._settings(pick, entry.stages)
        last = next(stage for stage in reversed(entry.stages) if "cfg_scale" in stage.config)
        sampling = {**sampling_of(_without_none(last.config)), "seed": pick.image.seed}
        for key in sampled_stages(stages, layer, settings):
            layer[key] = {**sampling, **layer.get(key, {})}
        off = {"enabled": False}
        layer["txt2img"] = {**layer["txt2img"], **off, "hires": off, "refiner": off}
        for planned in entry.stages[1:]:
            layer[planned.config_key] = {**layer[planned.config_key], **off}
        return self._as_pack(pick, {**layer, "count": 1}, (self.folder.root / pick.image.path,))

    def _settings(self, pick: Pick, stages: Sequence[PlannedStage]) -> dict[str, Any]:
        """All that the job said of the entry, and over it what its stages came to; no other stage runs."""
        job = self.plan.job
        resolved = {
            stage.config_key: {**_without_none(stage.config), **self._checkpoint(pick, stage)}
            for stage in stages
        }
        toggles = {stage.value: {"enabled": stage.value in resolved} for stage in StageType}
        layers = [
            Layer(job.pipeline),
            Layer(job.packs[pick.entry].config_snapshot),
            Layer(job.run_config.settings()),
            Layer(job.settings),
        ]
        return with_files(
            merge_values([Layer(merge_values(layers)), Layer(toggles), Layer(resolved)]),
            lambda sha256: str(_kept_input(self.folder.root, sha256)),
        )

    def _checkpoint(self, pick: Pick, stage: PlannedStage) -> dict[str, str]:
        """The checkpoint that a stage worked with, by its content: another file of that name would draw
        another picture than the one that was picked."""
        name = stage.config.get("checkpoint")
        calls = map(self.records.get, self.plan.entries[pick.entry].calls)
        made = (call.output for call in calls if call and call.stage_type is stage.stage_type)
        reported = next((output.reported.get("checkpoint_hash") for output in made if output), None)
        if not isinstance(name, str) or not HASH.fullmatch(str(reported)):
            return {}
        return {"checkpoint": f"{ANY_HASH.sub('', name)} [{reported}]"}

    def _as_pack(self, pick: Pick, layer: Mapping[str, Any], inputs: tuple[Path, ...]) -> PromptPack:
        item = self.plan.job.packs[pick.entry]
        spec = item.entry
        entry = PackEntry(
            with_loras(spec.prompt, self.plan.job.run_config.loras),
            spec.negative_prompt,
            spec.name,
            (Layer(layer, "plan.json"),),
            inputs,
            Where(field=f"image {pick.number}" if pick.number else None),
            drawing=AS_IT_STANDS,
            randomizer=item.randomizer,
        )
        return PromptPack(item.pack_id, item.name, (entry,), globals=spec.globals)


def _refuse_order(entry: PlannedEntry, stages: Sequence[StageType]) -> None:
    order = list(StageType)
    last = max(order.index(stage.stage_type) for stage in entry.stages)
    for stage in stages:
        if order.index(stage) <= last:
            made = [planned.stage_type for planned in entry.stages]
            why = "it has made already" if stage in made else f"comes before {order[last]}, which it has made"
            raise InputError(
                f"the run's images cannot be taken through {stage}: {stage} {why}.",
                where=Where(field="--stages"),
                allowed=[each.value for each in order[last + 1 :]],
            )


def _batch(entry: PlannedEntry, pick: Pick) -> tuple[int, int] | None:
    """(first image, images) of the request that the picked one was in, if there were several in it."""
    first = entry.stages[0]
    size = first.config.get("batch_size")
    if first.stage_type is not StageType.TXT2IMG or not isinstance(size, int) or size < 2:
        return None
    begin = pick.index // size * size
    n = min(size, entry.total_images - begin)
    return (begin, n) if n > 1 else None


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    return value


def _kept_input(root: Path, sha256: str) -> Path:
    """Where an input image of a run is kept.

    Raises:
        InputError: it is gone.
    """
    folder = root / "store" / "inputs"
    for file in folder.glob(f"{sha256}.*"):
        return file
    raise InputError(f"the run's input image {sha256[:12]} is no longer in {folder}.")
