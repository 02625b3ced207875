"""YAML and JSON files as plain data, and the line on which each value was written.

YAML is read as YAML 1.2 reads it, but for yes/no/on/off, which stay booleans: PyYAML's own 1.1 makes a
number of `16:9`, a date of `2026-01-31`, and a text of `1e-3`. JSON goes through the same nodes, since only
they know lines; its values are then read by JSON's rules. PyYAML's C loader is ten times as fast, but a
deeply nested file crashes the process in it.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stableflows.config.layers import Layer
from stableflows.errors import InputError, InvalidInputs, Where
from stableflows.packs.files import CONTROL, MAX_BYTES, read_text

__all__ = ["Document", "FieldPath", "PlainLoader", "kind", "read_document", "read_value"]

FieldPath = tuple[str | int, ...]

MAX_SIZE = 4 * MAX_BYTES
"""Characters in all values together, each counting `VALUE_SIZE` more: aliases can multiply without end."""
VALUE_SIZE = 64
MAX_NODES = MAX_SIZE // VALUE_SIZE
TOO_MANY = "holds too many values; are aliases multiplied?"
MAX_DEPTH = 50
"""Levels of nesting; a pack needs eight."""

QUOTE = (
    "A prompt with ': ' in it, or one that begins with any of [ { * & ! % @ ` | > \" ', must be in quotes."
)


@dataclass(frozen=True)
class Document:
    """A file's data and the line of each value, by path.

    Attributes:
        is_list: the file is a list, which stands in `data` under the key `entries`.
    """

    file: Path
    data: dict[str, Any]
    lines: Mapping[FieldPath, int]
    is_list: bool = False

    def layer(self, *prefix: str | int) -> Layer:
        """The mapping at `prefix` as a config layer."""
        values: Any = self.data
        for key in prefix:
            values = values[key]
        return Layer(values, file=self.file, lines=self.lines, prefix=prefix)

    def where(self, *path: str | int) -> Where:
        """The place of a value; the nearest enclosing one whose line is known."""
        return Layer({}, file=self.file, lines=self.lines).where(path)


class PlainLoader(yaml.SafeLoader):
    """Knows the types of YAML 1.2, by which plain scalars are told apart."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (PyYAML's own name and type)
    nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """As PyYAML does, but not without end: each value takes it 40 µs and a kilobyte."""
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise yaml.composer.ComposerError(None, None, TOO_MANY, self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)


def _tag(name: str) -> str:
    return f"tag:yaml.org,2002:{name}"


for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"(?i:true|false|yes|no|on|off)", list("tTfFyYnNoO")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?i:inf)|\.(?i:nan)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
):
    PlainLoader.add_implicit_resolver(_tag(_name), re.compile(f"(?:{_pattern})$"), _first)

SCALARS: dict[str, Callable[[str], Any]] = {
    _tag("str"): str,
    _tag("null"): lambda _: None,
    _tag("bool"): lambda text: text.lower() in ("true", "yes", "on"),
    _tag("int"): int,
    _tag("float"): lambda text: float(re.sub(r"\.(?=inf|nan)", "", text.lower())),
    _tag("merge"): str,
}


def read_document(file: Path) -> Document:
    """A YAML file, or with the suffix .json a JSON file, whose top level is a mapping or a list.

    Raises:
        InvalidInputs: it is not valid, holds a key twice, a key that is no text, a control character, ...
    """
    text = read_text(file)
    if not text.strip():
        raise InputError("is empty.", where=Where(file))
    json_rules = file.suffix.lower() == ".json"
    if json_rules:
        _check_json(text, file)
        # Valid JSON has tabs only between its values, where YAML takes none.
        text = text.replace("\t", " ")
    builder = _Builder(file, text, json_rules=json_rules)
    try:
        node = _compose(text, file)
        is_list = isinstance(node, yaml.SequenceNode)
        data = builder.build(node, ("entries",) if is_list else ())
    except RecursionError:
        raise InputError("is nested too deeply.", where=Where(file)) from None
    if builder.errors:
        raise InvalidInputs(builder.errors)
    if is_list:
        return Document(file, {"entries": data}, builder.lines, is_list=True)
    if not isinstance(data, dict):
        raise InputError("holds no mapping; a pack has the key `entries:`.", where=Where(file, 1))
    return Document(file, data, builder.lines)


def read_value(text: str, *, where: Where) -> Any:
    """A value that stands alone, such as an option's, as a YAML file would have it. What is no YAML is text:
    a prompt with a colon in it.

    Raises:
        InputError: a number or a structure that cannot be read.
    """
    builder = _Builder(Path(), text, json_rules=False)
    try:
        node = PlainLoader(text).get_single_node()
        value = None if node is None else builder.build(node, ())
    except yaml.YAMLError:
        return text
    except (InputError, ValueError, OverflowError, RecursionError) as error:
        reason = error.message if isinstance(error, InputError) else "is nested too deeply."
        raise InputError(reason, where=where) from None
    if builder.errors:
        raise InvalidInputs([InputError(error.message, where=where) for error in builder.errors])
    return value


def _check_json(text: str, file: Path) -> None:
    try:
        # Numbers are read by the builder, which knows the place of one that is too large, or NaN.
        json.loads(text, parse_int=str, parse_float=str)
    except json.JSONDecodeError as error:
        reason = error.msg[0].lower() + error.msg[1:]
        raise InputError(f"is not valid JSON: {reason}.", where=Where(file, error.lineno)) from None
    except RecursionError:
        raise InputError("is nested too deeply.", where=Where(file)) from None


