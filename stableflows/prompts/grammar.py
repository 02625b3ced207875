"""The wall around the package `dynamicprompts`: of it, only the grammar is used, and only here.

Its own samplers are not: they record no choice, cannot count, and never end on a missing wildcard in
combinatorial mode. Its parser drops what follows a `#` or `//`, refuses `100%`, `$5` and `a__b`, and turns
tabs to spaces. So every character that is not meant as syntax is hidden from it behind a private-use
character, one for one: what it says of positions stays true.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from functools import cache

from stableflows.prompts.syntax import (
    Access,
    Assign,
    Method,
    Option,
    Pick,
    Sequence,
    Slot,
    Syntax,
    Text,
    Wildcard,
    Wrap,
)

__all__ = ["SLOT", "TemplateError", "has_syntax", "parse"]

MAX_DEPTH = 20
"""Levels of braces; people use three or four."""
MAX_SEPARATORS = 40
MAX_CHARACTERS = 20_000
"""Of one prompt with syntax in it. A long prompt has 2,000."""

# Each pattern takes linear time on any text: none can match the same characters in two ways.
SLOT = re.compile(r"\[\[\s*([^\[\]|:,()<>{}\s][^\[\]|:,()<>{}\n]*)\]\]")
"""[[a, b]] and [[a|b]] are the WebUI's own: weaker attention, alternating words."""
_IN_NAME = r"(?:[^_{}$#()|<>,:;\[\]\n]|_(?!_)|\$\{[^{}]*\}|\{[^{}]*\})"
WILDCARD = re.compile(rf"__(?!_)[!~@]?(?! )({_IN_NAME}+)(?<! )(\((?:[^()\n])*\))?__")
TAG = re.compile(r"<[^<>{}|\n]*:[^<>{}|\n]*>")
BRACES = re.compile(r"\{[^{}]*\}")
SEPARATOR = re.compile(r"\{[ \t]*[!~@]?[ \t]*(?:[0-9]+-?|[0-9]*-[0-9]+)\$\$([^${}]+)\$\$")
PLAIN_BRACES = re.compile(r"(?<![$%])\{[^{}|$%]*\}")
ALTERNATION = re.compile(r"\[[^\[\]{}]*\|[^\[\]{}]*\]")

_HIDDEN = {character: chr(0xF8A0 + number) for number, character in enumerate("#$%_/{}|,\t")}
_SHOWN = {ord(hidden): character for character, hidden in _HIDDEN.items()}
_METHODS: dict[str, Method] = {"random": "random", "combinatorial": "combinatorial", "cycle": "cyclical"}


class TemplateError(ValueError):
    """A prompt that cannot be read; `offset` is the character in it, from 0."""

    def __init__(self, message: str, offset: int) -> None:
        self.message = message
        self.offset = offset
        super().__init__(message)


def has_syntax(text: str) -> bool:
    """Whether anything in a prompt might be drawn or replaced; quick, and without importing a parser."""
    braces = "{" in text and ("|" in text or "$" in text)
    return braces or ("[[" in text and bool(SLOT.search(text))) or bool(WILDCARD.search(text))


def parse(text: str, *, exists: Callable[[str], bool]) -> Syntax:
    """What `text` says.

    Args:
        exists: whether there is a wildcard of that name; inside `<lora:...>` only such names are wildcards.

    Raises:
        TemplateError: a brace that is never closed, or what the grammar does not know.
    """
    if len(text) > MAX_CHARACTERS:
        raise TemplateError(f"has {len(text)} characters; at most {MAX_CHARACTERS}", MAX_CHARACTERS)
    if strange := re.search("[\uf8a0-\uf8ff]", text):
        raise TemplateError(f"holds the private-use character U+{ord(strange[0]):04X}", strange.start())
    from pyparsing import ParseBaseException

    parse_prompt = _parser()
    hiding = _Hiding(text, exists)
    try:
        return _Reading(hiding).syntax(parse_prompt(hiding.text()))
    except ParseBaseException as error:
        raise TemplateError(_unreadable(text, error.loc), error.loc) from None
    except RecursionError:
        raise TemplateError("is nested too deeply", 0) from None
    except TemplateError:
        raise
    except (ValueError, AssertionError):  # A number of thousands of digits, for one.
        raise TemplateError(_unreadable(text, 0), 0) from None


@cache
def _parser() -> Callable[[str], object]:
    """The package's parser, imported and built at the first prompt that needs it (0.3 s)."""
    with warnings.catch_warnings():
        # Names of pyparsing that it has renamed; the package is from before that.
        warnings.simplefilter("ignore", DeprecationWarning)
        from dynamicprompts.parser.config import default_parser_config
        from dynamicprompts.parser.parse import get_cached_parser, parse

        parser = get_cached_parser(default_parser_config)
    # It looks for comments before each of its words, which takes two thirds of its time. Here none is left.
    for element in parser.visit_all():
        element.ignoreExprs = []
    return parse


def _unreadable(text: str, offset: int) -> str:
    what = repr(text[offset : offset + 12]) if offset < len(text) else "its end"
    return f"cannot be read as a dynamic prompt from {what} on"


