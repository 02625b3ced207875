"""From an entry of a pack to the items of a job: prompts drawn, sweeps unfolded, settings checked.

After this a job needs neither packs nor wildcards nor styles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stableflows.config import PipelineConfig
from stableflows.config.layers import Layer, merge, merge_values, written_at
from stableflows.errors import InputError, Places, Where
from stableflows.inputs import SCRIPTS, InputImage, InputImages, bind_images
from stableflows.job import EntrySpec, JobItem, RunConfig, SweepPoint
from stableflows.packs.files import full_path
from stableflows.packs.model import PackEntry, PromptPack, Source
from stableflows.packs.prompts import unresolved
from stableflows.prompts.own import as_layer, dotted, texts_in
from stableflows.prompts.resolve import Around, Resolver
from stableflows.prompts.sweep import Point, as_settings, path_of
from stableflows.sequencer import StageSequencer

__all__ = ["ItemReader", "bound_layer", "default_layer", "job_wide", "placed"]


class ItemReader:
    """Makes items of the entries of one source."""

    def __init__(
        self,
        source: Source,
        images: InputImages,
        *,
        above: Sequence[Layer],
        inputs: tuple[Path, ...],
        resolver: Resolver,
        finished_images: bool = False,
    ) -> None:
        """
        Args:
            above: settings of the whole job.
            inputs: of every entry without any of its own.
            finished_images: the inputs were generated before, and their prompts found in them.
        """
        self._source = source
        self._images = images
        self._above = list(above)
        self._fixed = written_at(above)
        self._inputs = inputs
        self._resolver = resolver
        self._finished_images = finished_images

    def items(self, pack: PromptPack, entry: PackEntry) -> Iterator[tuple[JobItem, Places]]:
        """What an entry of a pack stands for, one item a prompt and point of the sweep.

        Raises:
            InputError: it cannot be rendered.
        """
        bound = [bound_layer(layer, self._images) for layer in (*pack.layers, *entry.layers)]
        files = entry.inputs or self._inputs
        references = tuple(self._images.add(file, entry.where).reference for file in files)
        checked: dict[str, tuple[dict[str, Any], Places]] = {}
        below = [default_layer(files), *self._source.pipeline]
        around = Around(below, self._above)
        for each in self._resolver.resolve(pack, entry, around):
            point = str(each.point)
            swept = self._swept(each.point, pack) if each.point else []
            drawn = [as_layer(merge_values([*below, *bound]), each.own)] if each.own else []
            layers = [*bound, *drawn, *swept]
            if point not in checked:
                stack = [*below, *layers, *self._above]
                config = merge(stack)
                _check(config, entry.where, of_finished_images=self._finished_images and bool(files))
                checked[point] = merge_values(layers), Places(entry.where, written_at(stack[1:]))
                self._refuse_undrawn([*swept, *self._above], entry)
            snapshot, places = checked[point]
            if drawn:
                snapshot = merge_values(layers)
            spec = EntrySpec(
                prompt=each.prompt,
                negative_prompt=each.negative_prompt,
                name=entry.name,
                globals=each.globals,
                inputs=references,
                sweep=SweepPoint(of=each.sweep_of, axes=each.point) if each.sweep_of else None,
            )
            item = JobItem(
                pack_id=pack.pack_id,
                name=pack.name,
                entry=spec,
                config_snapshot=snapshot,
                randomizer=each.randomizer or entry.randomizer,
            )
            yield item, places

    def _refuse_undrawn(self, layers: Sequence[Layer], entry: PackEntry) -> None:
        """Refuse variants in a prompt that stands in a sweep or in the settings of the whole job: those are
        sent as they stand.

        Raises:
            InputError: there is one.
        """
        for layer in layers:
            for place, text in texts_in(merge_values([layer]), on=True):
                for error in unresolved(text, Places(entry.where, written_at([layer])).of(dotted(place))):
                    raise error

    def _swept(self, point: Point, pack: PromptPack) -> list[Layer]:
        """A point of a sweep as layers above those of pack and entry, traced to who swept.

        Raises:
            InputError: the settings of the whole job say the same, and would win.
        """
        layers = []
        for axis in point:
            for name in axis:
                path = ".".join(path_of(name))
                if place := self._fixed.get(path):
                    raise InputError(
                        f"{name} is swept, but {place} gives it one value for all; keep one of them.",
                        where=Where(pack.file, field="sweep"),
                    )
            everywhere = any(axis.keys() == group.keys() for group in self._resolver.sweep.groups)
            file = None if everywhere else pack.file
            prefix = ("sweep",) if file else ()
            layers.append(Layer(as_settings((axis,)), "sweep", file=file, prefix=prefix))
        return layers


def job_wide(source: Source) -> list[Layer]:
    """The settings of a job file that stand above its packs.

    Raises:
        InvalidInputs: they are wrong.
    """
    run_config = RunConfig.read(source.run_config) if source.run_config else RunConfig()
    return [Layer(run_config.settings(), "run_config"), *([source.settings] if source.settings else [])]


def default_layer(inputs: Sequence[object]) -> Layer:
    """What runs if nobody says anything: txt2img, unless there are images to continue."""
    return Layer({"txt2img": {"enabled": not inputs}}, "defaults")


def bound_layer(layer: Layer, images: InputImages) -> Layer:
    """A layer with image files replaced by references; their paths are relative to its file."""
    folder = layer.file.parent if layer.file else Path()

    def read(path: str) -> InputImage:
        where = layer.where(())
        return images.add(full_path(path, base=folder, where=where), where)

    try:
        return layer.with_values(bind_images(layer.values, read))
    except InputError as error:
        raise error if str(error.where) else placed(error, layer.where((SCRIPTS,))) from None


def _check(config: PipelineConfig, where: Where, *, of_finished_images: bool) -> None:
    """Refuse at once what no plan can be made of, saying where it stands."""
    try:
        StageSequencer().build_plan(config, of_finished_images=of_finished_images)
    except InputError as error:
        raise placed(error, where) from None


def placed(error: InputError, where: Where) -> InputError:
    return InputError(error.message, where=where, allowed=error.allowed, value=error.value)