def _compose(text: str, file: Path) -> yaml.Node:
    try:
        node = PlainLoader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = _line_of(text, mark.index) if mark else None
        raise InputError(_syntax(error), where=Where(file, line)) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # Not printable characters (ReaderError), and escapes such as "\UFFFFFFFF".
        position = getattr(error, "position", None)
        line = _line_of(text, position) if isinstance(position, int) else None
        reason = getattr(error, "reason", None) or str(error)
        raise InputError(f"is not valid YAML: {reason}.", where=Where(file, line)) from None
    if node is None:
        raise InputError("holds only comments.", where=Where(file))
    return node


def _line_of(text: str, index: int) -> int:
    return text.count("\n", 0, index) + 1


def _syntax(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "it cannot be parsed"
    if problem == TOO_MANY:
        return TOO_MANY
    if "another document" in problem:
        return "begins a second document (`---`); keep one a file."
    if "\\t" in problem:
        return "is not valid YAML: a tab stands where only spaces may; indent with spaces."
    return f"is not valid YAML: {problem}. {QUOTE}"


class _Builder:
    """Plain data from nodes; what is wrong with single values is gathered in `errors`."""

    def __init__(self, file: Path, text: str, *, json_rules: bool) -> None:
        self.file = file
        self.text = text
        self.json_rules = json_rules
        self.lines: dict[FieldPath, int] = {}
        self.errors: list[InputError] = []
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._size = 0
        self._open: set[int] = set()

    def build(self, node: yaml.Node, path: FieldPath) -> Any:
        """The value of `node`.

        Raises:
            InputError: aliases make it refer to itself, or multiply it beyond `MAX_SIZE`; it is too deep.
        """
        if len(path) > MAX_DEPTH:
            raise InputError("is nested too deeply.", where=Where(self.file, self._line(node)))
        if isinstance(node, yaml.ScalarNode):
            self._spend(len(node.value), node)
            return self._scalar(node, path)
        self._spend(0, node)
        if id(node) in self._open:
            raise InputError("contains itself, through an alias.", where=self._place(node, path))
        self._open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            built: Any = self._mapping(node, path)
        else:
            built = []
            for index, item in enumerate(node.value):
                self.lines[*path, index] = self._line(item)
                built.append(self.build(item, (*path, index)))
        self._open.discard(id(node))
        return built

    def _mapping(self, node: yaml.MappingNode, path: FieldPath) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key_node, value_node in node.value:
            # What is merged (`<<`) is below what the mapping itself says, wherever it stands.
            if key_node.tag == _tag("merge"):
                for base in self._merged(value_node, path):
                    merged = {**base, **merged}
        for key_node, value_node in node.value:
            if key_node.tag == _tag("merge"):
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in own:
                first = self.lines[*path, key]
                self._error(f"stands here twice, first on line {first}; keep one.", key_node, (*path, key))
                continue
            self.lines[*path, key] = self._line(key_node)
            own[key] = self.build(value_node, (*path, key))
        return {**merged, **own}

    def _merged(self, node: yaml.Node, path: FieldPath) -> list[dict[str, Any]]:
        bases = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not all(isinstance(base, yaml.MappingNode) for base in bases):
            self._error("`<<` takes a mapping, or a list of them.", node, path)
            return []
        # Of several, the first wins; its lines are to be kept, too.
        return list(reversed([self.build(base, path) for base in reversed(bases)]))

    def _key(self, node: yaml.Node, path: FieldPath) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self._error(f"a key must be text. {QUOTE}", node, path)
            return None
        key = self._scalar(node, path)
        if isinstance(key, str):
            return key
        self._error(f"the key {node.value!r} is read as {kind(key)}; put it in quotes.", node, path)
        return None

    def _scalar(self, node: yaml.ScalarNode, path: FieldPath) -> Any:
        read = SCALARS.get(node.tag)
        if read is None:
            self._error(f"the YAML tag {node.tag!r} is not read here. {QUOTE}", node, path)
            return None
        try:
            if self.json_rules:
                value = json.loads(self.text[node.start_mark.index : node.end_mark.index])
            else:
                value = read(node.value)
        except ValueError as error:
            self._error(f"cannot be read: {error}.", node, path)
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self._error("is not a finite number.", node, path)
        if isinstance(value, str):
            return self._clean(value, node, path)
        return value

    def _clean(self, value: str, node: yaml.Node, path: FieldPath) -> str:
        value = value.replace("\ufeff", "")
        control = CONTROL.search(value) or re.search("[\ud800-\udfff]", value)
        if control:
            self._error(f"holds the control character U+{ord(control[0]):04X}.", node, path)
        return value

    def _spend(self, characters: int, node: yaml.Node) -> None:
        self._size += VALUE_SIZE + characters
        if self._size > MAX_SIZE:
            raise InputError(TOO_MANY, where=Where(self.file, self._line(node)))

    def _line(self, node: yaml.Node) -> int:
        # Not the mark's own line: it also counts U+0085 and U+2028, which editors do not.
        return bisect_right(self._starts, node.start_mark.index)

    def _place(self, node: yaml.Node, path: FieldPath) -> Where:
        return Where(self.file, self._line(node), ".".join(map(str, path)) or None)

    def _error(self, message: str, node: yaml.Node, path: FieldPath) -> None:
        self.errors.append(InputError(message, where=self._place(node, path)))


def kind(value: object) -> str:
    """What a YAML or JSON value is, in words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return "a text" if value else "an empty text"
    return "a list" if isinstance(value, list) else "a mapping"
