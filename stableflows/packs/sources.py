"""From what somebody names to packs. A new format is one reader in `READERS`."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from stableflows.errors import InputError, Where
from stableflows.packs.a1111 import has_tags, read_a1111
from stableflows.packs.document import read_document
from stableflows.packs.fields import gather, input_files
from stableflows.packs.files import find_files, read_text
from stableflows.packs.job_file import JobFile, NamedPack, read_job
from stableflows.packs.listed import spread
from stableflows.packs.model import PackEntry, PromptPack, Remark, Source
from stableflows.packs.prompts import faults
from stableflows.packs.stablenew import is_companion
from stableflows.packs.table import read_csv, read_tsv
from stableflows.packs.text_pack import read_text_pack
from stableflows.packs.yaml_pack import read_pack

__all__ = ["READERS", "free_text", "pack_files", "read_sources"]


def pack_files(
    pattern: str | Path, *, base: Path | None = None, where: Where | None = None
) -> tuple[list[Path], list[Remark]]:
    """The packs of that name or pattern, and a word on each file that a pattern matches and that is none.

    Raises:
        InputError: there is none.
    """
    files = find_files(pattern, base=base, where=where, suffixes=READERS)
    if not glob.has_magic(str(pattern)):
        return files, []
    others = {file: why for file in files if (why := _no_pack(file)) is not None}
    packs = [file for file in files if file not in others]
    told = [Remark(f"{why}, and left out", "left-out", Where(file)) for file, why in others.items() if why]
    return (packs, told) if packs else (files, [])


def _no_pack(file: Path) -> str | None:
    """Why a file is no pack, if it is none; "" for one that is read with its pack."""
    suffix = file.suffix.lower()
    if suffix not in READERS:
        return "is no pack"
    if file.name.lower() == STYLES:
        return "is a file of styles"
    if suffix == ".json" and file.with_suffix(".txt").is_file():
        try:
            return "" if is_companion(read_document(file)) else None
        except InputError:
            return None  # It is told when it is read.
    return None


def _read_structured(file: Path) -> Source | JobFile:
    document = read_document(file)
    if is_companion(document) and (pack := file.with_suffix(".txt")).is_file():
        raise InputError(
            f"is what StableNew keeps beside a text pack, and is read with it: name {pack}.",
            where=Where(file),
        )
    if "packs" not in document.data:
        form = "JSON" if file.suffix.lower() == ".json" else "YAML"
        source = read_pack(spread(document) if document.is_list else document)
        form += ", a list of prompts" if document.is_list else ""
        return replace(source, packs=tuple(replace(pack, format=form) for pack in source.packs))
    if "entries" in document.data:
        raise InputError(
            "a file has `packs` (a job or a list of packs) or `entries` (a pack), not both.",
            where=document.where("entries"),
        )
    return read_job(document)


def _read_text(file: Path) -> Source:
    """Block text; or, if a tag of AUTOMATIC1111's script stands in it, that script's lines."""
    return read_a1111(file) if has_tags(read_text(file)) else read_text_pack(file)


STYLES = "styles.csv"
"""By its name no pack, though it reads like one."""

READERS: dict[str, Callable[[Path], Source | JobFile]] = {
    ".yaml": _read_structured,
    ".yml": _read_structured,
    ".json": _read_structured,
    ".txt": _read_text,
    ".prompts": read_a1111,
    ".csv": read_csv,
    ".tsv": read_tsv,
}
"""What reads a file, by its suffix in lower case."""


def read_sources(arguments: Sequence[str | Path]) -> Source:
    """All packs that `arguments` name: pack files, pack lists, patterns; or one job file.

    Args:
        arguments: paths or glob patterns, relative to the current folder. What a pattern matches is read in
            the order of its name.

    Raises:
        InvalidInputs: everything that is wrong with them, each with file, line and field; but not the
            settings, which can only be judged when all layers are known (`config.layers.merge`).
    """
    if not arguments:
        raise InputError("no pack was named.")
    reading = _Reading()
    files = [file for argument in arguments for file in reading.find(argument)]
    sources = [source for file in files if (source := reading.source(file))]
    if reading.standing_alone and len(files) > 1:
        reading.errors.append(
            InputError(
                "is a job file, with settings of the whole job, and must be named alone; "
                "add the other packs to its `packs`.",
                where=Where(reading.standing_alone[0]),
            )
        )
    if reading.errors:
        raise gather(reading.errors)
    whole = sources[0] if len(sources) == 1 else Source(packs=())
    return replace(
        whole,
        packs=tuple(pack for source in sources for pack in source.packs),
        warnings=(
            *(each for source in sources for each in source.warnings),
            *reading.left_out,
            *reading.repeated(),
        ),
    )


def free_text(prompt: str, negative_prompt: str = "", inputs: Sequence[str | Path] = ()) -> Source:
    """A single entry that stands in no file.

    Args:
        inputs: image files or patterns, relative to the current folder; with them `prompt` may be empty.

    Raises:
        InvalidInputs: there is nothing to render, a prompt has something unresolved, or a file is missing.
    """
    errors: list[InputError] = []
    for name, text in (("prompt", prompt), ("negative prompt", negative_prompt)):
        errors += faults(text, Where(field=name))
    files = input_files([str(each) for each in inputs], Path(), Where(field="input"), errors)
    if not prompt.strip() and not inputs:
        errors.append(InputError("the prompt is empty, and there is no input image."))
    if errors:
        raise gather(errors)
    entry = PackEntry(prompt.strip(), negative_prompt.strip(), inputs=files)
    return Source((PromptPack("prompt", "prompt", (entry,)),))


class _Reading:
    """One call of `read_sources`: what was read, and all that was wrong."""

    def __init__(self) -> None:
        self.errors: list[InputError] = []
        self.standing_alone: list[Path] = []
        self.left_out: list[Remark] = []
        self._times: Counter[Path] = Counter()

    def find(self, pattern: str | Path, base: Path | None = None, where: Where | None = None) -> list[Path]:
        """The files of that name or pattern; none, and an error, if there are none."""
        try:
            files, left_out = pack_files(pattern, base=base, where=where)
            self.left_out += left_out
            return files
        except InputError as error:
            self.errors.append(error)
            return []

    def source(self, file: Path) -> Source | None:
        """What `file` holds, with the packs that it names; None, and errors, if that cannot be read."""
        read = self._read(file)
        if not isinstance(read, JobFile):
            return read
        if read.stands_alone:
            self.standing_alone.append(file)
        packs: list[PromptPack] = []
        warnings: list[str] = []
        for one in read.packs:
            for source in self._named(one, file) if isinstance(one, NamedPack) else [Source((one,))]:
                packs += source.packs
                warnings += source.warnings
        return replace(read.source, packs=tuple(packs), warnings=tuple(warnings))

    def repeated(self) -> list[Remark]:
        """A word on each file named more than once: patterns overlap easily, and double a night's work."""
        return [
            Remark(f"is named {times} times, and rendered as often", "repeated-file", Where(file))
            for file, times in self._times.items()
            if times > 1
        ]

    def _named(self, one: NamedPack, named_in: Path) -> Iterator[Source]:
        for file in self.find(one.pattern, named_in.parent, one.where):
            read = self._read(file)
            if isinstance(read, JobFile):
                self.errors.append(
                    InputError(
                        f"{file} is itself a job file or a list of packs; name its packs here.",
                        where=one.where,
                    )
                )
            elif read:
                yield read

    def _read(self, file: Path) -> Source | JobFile | None:
        reader = READERS.get(file.suffix.lower())
        try:
            if reader is None:
                ending = f"that end with {file.suffix}" if file.suffix else "without an ending"
                raise InputError(
                    f"files {ending} are not read; packs end with {', '.join(READERS)}.", where=Where(file)
                )
            if file.name.lower() == STYLES:
                raise InputError(
                    "is a file of styles, no pack; a pack beside it takes them with `styles: [NAME]`.",
                    where=Where(file),
                )
            read = reader(file)
        except InputError as error:
            self.errors.append(error)
            return None
        if isinstance(read, Source):
            self._times[file.resolve()] += 1
        return read
