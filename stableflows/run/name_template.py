"""Names of finished images by a template of the user: `{pack}/{entry:04}-{slug}-{seed}`.

Whatever is put in, a name is legal on Windows and Linux, lies in the run's folder, and is that of one image:

- Every text becomes a slug, of ASCII letters, digits and "-"; what the template itself says is checked when
  it is read. Nothing but the template makes a folder.
- The entry's number and, of several images, the image's number must be readable from an end of the name;
  where the template does not have them there, they are put behind it: `-0001`, `_2`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import PurePosixPath

from stableflows.errors import InputError, Where
from stableflows.run.names import RESERVED, SUFFIX, slug

__all__ = ["FIELDS", "NameFacts", "NameTemplate"]

FIELDS = ("entry", "index", "pack", "slug", "seed", "checkpoint", "date")
"""What every image has. Beside these, the names of the values that were drawn for its prompt."""

NUMBERS = {"entry": 9, "index": 4, "seed": 10}
"""Fields that are numbers, and their most digits."""
TEXT_LENGTH = 40
LONGEST_TEXT = 100
LONGEST_NAME = 160
"""Characters of the whole name, without its file suffix: Windows takes 260 for the whole path."""

TOKEN = re.compile(r"\{([^{}]*)\}")
SEPARATOR = re.compile(r"/(?![^{}]*\})")
"""Between folders; a wildcard may have one in its name."""
NUMBER_SPEC = re.compile(r"0?([1-9]|1[0-2])")
TEXT_SPEC = re.compile(r"[1-9]\d{0,2}")
DATE_SPEC = re.compile(r"(?:%[Yymdj]|[-_.])+")
LITERAL = re.compile(r"[\w .,+=@()!\-]*")
FOLDERS_OF_A_RUN = ("stages",)
MISSING = "none"


@dataclass(frozen=True)
class NameFacts:
    """What an image's name may tell.

    Attributes:
        entry: from 1.
        index: of the image among the entry's `n`, from 0.
        title: what a person knows the entry by, its name or prompt; the field `slug`.
        day: on which the run began.
        values: what was drawn for the prompt, by the name of wildcard, variable or slot.
    """

    entry: int
    index: int
    n: int
    pack: str
    title: str
    seed: int | None
    checkpoint: str | None
    day: date
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Field:
    name: str
    spec: str = ""

    @property
    def longest(self) -> int:
        """Characters at most."""
        if self.name in NUMBERS:
            return max(NUMBERS[self.name], int(self.spec or 0))
        if self.name == "date":
            return 4 * len(self.spec or "%Y-%m-%d")
        return max(int(self.spec or TEXT_LENGTH), len(MISSING))


Part = str | _Field


@dataclass(frozen=True)
class NameTemplate:
    """A template that was read, its folders and the file's name apart."""

    text: str
    components: tuple[tuple[Part, ...], ...]

    @classmethod
    def read(cls, text: str, where: Where | None = None) -> NameTemplate:
        """The template in `text`.

        Raises:
            InputError: it is empty or too long, a brace has no partner, a format is none, or it holds what a
                name must not.
        """
        components = tuple(tuple(_parts(component, where)) for component in SEPARATOR.split(text.strip()))
        for component in components:
            _refuse(component, text, where)
        longest = sum(
            len(part) if isinstance(part, str) else part.longest for one in components for part in one
        )
        if longest > LONGEST_NAME:
            raise InputError(
                f"{text!r} may come to {longest} characters, and at most {LONGEST_NAME} are safe everywhere; "
                "shorten texts, for instance {slug:20}.",
                where=where,
            )
        return cls(text.strip(), components)

    def refuse_unknown(self, values: Collection[str], where: Where | None = None) -> None:
        """Raises: InputError: a field is neither one of `FIELDS` nor a name of `values`."""
        known = [*FIELDS, *values]
        for part in (part for component in self.components for part in component):
            if isinstance(part, _Field) and part.name not in known:
                raise InputError(
                    f"there is no field {part.name!r} for names.", where=where, allowed=known, value=part.name
                )

    def path(self, facts: NameFacts, suffix: str) -> PurePosixPath:
        """Where an image goes, relative to its run's folder. No two images of a run that share a template get
        the same, also not on a file system that ignores case.

        Args:
            suffix: of the file, with its dot, lower case.
        """
        if not 0 <= facts.index < facts.n:
            raise ValueError(f"image {facts.index} of {facts.n}")
        if not SUFFIX.fullmatch(suffix):
            raise ValueError(f"{suffix!r} is not a file suffix such as '.png'")
        *folders, _ = ["".join(_shown(part, facts) for part in one) for one in self.components]
        name = "".join(_shown(part, facts) for part in self._unique(facts.n))
        if folders and folders[0].casefold() in FOLDERS_OF_A_RUN:
            folders[0] = f"x-{folders[0]}"
        return PurePosixPath(*map(_legal, folders), _legal(name) + suffix)

    def _unique(self, n: int) -> tuple[Part, ...]:
        """The file's name with entry and image number where they can be read."""
        name = self.components[-1]
        anchored = {part.name for part in (*_edge(name), *_edge(name[::-1]))}
        if "entry" not in anchored:
            name = (*name, "-", _Field("entry", "04"))
        # No slug has a "_": with it, the number of one of several images is no entry's number.
        return name if n == 1 or "index" in anchored else (*name, "_", _Field("index"))


