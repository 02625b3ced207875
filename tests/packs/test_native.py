"""Any pack as a native one, and what can hold a native pack read back as the same."""

from __future__ import annotations

import csv
import io
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stableflows.errors import Where
from stableflows.packs import read_sources
from stableflows.packs.model import PromptPack
from stableflows.packs.native import as_native, native_yaml
from stableflows.packs.prompts import faults
from tests.packs.test_properties import packs, prompts, relaxed

SAMPLES = Path(__file__).parent / "samples"


def read(file: Path) -> PromptPack:
    (pack,) = read_sources([file]).packs
    return pack


def converted(pack: PromptPack, folder: Path) -> PromptPack:
    """The pack written as a native one, and read."""
    file = folder / "converted.yaml"
    file.write_text(native_yaml(pack), encoding="utf-8")
    return read(file)


@pytest.mark.parametrize(
    "name",
    [
        "block.txt",
        "native.yaml",
        "native.json",
        "list.json",
        "plain.tsv",
        "header.tsv",
        "table.csv",
        "semicolons.csv",
        "webui.txt",
        "plain.prompts",
    ],
)
def test_each_sample_as_a_native_pack_says_the_same(tmp_path: Path, name: str) -> None:
    pack = read(SAMPLES / name)
    again = converted(pack, tmp_path)
    assert as_native(again) == as_native(pack)
    assert len(again.entries) == len(pack.entries) >= 2


def test_what_a_native_pack_looks_like() -> None:
    assert native_yaml(read(SAMPLES / "native.yaml")) == (
        "id: coast\n"
        "name: The coast\n"
        "globals:\n"
        "  prompt: highly detailed\n"
        "  negative_prompt: watermark\n"
        "config:\n"
        "  checkpoint: sandbox_base_v1\n"
        "  txt2img:\n"
        "    enabled: true\n"
        "    steps: 24\n"
        "entries:\n"
        "- a lighthouse at dusk\n"
        "- prompt: 'a harbour: morning, fog'\n"
        "  negative_prompt: text\n"
        "  name: harbour\n"
        "  count: 2\n"
        "  config:\n"
        "    txt2img:\n"
        "      seed: 7\n"
        "    upscale:\n"
        "      enabled: true\n"
        "      factor: 1.5\n"
    )


