"""Any data and any prompt is read or refused, and what is written is what is read. Any bytes: `test_fuzz`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stableflows.errors import InputError, Where
from stableflows.packs import free_text, read_sources
from stableflows.packs.document import read_document
from stableflows.packs.prompts import faults

relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

WORDS = (
    "entries:\n", "- ", "  ", "\n", "prompt: ", "config: ", "{", "}", "[", "]", ": ", ", ", '"', "'", "|\n",
    "&a ", "*a", "<<: ", "!!int ", "!x ", "#", "\t", "---\n", "neg: ", "[[s]]", "__w__", "<embedding:e>",
    "1e9", "-1", "no", "~", "packs", "inputs: ", "id: ", "count: ", "\\u0007", "\\ud800", "\ufeff", "\u2028",
    "é", "%", "@",
)  # fmt: skip
syntax = st.lists(st.sampled_from(WORDS), max_size=40).map("".join)
texts = st.one_of(st.text(max_size=200), syntax)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
shapes = st.dictionaries(
    st.sampled_from(
        ["entries", "packs", "pipeline", "run_config", "config", "globals", "id", "name", "seed"]
    ),
    st.one_of(
        json_values,
        st.lists(
            st.dictionaries(
                st.sampled_from(
                    ["prompt", "entry", "config", "inputs", "count", "config_snapshot", "pack_id"]
                ),
                json_values,
            ),
            max_size=3,
        ),
    ),
)


@given(data=shapes)
@relaxed
def test_any_data_is_read_or_refused(tmp_path: Path, data: dict[str, Any]) -> None:
    file = tmp_path / "p.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    try:
        source = read_sources([file])
    except InputError as error:
        assert str(error)
    else:
        assert set(data) & {"packs", "entries"}
        assert len(source.packs) <= len(data["packs"] if "packs" in data else data["entries"])


@given(prompt=texts)
@relaxed
def test_any_free_text_is_read_or_refused(prompt: str) -> None:
    try:
        entry = free_text(prompt).packs[0].entries[0]
    except InputError as error:
        assert str(error)
    else:
        assert entry.prompt


printable = st.characters(categories=["L", "N", "P", "S", "Zs"])
prompts = (
    st.text(printable, min_size=1, max_size=60)
    .map(str.strip)
    .filter(
        lambda text: (
            text and text == " ".join(text.split()) and not list(faults(text, Where())) and "<" not in text
        )
    )
)
# PyYAML writes what YAML 1.2 takes for a number without quotes, where YAML 1.1 does not.
not_a_number = prompts.filter(lambda text: not text[:1].isdigit() and text[:1] not in "+-.")
configs = st.fixed_dictionaries(
    {},
    optional={
        "checkpoint": not_a_number,
        "count": st.integers(1, 50),
        "txt2img": st.fixed_dictionaries(
            {},
            optional={"steps": st.integers(1, 50), "cfg_scale": st.floats(0, 30), "enabled": st.booleans()},
        ),
    },
)
entries = st.one_of(
    not_a_number,
    st.fixed_dictionaries(
        {"prompt": not_a_number},
        optional={"negative_prompt": not_a_number, "name": not_a_number, "config": configs},
    ),
)
packs = st.fixed_dictionaries(
    {"entries": st.lists(entries, min_size=1, max_size=5)},
    optional={"id": not_a_number, "name": not_a_number, "config": configs},
)


def layers_of(written: dict[str, Any]) -> list[Any]:
    return [written["config"]] if written.get("config") else []


@given(pack=packs, flow=st.sampled_from([True, False, None]), width=st.sampled_from([20, 80, 1000]))
@relaxed
def test_a_pack_that_a_program_writes_is_read_as_written(
    tmp_path: Path, pack: dict[str, Any], flow: bool | None, width: int
) -> None:
    file = tmp_path / "p.yaml"
    text = yaml.safe_dump(pack, allow_unicode=True, default_flow_style=flow, width=width, sort_keys=False)
    file.write_text(text, encoding="utf-8")
    (read,) = read_sources([file]).packs
    assert read.pack_id == pack.get("id", "p")
    assert [layer.values for layer in read.layers] == layers_of(pack)
    assert len(read.entries) == len(pack["entries"])
    for got, written in zip(read.entries, pack["entries"], strict=True):
        entry = {"prompt": written} if isinstance(written, str) else written
        assert got.prompt == entry["prompt"]
        assert got.negative_prompt == entry.get("negative_prompt", "")
        assert got.name == entry.get("name")
        assert [layer.values for layer in got.layers] == layers_of(entry)


@given(pack=packs, indent=st.sampled_from([None, 0, 2, "\t"]))
@relaxed
def test_every_line_of_a_json_pack_is_known(
    tmp_path: Path, pack: dict[str, Any], indent: int | str | None
) -> None:
    file = tmp_path / "p.json"
    text = json.dumps(pack, indent=indent, ensure_ascii=False)
    file.write_text(text, encoding="utf-8")
    document = read_document(file)
    assert document.data == pack
    lines = text.split("\n")
    for path, line in document.lines.items():
        if isinstance(path[-1], str):
            assert json.dumps(path[-1], ensure_ascii=False) in lines[line - 1]


blocks = st.lists(
    st.tuples(st.lists(not_a_number, min_size=1, max_size=3), st.lists(not_a_number, max_size=2)),
    min_size=1,
    max_size=5,
)


@given(blocks=blocks, gap=st.sampled_from(["\n\n", "\n \t\n", "\r\n\r\n", "\n# c\n\n\n"]))
@relaxed
def test_a_text_pack_is_read_as_written(
    tmp_path: Path, blocks: list[tuple[list[str], list[str]]], gap: str
) -> None:
    blocks = [
        (["a " + line for line in positive], ["b " + line for line in negative])
        for positive, negative in blocks
    ]
    file = tmp_path / "p.txt"
    text = gap.join(
        "\n".join([*positive, *(f"neg: {each}" for each in negative)]) for positive, negative in blocks
    )
    file.write_text(text, encoding="utf-8", newline="")
    (pack,) = read_sources([file]).packs
    assert [(entry.prompt, entry.negative_prompt) for entry in pack.entries] == [
        (" ".join(positive), " ".join(negative)) for positive, negative in blocks
    ]