def _parts(component: str, where: Where | None) -> list[Part]:
    """A component's texts and fields, neighbouring texts as one."""
    parts: list[Part] = []
    for number, piece in enumerate(TOKEN.split(component)):
        if number % 2:
            parts.append(_field(piece, where))
        elif piece:
            if "{" in piece or "}" in piece:
                raise InputError(f"{component!r} has a brace without its partner.", where=where)
            if not LITERAL.fullmatch(piece):
                odd = next(character for character in piece if not LITERAL.fullmatch(character))
                raise InputError(
                    f"{odd!r} must not stand in a name; write letters, digits or - _ . ,", where=where
                )
            parts.append(piece)
    return parts


def _field(piece: str, where: Where | None) -> _Field:
    name, _, spec = (part.strip() for part in piece.partition(":"))
    allowed, example = TEXT_SPEC, "a length, such as {slug:20}"
    if name in NUMBERS:
        allowed, example = NUMBER_SPEC, "a width, such as {entry:04}"
    elif name == "date":
        allowed, example = DATE_SPEC, "%Y, %m, %d, such as {date:%Y%m%d}"
    if not name:
        raise InputError(f"{{{piece}}} names no field.", where=where, allowed=FIELDS)
    too_long = allowed is TEXT_SPEC and spec.isdigit() and not 8 <= int(spec) <= LONGEST_TEXT
    if spec and (not allowed.fullmatch(spec) or too_long):
        limits = f" from 8 to {LONGEST_TEXT}" if allowed is TEXT_SPEC else ""
        raise InputError(f"{{{piece}}}: {spec!r} is no format; it takes {example}{limits}.", where=where)
    return _Field(name, spec)


def _refuse(component: tuple[Part, ...], text: str, where: Where | None) -> None:
    if not component:
        raise InputError(f"{text!r} has an empty name in it.", where=where)
    first, last = component[0], component[-1]
    if isinstance(first, str) and first[0] in ". ":
        raise InputError(f"{text!r}: a name must not begin with {first[0]!r}.", where=where)
    if isinstance(last, str) and last[-1] in ". ":
        raise InputError(f"{text!r}: a name must not end with {last[-1]!r}.", where=where)


def _edge(parts: tuple[Part, ...]) -> list[_Field]:
    """The numbers that can be told apart, whatever the texts are, from the end at which `parts` begins."""
    found: list[_Field] = []
    separate = True  # whether a number that comes next could not run into what was before
    for part in parts:
        if isinstance(part, str):
            separate = not (part[0].isdigit() or part[-1].isdigit())
        elif part.name in ("entry", "index", "date") and separate:
            # The date is the same in all names of a run.
            found += [part] if part.name != "date" else []
            separate = False
        else:
            return found if separate else found[:-1]
    return found


def _shown(part: Part, facts: NameFacts) -> str:
    if isinstance(part, str):
        return part
    if part.name == "date":
        return facts.day.strftime(part.spec or "%Y-%m-%d")
    if part.name in NUMBERS:
        number = {"entry": facts.entry, "index": facts.index + 1, "seed": facts.seed}[part.name]
        return MISSING if number is None else format(number, f"0{int(part.spec or 0)}d")
    texts = {**facts.values, "pack": facts.pack, "slug": facts.title, "checkpoint": _stem(facts.checkpoint)}
    text = texts.get(part.name) or ""
    return slug(text, int(part.spec or TEXT_LENGTH)) if text else MISSING


def _stem(checkpoint: str | None) -> str:
    name = re.sub(r" \[[0-9a-f]+\]$", "", checkpoint or "")
    return re.sub(r"\.(safetensors|ckpt|sft|gguf)$", "", re.split(r"[/\\]", name)[-1])


def _legal(component: str) -> str:
    """Windows takes `con.anything` for a device."""
    return f"x-{component}" if component.partition(".")[0].strip().casefold() in RESERVED else component
