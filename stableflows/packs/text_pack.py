"""The block text form of a pack, as people have kept their prompts for years.

# a comment
a lighthouse at dusk,                 lines of an entry are joined with one space
calm sea, (<embedding:sharp>:0.87)
neg: text, watermark

a lighthouse in fog                   a blank line ends an entry
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from stableflows.config.layers import Layer
from stableflows.errors import InputError, Where
from stableflows.packs.fields import gather
from stableflows.packs.files import read_text
from stableflows.packs.model import PackEntry, PromptPack, Remark, Source
from stableflows.packs.prompts import faults
from stableflows.packs.stablenew import Companion, companion_of
from stableflows.prompts.model import Language

__all__ = ["read_text_pack"]

NEGATIVE = re.compile(r"neg\s*:", re.IGNORECASE)
MEANT_AS_NEGATIVE = re.compile(r"negative(?:[ _]prompt)?\s*:", re.IGNORECASE)

LINES_OF_A_LIST = 4


@dataclass
class _Block:
    """The lines of one entry."""

    first_line: int
    positive: list[str] = field(default_factory=list)
    negative: list[str] = field(default_factory=list)


def read_text_pack(file: Path) -> Source:
    """The pack in `file`.

    A line without `neg:` below a `neg:` line is part of the prompt, as the format has it; since it is
    seldom meant so, it is in the warnings. Matrix and settings of StableNew's companion `.json` are
    the pack's.

    Raises:
        InputError: the file cannot be read, or is no text.
        InvalidInputs: it has no entry, an entry has no prompt, or a prompt something unresolved.
    """
    errors: list[InputError] = []
    warnings: list[Remark] = []
    blocks: list[_Block] = []
    block: _Block | None = None
    for number, raw in enumerate(read_text(file).split("\n"), start=1):
        line = raw.strip()
        where = Where(file, number)
        if not line:
            block = None
        elif not line.startswith("#"):
            if block is None:
                block = _Block(number)
                blocks.append(block)
            errors += faults(line, where)
            _add(block, line, where, warnings)
    entries = [_entry(file, each, errors) for each in blocks]
    if not blocks:
        errors.append(InputError("holds no entry.", where=Where(file)))
    warnings += _joined(file, blocks)
    companion: Companion | None = None
    try:
        companion = companion_of(file)
    except InputError as error:
        errors.append(error)
    if errors:
        raise gather(errors)
    layers: tuple[Layer, ...] = ()
    form, language = "block text", Language()
    if companion:
        language = Language(matrix=companion.matrix)
        layers = (companion.layer,) if companion.layer else ()
        warnings += companion.remarks
        form = f"block text with StableNew's {file.with_suffix('.json').name}"
    pack = PromptPack(file.stem, file.stem, tuple(entries), file, layers, format=form, language=language)
    return Source((pack,), warnings=tuple(warnings))


def _add(block: _Block, line: str, where: Where, warnings: list[Remark]) -> None:
    if mark := NEGATIVE.match(line):
        block.negative.append(line[mark.end() :].strip())
        return
    mend = ""
    if MEANT_AS_NEGATIVE.match(line):
        mend = "only 'neg:' makes a line negative"
    elif block.negative:
        mend = "below a 'neg:' line each negative line needs its own"
    if mend:
        warnings.append(Remark("counts as prompt", "leaking-negative", where, mend))
    block.positive.append(line)


def _joined(file: Path, blocks: list[_Block]) -> list[Remark]:
    """A word on a file that looks like a list with a prompt a line."""
    if len(blocks) != 1:
        return []
    (block,) = blocks
    ends = [line for line in block.positive if not line.endswith((",", ":", "BREAK"))]
    if len(ends) < LINES_OF_A_LIST or block.negative:
        return []
    mend = "if each is a prompt, put blank lines between them, or let the file's name end with .prompts"
    message = f"{len(block.positive)} lines are one entry"
    return [Remark(message, "joined-lines", Where(file, block.first_line), mend)]


def _entry(file: Path, block: _Block, errors: list[InputError]) -> PackEntry:
    where = Where(file, block.first_line)
    if not block.positive:
        errors.append(InputError("this entry has only negative lines, and no prompt.", where=where))
    return PackEntry(
        prompt=" ".join(block.positive),
        negative_prompt=" ".join(filter(None, block.negative)),
        where=where,
    )
