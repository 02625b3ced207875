"""Every error of ours, as one tree.

    StableflowsError                exit 1  anything we say to a person
    ├─ InputError                   exit 2  what the user wrote cannot be run
    │  ├─ InvalidInputs             exit 2  several of them, found together
    │  └─ InvalidStagePlanError     exit 2  (also a ValueError) stages that make no sense together
    └─ ServerError                  …       a WebUI server, see stableflows.webui.errors

An error's text is its message to the user: what was wrong, where, what is allowed, the nearest valid
name, what to do. `exit_code` is what a command ends with when the error ends the run.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher, get_close_matches
from enum import IntEnum
from pathlib import Path

__all__ = [
    "ExitCode",
    "InputError",
    "InvalidInputs",
    "InvalidStagePlanError",
    "Places",
    "ServerError",
    "StableflowsError",
    "Where",
    "nearest",
    "printable",
]


class ExitCode(IntEnum):
    """What a command's exit status means."""

    OK = 0
    ENTRIES_FAILED = 1
    BAD_INPUT = 2
    SERVER_UNREACHABLE = 3
    CANCELLED = 130


@dataclass(frozen=True, slots=True)
class Where:
    """A place in what the user wrote: file, 1-based line, dotted field; each may be unknown."""

    file: Path | None = None
    line: int | None = None
    field: str | None = None

    def __str__(self) -> str:
        place = str(self.file) if self.file else ""
        if self.line:
            place += f":{self.line}" if place else f"line {self.line}"
        return ": ".join(part for part in (place, self.field or "") if part)


@dataclass(frozen=True, slots=True)
class Places:
    """Where an entry stands, and where each of its settings was written, by dotted field."""

    entry: Where = field(default_factory=Where)
    fields: Mapping[str, Where] = field(default_factory=dict)

    def of(self, name: str) -> Where:
        """The place of a setting; what nobody wrote, such as a default, stands where the entry does."""
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            if found := self.fields.get(".".join(parts[:length])):
                return found
        return Where(self.entry.file, self.entry.line, name)


def nearest(name: str, existing: Iterable[str], *, most: int = 3) -> list[str]:
    """The existing names most like `name`, best first, compared without regard to case."""
    by_fold: dict[str, str] = {}
    for candidate in existing:
        by_fold.setdefault(candidate.casefold(), candidate)
    # One edit in a name of two or three characters is a ratio of 0.5.
    folded = name.casefold()
    matches = get_close_matches(folded, by_fold, n=most, cutoff=0.5)
    ratios = [SequenceMatcher(None, match, folded).ratio() for match in matches]
    # A clear best is told alone: beside "Euler", "Heun" is no help.
    return [by_fold[match] for match, ratio in zip(matches, ratios, strict=True) if ratio > ratios[0] - 0.15]


_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but for tab and line feed, turns of the direction of text, half surrogate pairs."""


def printable(text: str) -> str:
    """`text` with what would steer a terminal, or cannot be encoded, written as an escape: a server's words
    end up on the user's screen."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class StableflowsError(Exception):
    """Base of all errors meant for people. Its text is `printable`."""

    exit_code: ExitCode = ExitCode.ENTRIES_FAILED

    def __str__(self) -> str:
        return printable(super().__str__())


class InputError(StableflowsError):
    """What the user wrote cannot be run; nothing was sent.

    Args:
        message: what was wrong and what to do.
        where: file, line and field, as far as they are known.
        allowed: names or values that are allowed; the nearest to `value` are suggested.
        value: what was written in their place.

    Attributes:
        words: the text without its place.
    """

    exit_code = ExitCode.BAD_INPUT

    def __init__(
        self,
        message: str,
        *,
        where: Where | None = None,
        allowed: Sequence[str] = (),
        value: str | None = None,
    ) -> None:
        self.message = message
        self.where = where or Where()
        self.allowed = tuple(allowed)
        self.value = value
        self.suggestions = nearest(value, allowed) if value is not None else []
        self.words = self._words()
        place = str(self.where)
        super().__init__(f"{place}: {self.words}" if place else self.words)

    def _words(self) -> str:
        """All but where it stands."""
        text = self.message
        if self.suggestions:
            text += f" Did you mean {' or '.join(map(repr, self.suggestions))}?"
        elif self.allowed:
            shown = ", ".join(self.allowed[:12]) + (", ..." if len(self.allowed) > 12 else ".")
            text += f" Allowed: {shown}"
        return text


class InvalidInputs(InputError):  # noqa: N818 (it is several)
    """Several input errors, found together and told together."""

    MOST = 3
    """So often the same is told; a pack's thousand entries may all name the one sampler wrong."""

    def __init__(self, errors: Sequence[InputError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(self._lines()))

    def _lines(self) -> Iterator[str]:
        """Each error in its place; of the same one in many places the first few."""
        times = Counter(error.words for error in self.errors)
        told: Counter[str] = Counter()
        for error in self.errors:
            told[error.words] += 1
            more = times[error.words] - self.MOST
            if more < 2 or told[error.words] <= self.MOST:
                yield str(error)
            if more >= 2 and told[error.words] == self.MOST:
                yield f"  and the same in {more} more places"


class InvalidStagePlanError(InputError, ValueError):
    """Stages that make no sense together."""


class ServerError(StableflowsError):
    """Something a WebUI server did or did not do; its kinds are in `stableflows.webui.errors`."""
