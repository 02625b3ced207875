"""The block text form."""

from __future__ import annotations

import pytest

from stableflows.embeddings import bare_embeddings
from stableflows.errors import Where
from stableflows.packs import read_sources
from stableflows.packs.prompts import faults
from tests.packs.conftest import Refusals, Write

TEXT = """
    # a comment
    a lighthouse at dusk,
      # one inside an entry
    calm sea, (<embedding:sharp>:0.87), <embedding:mood v2>, <lora:ink:0.8>
    neg: text, <embedding:bad_v1>,
    NEG:  watermark

    \t
    a lighthouse in fog
"""


def test_entries_their_lines_and_their_places(write: Write) -> None:
    file = write("sea.txt", TEXT)
    source = read_sources([file])
    (pack,) = source.packs
    assert (pack.pack_id, pack.name, pack.file, pack.layers) == ("sea", "sea", file, ())
    dusk, fog = pack.entries
    assert (
        dusk.prompt
        == "a lighthouse at dusk, calm sea, (<embedding:sharp>:0.87), <embedding:mood v2>, <lora:ink:0.8>"
    )
    assert dusk.negative_prompt == "text, <embedding:bad_v1>, watermark"
    assert (fog.prompt, fog.negative_prompt) == ("a lighthouse in fog", "")
    assert (dusk.where, fog.where) == (Where(file, 2), Where(file, 9))
    assert source.warnings == ()


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system(write: Write, ending: str) -> None:
    file = write("p.txt", ending.join(["a", "neg: b", "", "c", ""]).encode())
    (pack,) = read_sources([file]).packs
    assert [(each.prompt, each.negative_prompt, each.where.line) for each in pack.entries] == [
        ("a", "b", 1),
        ("c", "", 4),
    ]


def test_byte_order_marks_do_not_reach_the_prompt(write: Write) -> None:
    (pack,) = read_sources([write("p.txt", "\ufeffa wave\n\n\ufeffa dune\n")]).packs
    assert [entry.prompt for entry in pack.entries] == ["a wave", "a dune"]


def test_lines_that_are_seldom_meant_as_prompt_are_in_the_warnings(write: Write) -> None:
    file = write("p.txt", "a\nneg: b\nugly, blurry\n\nc\nNegative prompt: d\n\ne\n")
    source = read_sources([file])
    assert [entry.prompt for entry in source.packs[0].entries] == [
        "a ugly, blurry",
        "c Negative prompt: d",
        "e",
    ]
    assert source.warnings == (
        f"{file}:3: counts as prompt; below a 'neg:' line each negative line needs its own.",
        f"{file}:6: counts as prompt; only 'neg:' makes a line negative.",
    )


def test_a_job_file_of_the_same_name_is_no_companion(write: Write) -> None:
    write("p.json", '{"packs": ["p.txt"]}')
    assert read_sources([write("p.txt", "a\n")]).warnings == ()


def test_a_prompt_a_line_is_told_to_be_one_entry(write: Write) -> None:
    file = write("p.txt", "a boat\na dune\na wave\na gull\n")
    (warning,) = read_sources([file]).warnings
    assert warning == (
        f"{file}:1: 4 lines are one entry; if each is a prompt, put blank lines between them, "
        "or let the file's name end with .prompts."
    )


@pytest.mark.parametrize(
    "text",
    [
        "a boat\na dune\na wave\n",
        "a boat,\na dune,\na wave,\na gull\n",
        "a boat\na dune\na wave\na gull\nneg: text\n",
        "a boat\na dune\n\na wave\na gull\na reef\na rock\n",
    ],
)
def test_lines_that_are_meant_as_one_entry(write: Write, text: str) -> None:
    assert read_sources([write("p.txt", text)]).warnings == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n \n# only this\n", ["p.txt: holds no entry."]),
        ("a\n\nneg: b\n", ["p.txt:3: this entry has only negative lines, and no prompt."]),
        (
            "a <embedding:mood:0.5>\n",
            [
                (
                    "p.txt:1: '<embedding:mood:0.5>': the weight of an embedding stands outside: "
                    "(<embedding:mood>:0.5)."
                )
            ],
        ),
    ],
)
def test_each_fault_is_told_with_its_line(refusals: Refusals, text: str, said: list[str]) -> None:
    assert refusals(text, "p.txt") == said


def test_what_is_to_be_drawn_is_read_as_it_stands(write: Write) -> None:
    text = "[[place]] by the sea, __time/of-day__, ${v}\nneg: {text|watermark}\n"
    (pack,) = read_sources([write("p.txt", text)]).packs
    assert pack.entries[0].prompt == "[[place]] by the sea, __time/of-day__, ${v}"
    assert pack.entries[0].negative_prompt == "{text|watermark}"


@pytest.mark.parametrize(
    "prompt",
    [
        "[[a, b]] weaker attention",
        "[[cat|dog]] alternating",
        "[from:to:0.5], [a|b]",
        "<lora:my__own__style:1>",
        "<embedding:my__own__word>",
        "snake_case __ and _one_ ______",
        "2 __ and 3 __",
        "{emphasis}",
        r"a \(b\) c BREAK d AND e",
    ],
)
def test_the_servers_own_syntax_is_left_alone(write: Write, prompt: str) -> None:
    (pack,) = read_sources([write("p.txt", prompt)]).packs
    assert pack.entries[0].prompt == prompt


@pytest.mark.parametrize(
    "part",
    ["_", "__a ", "-_", "[[", "[[a", "{", "{|", "|", "${", "<", "<embedding:", "<embedding: ", "< ", ":"],
)
def test_no_prompt_takes_for_ever(part: str) -> None:
    """A pattern that backtracks would not end before the test's time-out."""
    for text in (part * 200_000, "{" + part * 200_000, "<embedding:" + part * 200_000):
        assert len(bare_embeddings(text)) <= len(text)
        assert all(len(str(fault)) > 0 for fault in faults(text, Where()))
