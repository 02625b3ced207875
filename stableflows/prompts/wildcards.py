"""Folders of wildcards: `.txt` with a value a line, `.yaml` and `.json` with nested maps of lists.

    colours.txt          __colours__
    people/hats.txt      __people/hats__
    plants.yaml          {trees: {tall: [oak, 2::ash]}}     __trees/tall__; the file's name is no part of it

A value in YAML or JSON may have a weight, `2::ash` or {text: ash, weight: 2}; in `.txt` none has.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from stableflows.errors import InputError, InvalidInputs, Where, nearest
from stableflows.packs.document import read_document
from stableflows.packs.files import read_text
from stableflows.prompts import tree
from stableflows.prompts.grammar import parse
from stableflows.prompts.syntax import Pick, Syntax

__all__ = ["Value", "Wildcards"]

STRUCTURED = (".yaml", ".yml", ".json")
MAX_FILES = 50_000
WEIGHT = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)::(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Value:
    """A line of a wildcard."""

    text: str
    weight: float = 1.0


@dataclass
class _Folder:
    """What is in one folder: values by name, read when they are needed."""

    path: Path
    text_files: dict[str, Path] = field(default_factory=dict)
    lists: dict[str, tuple[Value, ...]] = field(default_factory=dict)
    unreadable: list[InputError] = field(default_factory=list)

    @property
    def names(self) -> Iterator[str]:
        yield from self.text_files
        yield from self.lists


class Wildcards:
    """The wildcards of some folders; a name that is in several is taken from the first.

    Attributes:
        closed: those that were compiled and are the same in every prompt.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        self._read: list[_Folder] | None = None
        self._values: dict[str, tuple[Value, ...]] = {}
        self._found: dict[str, list[str]] = {}
        self._parsed: dict[str, Syntax] = {}
        self.closed: dict[tuple[str, bool, Pick], tree.Node] = {}

    def names(self) -> list[str]:
        """Every name."""
        return list(dict.fromkeys(name for folder in self._all() for name in folder.names))

    def find(self, pattern: str) -> list[str]:
        """The names that a name or a pattern with `*` or `?` stands for; none, if there is none.

        As the package has it, a name that is nowhere is looked for in all folders below: `hats` is
        `people/hats`, if there is no `hats`.
        """
        if pattern not in self._found:
            self._found[pattern] = self._find(re.sub(r"[\\/]+", "/", pattern).strip("/ "))
        return self._found[pattern]

    def _find(self, path: str) -> list[str]:
        names = self.names()
        if path in names:
            return [path]
        if re.search("[*?]", path):
            matching = [name for name in names if fnmatchcase(name, path.replace("[", "[[]"))]
            if matching:
                return matching
        return [name for name in names if fnmatchcase(name, f"*/{path}".replace("[", "[[]"))]

    def values(self, name: str) -> tuple[Value, ...]:
        """The values of a name that exists, none twice; those of equal text together weigh their sum.

        Raises:
            InputError: its file cannot be read, or holds no value.
        """
        if name not in self._values:
            folder = next(folder for folder in self._all() if name in folder.names)
            file = folder.text_files.get(name)
            found = _lines(file) if file else folder.lists[name]
            weights: dict[str, float] = {}
            for value in found:
                weights[value.text] = weights.get(value.text, 0) + value.weight if not file else 1.0
            if not sum(weights.values()):
                where = Where(file) if file else Where(folder.path)
                raise InputError(f"the wildcard __{name}__ has no values.", where=where)
            self._values[name] = tuple(Value(text, weight) for text, weight in weights.items())
        return self._values[name]

    def parsed(self, text: str) -> Syntax:
        """What a value with syntax in it says; read once, for reading is what takes the longest.

        Raises:
            TemplateError: it cannot be read.
        """
        if text not in self._parsed:
            self._parsed[text] = parse(text, exists=self.has)
        return self._parsed[text]

    def has(self, name: str) -> bool:
        """Whether there is a wildcard of that name or pattern."""
        return bool(self.find(name))

    def missing(self, pattern: str, where: Where) -> InputError:
        """Why there is no such wildcard: where it was looked for, and which names are near."""
        unreadable = [error for folder in self._all() for error in folder.unreadable]
        if not self.folders:
            return InputError(
                f"there is no wildcard __{pattern}__, for there is no folder of wildcards; name one with "
                "`wildcards: FOLDER`, or make a folder `wildcards` beside the pack.",
                where=where,
            )
        looked = (
            " or ".join(f"{folder / pattern}.txt" for folder in self.folders)
            + ", nor under that name in a .yaml or .json there"
        )
        names = self.names()
        close = nearest(pattern, names) or nearest(pattern, [name.rsplit("/", 1)[-1] for name in names])
        hint = f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
        if not names:
            hint = " There are no wildcards in it." if len(self.folders) == 1 else " There are none in them."
        broken = "".join(f" Not readable: {error}" for error in unreadable[:3])
        return InputError(f"there is no wildcard __{pattern}__: no file {looked}.{hint}{broken}", where=where)

    def _all(self) -> list[_Folder]:
        if self._read is None:
            self._read = [_index(folder) for folder in self.folders]
        return self._read


