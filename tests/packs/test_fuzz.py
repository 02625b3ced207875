"""Whatever stands in a file of any ending: it is read, or refused by one of our errors, in bounded time."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stableflows.config.layers import merge
from stableflows.errors import InputError, InvalidInputs, Where
from stableflows.lint import lint
from stableflows.packs import read_sources
from stableflows.packs.a1111 import TAGS
from stableflows.packs.files import MAX_BYTES
from stableflows.packs.native import as_native, native_yaml
from stableflows.packs.prompts import faults
from stableflows.packs.sources import READERS
from tests.packs.test_properties import relaxed, syntax

WORDS = (
    *(f"--{tag} " for tag in TAGS), "true ", "30 ", "-1 ", "nan ", "1e999 ", "9" * 400 + " ", "'", '"', "\\",
    "# ", "\n", "\r\n", "\r", "\t", ",", ";", '""', "prompt", "negative_prompt", "steps", "txt2img.steps",
    "upscale.mode", "name", "inputs", "styles", "count", "txt2img.styles", "override_settings", '["a"]',
    '{"a": 1}', "[", "{", "}", "neg: ", "a boat ", "(a:1.2)", "(a:1,2)", "<lora:x:y>", "<embedding:e>", "<x>",
    "\u2028", "\x85", "\ufeff", "é", '{"pack_data": {"matrix": {"slots": [{"name": "a", "values": ["b"]}]}}}',
    '{"txt2img": {"steps": 3}}', ": ", "entries:\n", "- ", "packs", "config", "*.txt", "..", "/", "\ud800",
)  # fmt: skip
words = st.lists(st.sampled_from(WORDS), max_size=40).map("".join)
contents = st.one_of(
    words.map(lambda text: text.encode("utf-8", "surrogatepass")),
    syntax.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=200),
)


@pytest.mark.parametrize("ending", list(READERS))
@given(content=contents)
@settings(relaxed, max_examples=200)
def test_any_content_under_any_ending(tmp_path: Path, ending: str, content: bytes) -> None:
    file = tmp_path / f"p{ending}"
    file.write_bytes(content)
    try:
        source = read_sources([file])
    except InputError as error:
        assert str(error)
        return
    for pack in source.packs:
        assert pack.entries
        for entry in pack.entries:
            assert entry.prompt or entry.inputs
            assert entry.prompt == entry.prompt.strip()
            assert "\ufeff" not in entry.prompt
            assert list(faults(entry.prompt, Where())) == []
            assert entry.where.line
            try:
                merge([*pack.layers, *entry.layers])
            except InvalidInputs as error:
                assert all(each.where.line for each in error.errors)


@pytest.mark.parametrize("ending", list(READERS))
@given(content=contents)
@relaxed
def test_the_linter_takes_any_content(tmp_path: Path, ending: str, content: bytes) -> None:
    file = tmp_path / f"p{ending}"
    file.write_bytes(content)
    report = lint(file)
    for finding in report.findings:
        assert finding.rule
        assert finding.message
        assert str(finding)
    if not report.readable:
        assert report.findings


@given(content=contents)
@relaxed
def test_any_companion(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.txt").write_text("a boat\n")
    (tmp_path / "p.json").write_bytes(content)
    try:
        (pack,) = read_sources([tmp_path / "p.txt"]).packs
    except InputError as error:
        assert "p.json" in str(error)
    else:
        assert pack.entries[0].prompt == "a boat"


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".prompts", ".json"])
@given(content=contents)
@relaxed
def test_what_is_read_can_be_converted_and_read(tmp_path: Path, ending: str, content: bytes) -> None:
    file = tmp_path / f"p{ending}"
    file.write_bytes(content)
    try:
        (pack,) = read_sources([file]).packs
        text = native_yaml(pack)
    except (InputError, ValueError) as error:
        assert isinstance(error, InputError) or "unpack" in str(error)
        return
    (tmp_path / "q.yaml").write_text(text, encoding="utf-8")
    (again,) = read_sources([tmp_path / "q.yaml"]).packs
    assert as_native(again) == as_native(pack)


BIG = MAX_BYTES - 100


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.csv", "prompt,steps\n" + '"' + "a" * BIG),
        ("p.csv", "prompt,steps\n" + "a" * BIG + ",3\n"),
        ("p.csv", ",".join(["steps"] * 100_000) + "\n"),
        ("p.json", '[{"prompt": "a", ' + ",".join(f'"stepz{n}": 1' for n in range(10_000)) + "}]"),
        ("p.json", "[" + ",".join('{"prompt": "a", "stepz": 1}' for _ in range(4_000)) + "]"),
        ("p.csv", "prompt\n" + '"a ""b"""\n' * 5_000),
        ("p.tsv", "\t" * BIG),
        ("p.tsv", "a\tb\n" * 8_000),
        ("p.prompts", ("--prompt " + "'" * 19_000 + "\n") * 100),
        ("p.prompts", ("--prompt " + "a" * 19_000 + "\n") * 100),
        ("p.prompts", "--" * 20_000),
        ("p.txt", "--prompt a\n" * 8_000),
        ("p.txt", " --" * 500_000),
        ("p.txt", "(" * 19_000 + "\n\n" + ":)" * 9_000 + "\n\n" + "<lora:" * 3_000 + "\n\n" + "__a" * 6_000),
        ("p.txt", "worst quality " * 1_400 + "\n\n" + "{a" * 9_000 + "\n\n" + "[[" * 9_000),
    ],
)
def test_large_files_end(tmp_path: Path, name: str, text: str) -> None:
    """Within the test's time-out, read and looked through by the linter."""
    (tmp_path / name).write_text(text)
    try:
        read_sources([tmp_path / name])
    except InputError as error:
        assert len(str(error)) > 0
    assert lint(tmp_path / name).findings is not None
