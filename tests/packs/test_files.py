"""Naming files, and what is said of those that cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stableflows.errors import InputError, InvalidInputs
from stableflows.packs import free_text, read_sources
from stableflows.packs.files import MAX_BYTES
from tests.packs.conftest import Refusals, Write


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: tmp_path."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("packs/dmeo.yaml", "there is no file packs/dmeo.yaml. Did you mean packs/demo.yaml?"),
        ("packs/zzz", "there is no file packs/zzz. The folder packs has: demo.yaml, other.txt"),
        ("packs", "packs is a folder; name its files, for instance packs/*.yaml."),
        (
            "pakcs/demo.yaml",
            "there is no file pakcs/demo.yaml. There is no folder pakcs. Did you mean packs?",
        ),
        ("packs/*.yml", "no file matches packs/*.yml. Did you mean packs/demo.yaml?"),
        ("empty/*.txt", "no file matches empty/*.txt. The folder empty has none."),
        ("*/none/*.txt", "no file matches */none/*.txt."),
        (
            "packs/cat.png",
            (
                "packs/cat.png: files that end with .png are not read; packs end with "
                ".yaml, .yml, .json, .txt, .prompts, .csv, .tsv."
            ),
        ),
        (
            "packs/LICENSE",
            (
                "packs/LICENSE: files without an ending are not read; packs end with "
                ".yaml, .yml, .json, .txt, .prompts, .csv, .tsv."
            ),
        ),
        ("a\0b", "'a\\x00b' is no file name: it holds a control character."),
        ("pipe.yaml", "pipe.yaml is not a regular file."),
    ],
)
def test_what_is_said_of_a_name(here: Path, write: Write, argument: str, said: str) -> None:
    for name in ("packs/demo.yaml", "packs/other.txt", "packs/cat.png", "packs/LICENSE"):
        write(name, "entries: [a]")
    (here / "empty").mkdir()
    os.mkfifo(here / "pipe.yaml")
    with pytest.raises(InvalidInputs) as caught:
        read_sources([argument])
    assert str(caught.value) == said


def test_a_name_that_is_too_long(here: Path) -> None:
    with pytest.raises(InvalidInputs, match="cannot be looked up: File name too long"):
        read_sources(["x" * 5000])


def test_patterns_are_read_in_the_order_of_names(here: Path, write: Write) -> None:
    for name in ("b.txt", "a.txt", "sub/c.txt", "a.md"):
        write(name, name)
    (here / "folder.txt").mkdir()
    assert [pack.pack_id for pack in read_sources(["**/*.txt"]).packs] == ["a", "b", "c"]


def test_a_file_whose_name_looks_like_a_pattern(here: Path, write: Write) -> None:
    write("a[1].txt", "a")
    write("a1.txt", "b")
    assert [pack.pack_id for pack in read_sources(["a[1].txt"]).packs] == ["a[1]"]


def test_a_pattern_in_a_folder_whose_name_looks_like_one(here: Path, write: Write) -> None:
    write("set [1]/a.txt", "a")
    packs = write("set [1]/list.json", '{"packs": ["*.txt"]}')
    assert [pack.pack_id for pack in read_sources([packs]).packs] == ["a"]


def test_suffixes_are_read_in_any_case(here: Path, write: Write) -> None:
    write("A.TXT", "a")
    assert read_sources(["A.TXT"]).packs[0].entries[0].prompt == "a"


def test_nothing_named() -> None:
    with pytest.raises(InputError, match="no pack was named"):
        read_sources([])


@pytest.mark.parametrize("name", ["p.yaml", "p.json", "p.txt"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "NAME: is a binary file, not text."),
        (
            "entries: [caf\N{LATIN SMALL LETTER E WITH ACUTE}]".encode("utf-16"),
            (
                "NAME: is UTF-16, not UTF-8. Save it as UTF-8 in your editor, or: "
                "iconv -f UTF-16 -t UTF-8 NAME > utf8-NAME"
            ),
        ),
        (
            b"entries:\n- a caf\xe9\n",
            (
                "NAME:2: is not UTF-8: byte 16 is 0xe9. Save it as UTF-8 in your editor, or: "
                "iconv -f WINDOWS-1252 -t UTF-8 NAME > utf8-NAME"
            ),
        ),
        (
            b"entries:\n- a\n- b\x1b[0m\n",
            "NAME:3: holds the control character U+001B; is it text? If so, take it out.",
        ),
        (b"#" * (MAX_BYTES + 1), "NAME: is larger than 4 MB; is it a pack? If so, split it."),
    ],
)
def test_content_that_is_no_pack(refusals: Refusals, name: str, content: bytes, said: str) -> None:
    assert refusals(content, name) == [said.replace("NAME", name)]


@pytest.mark.parametrize("text", ["entries: [a wave]", '{"entries": ["a wave"]}'])
def test_a_byte_order_mark_is_accepted(write: Write, text: str) -> None:
    file = write("p.json" if text.startswith("{") else "p.yaml", b"\xef\xbb\xbf" + text.encode())
    assert read_sources([file]).packs[0].entries[0].prompt == "a wave"


def test_a_file_that_may_not_be_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """By way of a stub, since root may read everything."""
    file = write("p.yaml", "entries: [a]")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InvalidInputs, match=r"p\.yaml: cannot be read: Permission denied\."):
        read_sources([file])


def test_free_text(here: Path, write: Write) -> None:
    write("b.png", b"\x89PNG")
    write("a.png", b"\x89PNG")
    (pack,) = free_text(" a <embedding:mood> wave\n", "text", ["*.png"]).packs
    (entry,) = pack.entries
    assert (entry.prompt, entry.negative_prompt) == ("a <embedding:mood> wave", "text")
    assert entry.inputs == (here / "a.png", here / "b.png")


def test_free_text_may_be_only_inputs(write: Write) -> None:
    assert free_text("", inputs=[write("a.png", b"\x89PNG")]).packs[0].entries[0].prompt == ""


@pytest.mark.parametrize(
    ("prompt", "negative", "inputs", "said"),
    [
        (" ", "", [], ["the prompt is empty, and there is no input image."]),
        (
            "a <embedding:b:1>",
            "<embedding:c:2>",
            [],
            [
                "prompt: '<embedding:b:1>': the weight of an embedding stands outside: (<embedding:b>:1).",
                (
                    "negative prompt: '<embedding:c:2>': "
                    "the weight of an embedding stands outside: (<embedding:c>:2)."
                ),
            ],
        ),
        ("", "", ["cat.png"], ["input: there is no file cat.png. The folder . has none."]),
    ],
)
def test_free_text_that_cannot_be(
    here: Path, prompt: str, negative: str, inputs: list[str], said: list[str]
) -> None:
    with pytest.raises(InvalidInputs) as caught:
        free_text(prompt, negative, inputs)
    assert [str(error) for error in caught.value.errors] == said
