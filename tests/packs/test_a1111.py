"""AUTOMATIC1111's "Prompts from file" lines, case by case as its script (v1.10.1) reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stableflows.config.layers import merge, merge_values
from stableflows.errors import InvalidInputs
from stableflows.packs import read_sources
from stableflows.packs.a1111 import MAX_LINE, TAGS, has_tags
from stableflows.packs.model import PackEntry, Remark
from tests.packs.conftest import Refusals, Write

SAMPLES = Path(__file__).parent / "samples"


@pytest.fixture
def line(write: Write) -> Any:
    """The entry of one line, its settings, and the warnings."""

    def line(text: str) -> tuple[PackEntry, dict[str, Any], tuple[str, ...]]:
        source = read_sources([write("p.prompts", text + "\n")])
        (entry,) = source.packs[0].entries
        return entry, merge_values(entry.layers), source.warnings

    return line


def test_the_sample() -> None:
    source = read_sources([SAMPLES / "webui.txt"])
    (pack,) = source.packs
    plain, fog, dune, literal = pack.entries
    assert pack.format == "AUTOMATIC1111 lines"
    assert (plain.prompt, plain.layers, plain.where.line) == ("a lighthouse at dusk", (), 1)
    assert (fog.prompt, fog.negative_prompt) == ("a harbour in fog", "text, watermark")
    assert merge_values(fog.layers) == {"txt2img": {"steps": 30, "width": 768, "height": 512}}
    config = merge(dune.layers)
    assert (config.count, config.txt2img.batch_size) == (6, 3), "the WebUI counts batches"
    assert (config.txt2img.tiling, config.txt2img.restore_faces) == (True, False), "only `true` is true"
    assert (literal.prompt, literal.layers) == ("--prompt it don't matter --steps 9", ())
    assert [str(each).partition(":4: ")[2] for each in source.warnings] == [
        (
            "is taken as a prompt with all its tags, as the WebUI does: "
            "an apostrophe or a quote does not end; "
            'put the text with the apostrophe in double quotes: --prompt "it don\'t matter".'
        )
    ]


@pytest.mark.parametrize(
    ("text", "prompt", "negative"),
    [
        ("a boat", "a boat", ""),
        ("  a 'quoted\" boat \\ here  ", "a 'quoted\" boat \\ here", ""),  # no -- in it: not split
        ("# no comment", "# no comment", ""),
        ("a boat -- at sea", "a boat -- at sea", ""),
        ("a well--known boat", "a well--known boat", ""),
        ("--prompt a red boat", "a red boat", ""),
        ("--prompt 'a red' boat", "a red boat", ""),
        ('--prompt "a  red   boat"', "a  red   boat", ""),
        ("--prompt a   red   boat", "a red boat", ""),
        (r"--prompt a \"red\" boat", 'a "red" boat', ""),
        (r"--prompt it\'s red", "it's red", ""),
        ("--prompt a --negative_prompt b c --steps 3", "a", "b c"),
        ("--negative_prompt b --prompt a", "a", "b"),
        ("--prompt a --prompt b", "b", ""),  # the last of a tag counts
        ("--prompt --steps 3", "--steps 3", ""),  # the first word belongs to the prompt, whatever it is
        ("--prompt --x y", "--x y", ""),
    ],
)
def test_how_a_line_is_split(line: Any, text: str, prompt: str, negative: str) -> None:
    entry, _, warnings = line(text)
    assert (entry.prompt, entry.negative_prompt, warnings) == (prompt, negative, ())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("--prompt it don't", "an apostrophe or a quote does not end"),
        ('--prompt a "boat', "an apostrophe or a quote does not end"),
        ("--prompt a\\", "a backslash ends it"),
        ("a boat --steps 30", "'a' stands where a --tag should"),
        ("--prompt a --scheduler Karras", "there is no tag --scheduler"),
        ("--prompt a --steps", "--steps has no value"),
        ("--prompt", "--prompt has no value"),
        ("--prompt a --steps many", "'many' is no value of --steps"),
        ("--prompt a --steps 3.5", "'3.5' is no value of --steps"),
        ("--prompt a --cfg_scale high", "'high' is no value of --cfg_scale"),
        ("--prompt a --steps 3 4", "'4' stands where a --tag should"),
        ("--prompt a --sampler_index Euler", "'Euler' is no value of --sampler_index"),
    ],
)
def test_what_the_webui_takes_literally_so_does_this(line: Any, text: str, why: str) -> None:
    entry, settings, (warning,) = line(text)
    assert (entry.prompt, entry.negative_prompt, settings) == (text, "", {})
    assert isinstance(warning, Remark)
    assert warning.rule == "literal-line"
    assert warning.message == f"is taken as a prompt with all its tags, as the WebUI does: {why}"


@pytest.mark.parametrize(
    ("tag", "settings"),
    [
        ("--sd_model base.safetensors", {"checkpoint": "base.safetensors"}),
        ("--styles 'ink wash'", {"txt2img": {"styles": ["ink wash"]}}),
        ("--seed -1", {"txt2img": {"seed": -1}}),
        ("--subseed 3", {"txt2img": {"subseed": 3}}),
        ("--subseed_strength 0.4", {"txt2img": {"subseed_strength": 0.4}}),
        ("--seed_resize_from_h 512", {"txt2img": {"seed_resize_from_h": 512}}),
        ("--seed_resize_from_w 512", {"txt2img": {"seed_resize_from_w": 512}}),
        ("--sampler_name 'DPM++ 2M'", {"txt2img": {"sampler": "DPM++ 2M"}}),
        ("--batch_size 3", {"txt2img": {"batch_size": 3}, "count": 3}),
        ("--n_iter 2", {"count": 2}),
        ("--steps 30", {"txt2img": {"steps": 30}}),
        ("--cfg_scale 7", {"txt2img": {"cfg_scale": 7.0}}),
        ("--width 768", {"txt2img": {"width": 768}}),
        ("--height 768", {"txt2img": {"height": 768}}),
        ("--restore_faces true", {"txt2img": {"restore_faces": True}}),
        ("--restore_faces True", {"txt2img": {"restore_faces": False}}),
        ("--tiling 1", {"txt2img": {"tiling": False}}),
    ],
)
def test_each_tag_with_a_counterpart(line: Any, tag: str, settings: dict[str, Any]) -> None:
    entry, found, warnings = line(f"--prompt a {tag}")
    assert (entry.prompt, found, warnings) == ("a", settings, ())
    merge(entry.layers)


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("--outpath_samples x", "; runs have a folder of their own; see --out"),
        ("--outpath_grids x", "; runs have a folder of their own; see --out"),
        ("--prompt_for_display x", ""),
        ("--sampler_index 3", "; name the sampler: --sampler_name"),
        ("--do_not_save_samples true", "; every image is kept"),
        ("--do_not_save_grid true", ""),
    ],
)
def test_each_tag_without_one_is_told(line: Any, tag: str, said: str) -> None:
    entry, settings, (warning,) = line(f"--prompt a {tag}")
    assert (entry.prompt, settings) == ("a", {})
    assert str(warning).partition(":1: ")[2] == f"{tag.partition(' ')[0]} has no effect here{said}."


def test_every_tag_of_the_facts_is_known() -> None:
    facts = (
        "sd_model outpath_samples outpath_grids prompt_for_display prompt negative_prompt styles seed "
        "subseed subseed_strength seed_resize_from_h seed_resize_from_w sampler_index sampler_name "
        "batch_size n_iter steps cfg_scale width height restore_faces tiling do_not_save_samples "
        "do_not_save_grid"
    )
    assert set(TAGS) == set(facts.split())


def test_lines_end_where_the_script_ends_them_and_are_counted_as_an_editor_does(write: Write) -> None:
    (pack,) = read_sources([write("p.prompts", "a\u2028b\n\n  \nc\x85d\r\ne")]).packs
    assert [(entry.prompt, entry.where.line) for entry in pack.entries] == [
        ("a", 1), ("b", 1), ("c", 4), ("d", 4), ("e", 5),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "is_webui"),
    [
        ("a boat\nneg: text\n", False),
        ("a boat --ar 16:9\n", False),
        ("well--known boats\n", False),
        ("# --steps 3 in a comment\na boat\n", False),
        ("a boat --stepsize 3\n", False),
        ("a boat --steps 3\n", True),
        ("\n\n  --prompt a\n", True),
        ("'--prompt' a\n", True),
    ],
)
def test_how_a_text_file_is_told_apart(write: Write, text: str, is_webui: bool) -> None:
    assert has_tags(text) is is_webui
    (pack,) = read_sources([write("p.txt", text)]).packs
    assert pack.format == ("AUTOMATIC1111 lines" if is_webui else "block text")


def test_the_ending_says_it_where_the_content_does_not() -> None:
    (pack,) = read_sources([SAMPLES / "plain.prompts"]).packs
    assert [entry.prompt for entry in pack.entries] == [
        "a lighthouse at dusk",
        "a harbour in fog, [[cat|dog]] on the quay",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n \n", ["p.prompts: holds no entry."]),
        (
            "a\n--steps 3\n--prompt '' --steps 3",
            [
                f"p.prompts:{line}: has tags but no --prompt; in the WebUI the page's prompt stands here. "
                "Give the line its own."
                for line in (2, 3)
            ],
        ),
        (
            "--" + "x" * MAX_LINE,
            [f"p.prompts:1: is a line of {MAX_LINE + 2} characters with '--' in it; at most {MAX_LINE}."],
        ),
    ],
)
def test_each_fault(refusals: Refusals, text: str, said: list[str]) -> None:
    assert refusals(text, "p.prompts") == said


def test_a_value_out_of_range_is_told_with_its_line(write: Write) -> None:
    (pack,) = read_sources([write("p.prompts", "a\n--prompt b --steps 900 --n_iter 4000")]).packs
    with pytest.raises(InvalidInputs) as caught:
        merge(pack.entries[1].layers)
    assert {(error.where.line, error.where.field) for error in caught.value.errors} == {
        (2, "txt2img.steps"),
        (2, "count"),
    }
