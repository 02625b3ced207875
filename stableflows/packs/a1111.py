"""The lines of AUTOMATIC1111's script "Prompts from file or textbox" (v1.10.1), one entry each.

a lighthouse at dusk
--prompt "a lighthouse in fog" --negative_prompt text, watermark --steps 30 --width 768
--prompt it don't matter --steps 9

A line with `--` in it is split as a POSIX shell would, and must be tags with their values. If it is not, or
its quotes do not end (the apostrophe of the third line), the script takes the whole line as a prompt, tags
and all, and so does this reader, with a warning. There are no comments.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stableflows.config.flat import Path as FieldPath
from stableflows.errors import InputError, Where
from stableflows.packs.columns import Cell, entry_of
from stableflows.packs.fields import gather
from stableflows.packs.files import read_text
from stableflows.packs.model import PackEntry, PromptPack, Remark, Source

__all__ = ["has_tags", "read_a1111"]

MAX_LINE = 20_000
"""Characters of a line with tags: splitting takes quadratic time."""


def _is_true(value: str) -> bool:
    return value == "true"


SETTINGS: dict[str, tuple[Callable[[str], Any], FieldPath]] = {
    "sd_model": (str, ("checkpoint",)),
    "styles": (lambda name: [name], ("txt2img", "styles")),
    "seed": (int, ("txt2img", "seed")),
    "subseed": (int, ("txt2img", "subseed")),
    "subseed_strength": (float, ("txt2img", "subseed_strength")),
    "seed_resize_from_h": (int, ("txt2img", "seed_resize_from_h")),
    "seed_resize_from_w": (int, ("txt2img", "seed_resize_from_w")),
    "sampler_name": (str, ("txt2img", "sampler")),
    "batch_size": (int, ("txt2img", "batch_size")),
    "n_iter": (int, ("count",)),
    "steps": (int, ("txt2img", "steps")),
    "cfg_scale": (float, ("txt2img", "cfg_scale")),
    "width": (int, ("txt2img", "width")),
    "height": (int, ("txt2img", "height")),
    "restore_faces": (_is_true, ("txt2img", "restore_faces")),
    "tiling": (_is_true, ("txt2img", "tiling")),
}
"""A tag, how the script reads its value, and the setting that it is here."""

PROMPTS = ("prompt", "negative_prompt")

IDLE: dict[str, tuple[Callable[[str], Any], str]] = {
    "outpath_samples": (str, "runs have a folder of their own; see --out"),
    "outpath_grids": (str, "runs have a folder of their own; see --out"),
    "prompt_for_display": (str, ""),
    # An index into a list that each version of the WebUI orders differently; it ignores it as well.
    "sampler_index": (int, "name the sampler: --sampler_name"),
    "do_not_save_samples": (_is_true, "every image is kept"),
    "do_not_save_grid": (_is_true, ""),
}
"""A tag that has no counterpart here, how the script reads its value, and what there is in its place."""

TAGS = (*PROMPTS, *SETTINGS, *IDLE)

TAG_IN_TEXT = re.compile(rf"(?<!\S)[\"']?--(?:{'|'.join(TAGS)})(?![\w-])")
LOOKS_LIKE_TAG = re.compile(r"(?<!\S)[\"']?--\w")


def has_tags(text: str) -> bool:
    """Whether a tag of the script stands anywhere in `text`, beyond comment lines: it is of this format."""
    return any(
        TAG_IN_TEXT.search(line)
        for line in text.split("\n")
        if "--" in line and not line.lstrip().startswith("#")
    )


def read_a1111(file: Path) -> Source:
    """The pack in `file`.

    Raises:
        InputError: the file cannot be read, or is no text.
        InvalidInputs: it has no entry, a line has tags but no prompt, or a prompt something unresolved.
    """
    errors: list[InputError] = []
    warnings: list[Remark] = []
    entries = [
        _entry(line.strip(), Where(file, number), errors, warnings)
        for number, raw in enumerate(read_text(file).split("\n"), start=1)
        # The script also ends lines where an editor does not, at U+2028 for instance.
        for line in raw.splitlines()
        if line.strip()
    ]
    if not entries:
        errors.append(InputError("holds no entry.", where=Where(file)))
    if errors:
        raise gather(errors)
    pack = PromptPack(file.stem, file.stem, tuple(entries), file, format="AUTOMATIC1111 lines")
    return Source((pack,), warnings=tuple(warnings))


def _entry(line: str, where: Where, errors: list[InputError], warnings: list[Remark]) -> PackEntry:
    tags: dict[str, Any] = {"prompt": line}
    if "--" in line:
        if len(line) > MAX_LINE:
            errors.append(
                InputError(
                    f"is a line of {len(line)} characters with '--' in it; at most {MAX_LINE}.", where=where
                )
            )
            return PackEntry(line, where=where)
        try:
            tags = _tags(line)
        except ValueError as error:
            if LOOKS_LIKE_TAG.search(line):  # else a dash that is meant as one
                told = f"is taken as a prompt with all its tags, as the WebUI does: {error}"
                warnings.append(Remark(told, "literal-line", where, _mend(line)))
    for tag in tags:
        if tag in IDLE:
            advice = IDLE[tag][1]
            warnings.append(Remark(f"--{tag} has no effect here", "no-effect", where, advice))
    if not tags.get("prompt", "").strip():
        message = (
            "has tags but no --prompt; in the WebUI the page's prompt stands here. Give the line its own."
        )
        errors.append(InputError(message, where=where))
        return PackEntry("", where=where)
    return entry_of(_cells(tags), where=where, lines=_lines(where), errors=errors)


def _cells(tags: dict[str, Any]) -> list[Cell]:
    cells: list[Cell] = [((name,), tags[name]) for name in PROMPTS if name in tags]
    cells += [(SETTINGS[tag][1], value) for tag, value in tags.items() if tag in SETTINGS and tag != "n_iter"]
    if "n_iter" in tags or "batch_size" in tags:
        # Ours counts images, the WebUI's batches.
        cells.append((("count",), tags.get("n_iter", 1) * tags.get("batch_size", 1)))
    return cells


def _lines(where: Where) -> dict[tuple[str | int, ...], int]:
    return {path: where.line or 1 for _, path in SETTINGS.values()}


def _tags(line: str) -> dict[str, Any]:
    """The tags of a line and their values, as the script reads them.

    Raises:
        ValueError: in words, why it takes the line literally.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        quote = (
            "an apostrophe or a quote does not end" if "quotation" in str(error) else "a backslash ends it"
        )
        raise ValueError(quote) from None
    tags: dict[str, Any] = {}
    position = 0
    while position < len(words):
        word = words[position]
        if not word.startswith("--"):
            raise ValueError(f"{word!r} stands where a --tag should")
        if position + 1 == len(words):
            raise ValueError(f"{word} has no value")
        tag, value = word[2:], words[position + 1]
        position += 2
        if tag in PROMPTS:
            while position < len(words) and not words[position].startswith("--"):
                value += " " + words[position]
                position += 1
            tags[tag] = value
            continue
        if tag not in TAGS:
            raise ValueError(f"there is no tag {word}")
        read = SETTINGS[tag][0] if tag in SETTINGS else IDLE[tag][0]
        try:
            tags[tag] = read(value)
        except ValueError:
            raise ValueError(f"{value!r} is no value of {word}") from None
    return tags


def _mend(line: str) -> str:
    """What makes the tags of a literal line count."""
    if re.search(r"\w'\w", line):
        return 'put the text with the apostrophe in double quotes: --prompt "it don\'t matter"'
    return "put texts in double quotes, and begin with --prompt"
