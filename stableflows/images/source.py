"""Pictures as entries of a job: to be made again from what they say of themselves, or to be taken further."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stableflows.config.layers import Layer
from stableflows.errors import InputError, Where
from stableflows.images.detailer import IDLE
from stableflows.images.metadata import IMAGE_SUFFIXES, Metadata, Program, read_metadata
from stableflows.images.others import recipe_of_other
from stableflows.images.picks import recorded
from stableflows.images.recipe import AS_IT_STANDS, Recipe, Unreadable
from stableflows.images.sampling import sampled_stages, sampling_of
from stableflows.images.webui import recipe_of_infotext
from stableflows.packs.fields import gather
from stableflows.packs.files import find_files
from stableflows.packs.model import PackEntry, PromptPack, Remark, Source
from stableflows.stages import StageType

__all__ = ["images_in", "read_images", "recipe_of"]

SKIPPED_PASS = (1, 128, 128)
"""Steps, width and height that ADetailer reports of an image whose own pass it skipped; none is its own."""


def images_in(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The image files in a folder, by name; hidden files and folders are left out.

    Raises:
        InputError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {str(folder)!r}.")
    found = sorted(
        file
        for file in folder.glob("**/*" if recursive else "*")
        if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()
        if not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
    if not found:
        deeper = "" if recursive else "; --recursive looks into its folders too"
        raise InputError(f"{str(folder)!r} has no PNG, JPEG or WebP image{deeper}.")
    return found


def read_images(
    names: Sequence[str | Path],
    *,
    stages: Sequence[StageType] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Source:
    """An entry for each picture.

    Args:
        names: image files or patterns, relative to the current folder.
        stages: those that will run. With txt2img among them, or left out, the pictures are made again from
            their prompts; without it, the files themselves are continued, with prompt and settings found in
            them.
        settings: of the command line, which decide how the upscale stage works.

    Raises:
        InvalidInputs: every picture that cannot be read, or cannot be made again, each with its file.
    """
    reading = _Reading(stages, settings or {})
    for name in names:
        for file in reading.find(name):
            reading.add(file)
    if reading.errors:
        raise gather(reading.errors)
    label = "images" if len(reading.packs) != 1 else next(iter(reading.files)).stem
    return Source(tuple(reading.packs), name=label, warnings=tuple(reading.remarks()))


def recipe_of(metadata: Metadata) -> Recipe:
    """What a picture says of how it was made.

    Raises:
        Unreadable: it is half there, or of a form that is not known.
    """
    if metadata.program is Program.WEBUI:
        return recipe_of_infotext(metadata.text, metadata.postprocessing)
    return recipe_of_other(metadata)


class _Reading:
    """One call of `read_images`: what was read, and all that was wrong."""

    def __init__(self, stages: Sequence[StageType] | None, settings: Mapping[str, Any]) -> None:
        self.continued = stages is not None and StageType.TXT2IMG not in stages
        self.stages = tuple(stages or ())
        self.settings = settings
        self.packs: list[PromptPack] = []
        self.files: dict[Path, None] = {}
        self.errors: list[InputError] = []
        self.left_out: Counter[str] = Counter()
        self.first_with: dict[str, Path] = {}

    def find(self, name: str | Path) -> list[Path]:
        try:
            return [file.absolute() for file in find_files(name, suffixes=IMAGE_SUFFIXES)]
        except InputError as error:
            self.errors.append(error)
            return []

    def add(self, file: Path) -> None:
        """An entry of this picture, or what is wrong with it."""
        where = Where(file)
        try:
            pack = self._continue(file, where) if self.continued else self._make_again(file, where)
        except Unreadable as problem:
            self.errors.append(InputError(f"{problem}.", where=where))
        except InputError as error:
            self.errors.append(error)
        else:
            self.files[file] = None
            self.packs.append(pack)

    def _make_again(self, file: Path, where: Where) -> PromptPack:
        metadata = read_metadata(file)
        if found := recorded(file):
            return found.packs[0]
        if metadata is None:
            raise Unreadable("has no generation parameters; it cannot be made again")
        recipe = recipe_of(metadata)
        if recipe.obstacles:
            raise Unreadable("; ".join(recipe.obstacles))
        self._note(recipe, file)
        config = {**recipe.config, "txt2img": {"enabled": True, **recipe.txt2img}}
        if "upscale" in config:
            config["upscale"] = {"enabled": True, **config["upscale"]}
        return self._pack(recipe, config, where)

    def _continue(self, file: Path, where: Where) -> PromptPack:
        sampled = sampled_stages(self.stages, self.settings)
        if not sampled:
            return self._pack(Recipe(""), {}, where, file)
        metadata = read_metadata(file)
        if metadata is None:
            raise Unreadable(f"has no generation parameters, and {', '.join(sampled)} needs a prompt")
        recipe = recipe_of(metadata)
        if not recipe.prompt:
            raise Unreadable(f"has no prompt, and {', '.join(sampled)} needs one")
        self._note(recipe, file)
        sampling = sampling_of(recipe.txt2img)
        if (recipe.txt2img.get("steps"), *_size(recipe)) == SKIPPED_PASS:
            for name in ("steps", "sampler", "scheduler"):
                sampling.pop(name, None)
        if recipe.seed is not None:
            sampling["seed"] = recipe.seed
        models = {name: value for name, value in recipe.config.items() if name not in ("txt2img", "upscale")}
        config: dict[str, Any] = {**models, **{stage: dict(sampling) for stage in sampled}}
        if "adetailer" in sampled and (units := _units(recipe)):
            config["adetailer"]["units"] = units
        return self._pack(recipe, config, where, file)

    def _pack(
        self, recipe: Recipe, config: Mapping[str, Any], where: Where, file: Path | None = None
    ) -> PromptPack:
        entry = PackEntry(
            recipe.prompt,
            recipe.negative_prompt,
            name=file.stem if file else None,
            layers=(Layer(config, file=where.file),) if config else (),
            inputs=(file,) if file else (),
            where=where,
            drawing=AS_IT_STANDS,
        )
        return PromptPack("images", "images", (entry,), file=where.file, format=recipe.program)

    def _note(self, recipe: Recipe, file: Path) -> None:
        if recipe.foreign:
            self.first_with.setdefault(recipe.program, file)
            self.left_out[recipe.program] += 1
        for key in recipe.left_out:
            self.first_with.setdefault(key, file)
            self.left_out[key] += 1

    def remarks(self) -> list[Remark]:
        """A word on each key that nobody knows, and on each foreign program; not one for each of hundreds of
        pictures."""
        programs = {str(program) for program in Program}
        found = []
        for key, times in self.left_out.items():
            where = Where(self.first_with[key])
            many = f" (and {times - 1} more)" if times > 1 else ""
            if key in programs:
                text = f"was made by {key}; a WebUI makes another picture of the same settings{many}"
                found.append(Remark(text, "foreign-image", where))
            else:
                text = f"{key!r} in its parameters is not known here, and left out{many}"
                found.append(Remark(text, "unknown-parameter", where))
        return found


def _size(recipe: Recipe) -> tuple[Any, Any]:
    return recipe.txt2img.get("width"), recipe.txt2img.get("height")


def _units(recipe: Recipe) -> list[Any]:
    script = (recipe.txt2img.get("alwayson_scripts") or {}).get("ADetailer", {})
    return [unit for unit in script.get("args", ())[2:] if unit != IDLE]