def _index(root: Path) -> _Folder:
    """The names in a folder and those below it; `.txt` files are not opened yet."""
    folder = _Folder(root)
    seen: set[str] = set()
    count = 0
    for place, folders, files in os.walk(root, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()  # a link to a folder above
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        count += len(files)
        if count > MAX_FILES:
            raise InputError(
                f"holds more than {MAX_FILES:,} files; is it a folder of wildcards?", where=Where(root)
            )
        for name in sorted(files):
            file = Path(place) / name
            parent = file.parent.relative_to(root).as_posix()
            prefix = "" if parent == "." else f"{parent}/"
            suffix = file.suffix.lower()
            if suffix == ".txt":
                folder.text_files.setdefault(prefix + file.stem, file)
            elif suffix in STRUCTURED:
                _structured(file, prefix, folder)
    return folder


def _structured(file: Path, prefix: str, folder: _Folder) -> None:
    try:
        document = read_document(file)
    except InvalidInputs as error:
        folder.unreadable.append(error.errors[0])
        return
    except InputError as error:
        folder.unreadable.append(error)
        return
    if document.is_list:
        _list(document.data["entries"], prefix + file.stem, file, folder)
    else:
        _map(document.data, prefix, file, folder)


def _map(data: dict[str, object], prefix: str, file: Path, folder: _Folder) -> None:
    for key, value in data.items():
        if isinstance(value, dict):
            _map(value, f"{prefix}{key}/", file, folder)
        elif value is not None:
            _list(value, prefix + key, file, folder)


def _list(data: object, name: str, file: Path, folder: _Folder) -> None:
    items = data if isinstance(data, list) else [data]
    try:
        values = tuple(_value(item) for item in items if item not in (None, ""))
    except ValueError as error:
        folder.unreadable.append(InputError(f"{error}.", where=Where(file, field=name)))
        return
    folder.lists.setdefault(name, values)


def _value(item: object) -> Value:
    """A member of a list: text, text with its weight in front, or a mapping.

    Raises:
        ValueError: it is something else.
    """
    weight: object = 1.0
    if isinstance(item, str):
        text: object = item
        if weighted := WEIGHT.fullmatch(item):
            weight, text = float(weighted[1]), weighted[2]
    elif isinstance(item, dict):
        text, weight = item.get("text", item.get("content")), item.get("weight", 1.0)
        if unknown := item.keys() - {"text", "content", "weight"}:
            raise ValueError(f"a value has the key {sorted(unknown)[0]!r}; it may have text and weight")
    elif isinstance(item, int) and not isinstance(item, bool):
        text = str(item)
    else:
        raise ValueError(f"holds {item!r} where a text is expected; is it to be in quotes?")
    if (
        not isinstance(text, str)
        or isinstance(weight, bool)
        or not isinstance(weight, int | float)
        or weight < 0
    ):
        raise ValueError(f"{item!r} is no value; write text, or {{text: ..., weight: 2}}")
    return Value(text.strip(), float(weight))


def _lines(file: Path) -> Iterator[Value]:
    """The values of a text file: its lines, but for empty ones and those that begin with `#`."""
    for line in read_text(file).split("\n"):
        text = line.strip()
        if text and not text.startswith("#"):
            yield Value(text)