class _Hiding:
    """A prompt in which every character that is no syntax here is hidden from the package's parser."""

    def __init__(self, text: str, exists: Callable[[str], bool]) -> None:
        self.source = text
        self.separators: list[str] = []
        self._shown = list(text)
        self._exists = exists
        self._fixed: set[int] = set()
        """Characters of syntax that are looked at already."""

    def text(self) -> str:
        """What the parser gets, as long as the prompt.

        Raises:
            TemplateError: a brace that is never closed, or too many levels of them.
        """
        self._wildcards()
        self._separators()
        for found in PLAIN_BRACES.finditer(self.source):
            if self._fixed.isdisjoint(range(*found.span())):
                self._hide(*found.span(), "{}")
        for found in ALTERNATION.finditer(self.source):
            self._hide(*found.span(), "|")
        self._rest()
        return "".join(self._shown)

    def _hide(self, start: int, end: int, characters: str) -> None:
        for index in range(start, end):
            if self.source[index] in characters and index not in self._fixed:
                self._shown[index] = _HIDDEN[self.source[index]]

    def _wildcards(self) -> None:
        in_tags = {index for tag in TAG.finditer(self.source) for index in range(*tag.span())}
        for found in WILDCARD.finditer(self.source):
            start, end = found.span()
            if start in in_tags and not self._exists(found[1]):
                continue
            self._fixed |= {start, start + 1, end - 2, end - 1}
            if found[2]:  # The package splits parameters at every comma, also at those inside braces.
                for braces in BRACES.finditer(self.source, *found.span(2)):
                    self._hide(*braces.span(), ",")

    def _separators(self) -> None:
        """`$$, $$`: the package takes ASCII only, and does not tell a given "," from none."""
        for found in SEPARATOR.finditer(self.source):
            if found[1] not in self.separators:
                self.separators.append(found[1])
            number = self.separators.index(found[1])
            if number >= MAX_SEPARATORS:
                raise TemplateError(f"has more than {MAX_SEPARATORS} different separators", found.start(1))
            start, end = found.span(1)
            self._shown[start:end] = chr(ord("0") + number) * (end - start)
            self._fixed |= set(range(start - 2, end + 2))

    def _rest(self) -> None:
        braces: list[int] = []
        for index, character in enumerate(self.source):
            if self._shown[index] != character or index in self._fixed:
                continue
            if character == "{":
                braces.append(index)
                if len(braces) > MAX_DEPTH:
                    raise TemplateError(f"has more than {MAX_DEPTH} levels of braces", index)
            elif character == "}" and braces:
                braces.pop()
            elif self._is_text(index, inside=bool(braces)):
                self._hide(index, index + 1, character)
        if braces:
            raise TemplateError("opens a brace that is never closed", braces[-1])

    def _is_text(self, index: int, *, inside: bool) -> bool:
        """Whether a character that the parser would stumble over is just text."""
        character = self.source[index]
        before, after = self.source[max(0, index - 1) : index], self.source[index + 1 : index + 2]
        if character == "$":
            return after != "{" and not (inside and "$" in (before, after))
        if character == "%":
            return after != "{"
        if character == "/":  # Comments: //, /* and */
            return after in ("/", "*") or before == "*"
        if character == "_":
            return "_" in (before, after)
        return character in "#\t}"


def _show(text: str) -> str:
    return text.translate(_SHOWN)


class _Reading:
    """The package's commands as our own syntax."""

    def __init__(self, hiding: _Hiding) -> None:
        self._hiding = hiding

    def syntax(self, command: object) -> Syntax:  # noqa: PLR0911 (one kind of command each)
        from dynamicprompts import commands
        from dynamicprompts.commands import variable_commands as variables

        match command:
            case str() | commands.LiteralCommand():
                return self._text(command if isinstance(command, str) else command.literal)
            case commands.SequenceCommand():
                return Sequence(tuple(self.syntax(part) for part in command.tokens))
            case commands.VariantCommand():
                options = tuple(Option(self.syntax(each.value), each.weight) for each in command.variants)
                return self._pick(command, options)
            case commands.WildcardCommand():
                given = {_show(name): self.syntax(value) for name, value in command.variables.items()}
                if "" in given:
                    raise TemplateError("has a wildcard with a parameter without a name", 0)
                return Wildcard(self.syntax(command.wildcard), given, self._method(command))
            case variables.VariableAssignmentCommand():
                value = self.syntax(command.value)
                return Assign(command.name, value, bool(command.immediate), bool(command.overwrite))
            case variables.VariableAccessCommand():
                return Access(command.name, None if command.default is None else self.syntax(command.default))
            case commands.WrapCommand():
                return Wrap(self.syntax(command.wrapper), self.syntax(command.inner))
        raise TypeError(f"dynamicprompts has a command that is not known here: {command!r}")

    def _pick(self, command: object, options: tuple[Option, ...]) -> Pick:
        low, high, separator = (getattr(command, name) for name in ("min_bound", "max_bound", "separator"))
        weights = [option.weight for option in options]
        if any(weight < 0 or not math.isfinite(weight) for weight in weights) or not sum(weights):
            raise TemplateError(f"has the weights {weights}; they must not be negative, nor all 0", 0)
        # None given: the package's own joiner has no blank after it.
        given = ", " if separator == "," else self._hiding.separators[ord(separator[0]) - ord("0")]
        return Pick(options, low, high, given, self._method(command))

    def _method(self, command: object) -> Method | None:
        method = getattr(command, "sampling_method", None)
        return _METHODS[method.value] if method else None

    def _text(self, literal: str) -> Syntax:
        text = _show(literal)
        parts: list[Syntax] = []
        for index, piece in enumerate(SLOT.split(text)):
            if index % 2:
                parts.append(Slot(piece.strip()))
            elif piece:
                parts.append(Text(piece))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))