def test_what_a_pack_says_of_its_prompts_is_kept(tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    (tmp_path / "p.yaml").write_text(
        """
prompts: {mode: combinatorial, limit: 3, seed: 5}
wildcards: words
styles: [ink]
styles_file: my.csv
negatives: {winter: green leaves}
matrix:
  mode: random
  limit: 12
  slots: {hair: [red, {black: grey}], sky: {clear: clouds, grey: ''}}
  replace: ["old => a | b"]
sweep:
  - checkpoint: [a, b]
  - {txt2img.steps: [20, 30], txt2img.cfg_scale: [5, 7]}
entries:
  - a {red|blue} boat
  - prompt: a dune
    prompts: {mode: random}
    styles: [oil]
    sweep: [{txt2img.seed: [1, 2]}]
"""
    )
    pack = read(tmp_path / "p.yaml")
    (tmp_path / "elsewhere").mkdir()
    again = converted(pack, tmp_path / "elsewhere")
    assert again.language == pack.language
    assert [(each.styles, each.drawing, each.sweep) for each in again.entries] == [
        (each.styles, each.drawing, each.sweep) for each in pack.entries
    ]


def test_input_files_become_absolute(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    image = tmp_path / "in/a.png"
    image.write_bytes(b"\x89PNG")
    (tmp_path / "in/p.csv").write_text("inputs,upscale_enabled\na.png,true\n")
    again = converted(read(tmp_path / "in/p.csv"), tmp_path)
    assert again.entries[0].inputs == (image,)


@given(pack=packs)
@relaxed
def test_a_native_pack_written_and_read_is_the_same(tmp_path: Path, pack: dict[str, Any]) -> None:
    file = tmp_path / "p.json"
    file.write_text(json.dumps(pack), encoding="utf-8")
    first = read(file)
    assert as_native(converted(first, tmp_path)) == as_native(first)


@given(
    text=st.one_of(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30),
        st.sampled_from(["no", "1e-3", "~", "2026-01-31", "16:9", "0x10", "null", "<<", "- a", "a: b"]),
    )
)
@relaxed
def test_whatever_a_text_looks_like_it_stays_one(tmp_path: Path, text: str) -> None:
    """`no`, `1e-3`, `~`, `2026-01-31`: texts that YAML reads as something else."""
    assume(not list(faults(text, Where())))
    data = {"id": "p", "entries": ["a"], "globals": {"prompt": text}}
    file = tmp_path / "p.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    try:
        pack = read(file)
    except Exception as error:
        assert "unresolved" not in str(error)
        return
    assert converted(pack, tmp_path).globals.prompt == pack.globals.prompt


# -- native -> another form that can hold it -> native

cells = prompts.filter(lambda text: "--" not in text and "\t" not in text)
rows = st.lists(
    st.fixed_dictionaries(
        {"prompt": cells, "negative_prompt": st.one_of(st.just(""), cells)},
        optional={
            "steps": st.integers(1, 150),
            "seed": st.integers(-1, 2**32 - 1),
            "cfg_scale": st.floats(0, 30),
            "count": st.integers(1, 50),
            "sampler": st.sampled_from(["Euler", "DPM++ 2M"]),
            "tiling": st.booleans(),
        },
    ),
    min_size=1,
    max_size=4,
)


BESIDE = ("prompt", "negative_prompt", "count")


def native_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    entries = []
    for row in rows:
        entry: dict[str, Any] = {key: row[key] for key in BESIDE if row.get(key)}
        settings = {key: value for key, value in row.items() if key not in BESIDE}
        entries.append({**entry, "config": {"txt2img": settings}} if settings else entry)
    return {"id": "p", "entries": entries}


def as_csv(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_list(rows: list[dict[str, Any]]) -> str:
    return json.dumps([{key: value for key, value in row.items() if value != ""} for row in rows])


def as_lines(rows: list[dict[str, Any]]) -> str:
    tags = {"sampler": "sampler_name", "count": "n_iter"}

    def quoted(value: Any) -> str:
        return shlex.quote(str(value).lower() if isinstance(value, bool) else str(value))

    return "\n".join(
        " ".join(f"--{tags.get(key, key)} {quoted(value)}" for key, value in row.items() if value != "")
        for row in rows
    )


FORMS = [("p.csv", as_csv), ("p.json", as_list), ("p.prompts", as_lines), ("p.txt", as_lines)]


@pytest.mark.parametrize(
    ("name", "written"),
    [("p.csv", as_csv), ("p.json", as_list), ("p.prompts", as_lines), ("p.txt", as_lines)],
)
@given(rows=rows)
@relaxed
def test_a_pack_in_another_form_is_the_same_pack(tmp_path: Path, name: str, written: Any, rows: Any) -> None:
    (tmp_path / name).write_text(written(rows), encoding="utf-8", newline="")
    native = tmp_path / "native.json"
    native.write_text(json.dumps(native_of(rows)), encoding="utf-8")
    expected = as_native(read(native))
    assert as_native(read(tmp_path / name)) == expected
    assert as_native(converted(read(tmp_path / name), tmp_path)) == expected


@given(rows=st.lists(st.tuples(cells, st.one_of(st.just(""), cells)), min_size=1, max_size=4))
@relaxed
def test_prompts_alone_in_the_forms_that_hold_no_more(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    rows = [(f"a {prompt}", negative) for prompt, negative in rows]
    (tmp_path / "p.tsv").write_text("\n".join("\t".join(row) for row in rows), encoding="utf-8")
    blocks = (f"{prompt}\nneg: {negative}" if negative else prompt for prompt, negative in rows)
    (tmp_path / "p.txt").write_text("\n\n".join(blocks), encoding="utf-8")
    for name in ("p.tsv", "p.txt"):
        again = converted(read(tmp_path / name), tmp_path)
        assert [(entry.prompt, entry.negative_prompt) for entry in again.entries] == rows
