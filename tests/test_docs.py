"""The docs say what the code says: fields, defaults, limits, exit codes, commands, links.

A table whose heading line is followed by `<!-- module:Model -->` lists that model's fields. Its columns are
field, default, allowed, and a meaning that is people's alone.
"""

from __future__ import annotations

import re
import shlex
from enum import IntEnum
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flows.cli import app
from stableflows.config import GenerationConfig, PipelineConfig
from stableflows.config.generation import Sampling
from stableflows.errors import ExitCode
from stableflows.sandbox.faults import FaultKind
from stableflows.sequencer import DEFAULT_SAMPLING
from stableflows.stages import StageType
from stableflows.webui.kinds import NameKind

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TABLE = re.compile(r"^<!-- (\S+):(\w+)(?: without (\S+))? -->\n\n((?:\|.*\n)+)", re.MULTILINE)


def page(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


# -- what a model says


def shown_default(name: str, field: FieldInfo, model: type[BaseModel]) -> str:
    default = field.get_default(call_default_factory=True)
    if issubclass(model, Sampling) and name in DEFAULT_SAMPLING and default is None:
        default = DEFAULT_SAMPLING[name]
    if field.is_required():
        return "must be given"
    if default is None or default in ("", (), {}):
        return ""
    if isinstance(default, BaseModel) or (isinstance(default, tuple) and isinstance(default[0], BaseModel)):
        return "see below"
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)


def parts_of(annotation: Any) -> list[Any]:
    """An annotation's types and marks, without its nesting."""
    return [annotation, *(part for inner in get_args(annotation) for part in parts_of(inner))]


def shown_allowed(field: FieldInfo) -> str:
    marks = [*field.metadata, *parts_of(field.annotation)]
    # A mark inside Annotated[..., Field(...)] that stands in a union is a FieldInfo of its own.
    marks += [deeper for mark in marks if isinstance(mark, FieldInfo) for deeper in mark.metadata]
    named = next((WORDS[mark] for mark in marks if isinstance(mark, NameKind)), None)
    literal = next((get_args(mark) for mark in marks if get_origin(mark) is Literal), ())
    return named or ", ".join(map(str, literal)) or shown_range(marks) or shown_type(marks)


WORDS = {
    NameKind.SAMPLER: "a sampler",
    NameKind.SCHEDULER: "a scheduler",
    NameKind.CHECKPOINT: "a checkpoint",
    NameKind.VAE: "a VAE",
    NameKind.UPSCALER: "an upscaler",
    NameKind.HIRES_UPSCALER: "an upscaler for hires",
    NameKind.AD_MODEL: "an ADetailer model",
    NameKind.STYLE: "styles",
}
"""Names that the server must have."""


def shown_range(marks: list[Any]) -> str:
    limits = {
        sign: f"{getattr(mark, name):.10g}"
        for mark in marks
        for sign, name in (("from", "ge"), ("to", "le"), ("above", "gt"), ("below", "lt"))
        if getattr(mark, name, None) is not None
    }
    if {"from", "to"} <= limits.keys():
        return f"{limits['from']} to {limits['to']}"
    return ", ".join(f"{sign} {limit}" for sign, limit in limits.items())


def shown_type(marks: list[Any]) -> str:
    types = {get_origin(mark) or mark for mark in marks}
    if any(isinstance(one, type) and issubclass(one, BaseModel) for one in types):
        return "settings"
    words = {bool: "true, false", dict: "mapping", int: "whole number", float: "number", Path: "a file"}
    return next((word for one, word in words.items() if one in types), "text")


def expected_rows(model: type[BaseModel], without: set[str]) -> dict[str, tuple[str, str]]:
    """Field -> (default, allowed), as a table of the docs has them."""
    return {
        name: (shown_default(name, field, model), shown_allowed(field))
        for name, field in model.model_fields.items()
        if name not in without
    }


# -- what the docs say

TABLES = [
    pytest.param(*found, id=f"{file.name}-{found[1]}")
    for file in PAGES
    for found in TABLE.findall(file.read_text("utf-8"))
]


@pytest.mark.parametrize(("module", "name", "base", "table"), TABLES)
def test_a_table_lists_its_model(module: str, name: str, base: str, table: str) -> None:
    model: type[BaseModel] = getattr(import_module(module), name)
    inherited: type[BaseModel] | None = getattr(import_module(module), base) if base else None
    without = set(inherited.model_fields) if inherited else set()
    written = {}
    for line in table.splitlines()[2:]:
        field, default, allowed, meaning = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:5])
        assert meaning, f"{field} has no meaning"
        written[field.strip("`")] = (default.strip("`"), allowed)
    expected = expected_rows(model, without)
    assert written == expected


def test_every_stage_has_its_tables() -> None:
    tables = {(param.values[0], param.values[1]) for param in TABLES}
    config = "stableflows.config"
    assert {
        (config, name)
        for name in (
            "PipelineConfig",
            "GenerationConfig",
            "Txt2ImgConfig",
            "HiresConfig",
            "RefinerConfig",
            "Img2ImgConfig",
            "ExtrasUpscale",
            "Img2ImgUpscale",
            "SDUpscale",
            "ADetailerConfig",
            "ADetailerUnit",
        )
    } <= tables
    assert set(StageType) <= set(PipelineConfig.model_fields), "a new stage needs a table"
    assert issubclass(GenerationConfig, Sampling)


def test_the_exit_codes_of_the_readme() -> None:
    written = dict(re.findall(r"^\| (\d+) \| ([^|]+) \|$", page("README.md"), re.MULTILINE))
    codes: type[IntEnum] = ExitCode
    assert {int(code) for code in written} == {code.value for code in codes}


def test_the_faults_of_the_sandbox() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", page("docs/sandbox.md").partition("## Faults")[2], re.MULTILINE)
    assert rows
    assert sorted(rows) == sorted(get_args(FaultKind))


COMMAND = re.compile(r"\s*(?:\w+=\S+ )*(?:stableflows |python -m flows\.)(run|doctor)\b(.*)")


def commands() -> list[tuple[str, list[str]]]:
    """Every command of ours in an indented or fenced block of the docs, as the words behind `stableflows`."""
    return [
        (file.name, [match[1], *shlex.split(match[2], comments=True)])
        for file in PAGES
        for line in file.read_text("utf-8").splitlines()
        if (match := COMMAND.match(line))
    ]


@pytest.mark.parametrize(
    ("file", "words"), [pytest.param(*found, id=" ".join([found[0], *found[1]])) for found in commands()]
)
def test_a_command_of_the_docs_is_one(file: str, words: list[str]) -> None:
    app.parse_args(words, exit_on_error=False, print_error=False)


def test_the_readme_has_commands() -> None:
    assert len([file for file, _ in commands() if file == "README.md"]) > 8


def test_the_make_targets_of_the_readme() -> None:
    targets = set(re.findall(r"^(\w+):", page("Makefile"), re.MULTILINE))
    named = set(re.findall(r"`?make (\w+)`?", page("README.md")))
    assert named
    assert named <= targets


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_links_lead_somewhere(file: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", file.read_text("utf-8")):
        if "://" not in target:
            assert (file.parent / target).exists(), target
