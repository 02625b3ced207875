"""What the linter says: each rule with its line and what to do, and that it is silent where it should be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stableflows.lint import Severity, lint
from stableflows.lint.finding import Rule
from stableflows.packs import read_sources
from tests.packs.conftest import Write

PACKS = Path(__file__).parents[2] / "packs"

Said = list[tuple[str, int | None, str]]
"""(rule, line, severity)"""


@pytest.fixture
def said(write: Write) -> Any:
    """Rule, line and severity of all that is said of a file with this text."""

    def said(text: str, name: str = "p.txt") -> Said:
        report = lint(write(name, text))
        assert report.readable
        return [(each.rule, each.line, each.severity.value) for each in report.findings]

    return said


def test_a_sound_pack_is_passed_over_in_silence(said: Any) -> None:
    assert (
        said("a (red:1.2) lighthouse [from:to:0.5], <lora:ink:0.8>, \\(sic\\)\nneg: text, watermark\n") == []
    )


def test_negative_words_below_a_negative_line_are_an_error(write: Write) -> None:
    file = write("p.txt", "a boat\nneg: text\nugly, blurry\n\na dune\nNegative prompt: text\n")
    first, second = lint(file).findings
    assert (first.rule, first.line, first.severity) == ("leaking-negative", 3, Severity.ERROR)
    assert str(first) == (
        f"{file}:3: error [leaking-negative] counts as prompt. "
        "Below a 'neg:' line each negative line needs its own."
    )
    assert (second.line, second.mend) == (6, "only 'neg:' makes a line negative")


@pytest.mark.parametrize(
    ("prompt", "findings"),
    [
        ("a boat, worst quality", [("negative-words", 1, "warning")]),
        ("a boat without watermark, no extra fingers", []),
        ("a boat on blurry background", []),
        ("a (boat", [("unbalanced", 1, "warning")]),
        ("a boat)", [("unbalanced", 1, "warning")]),
        ("a boat], [dune", [("unbalanced", 1, "warning")] * 2),
        (r"a boat \( and \)", []),
        ("(a [boat) at] sea", []),  # the WebUI counts each kind alone
        ("a (boat:1,2)", [("weight", 1, "warning")]),
        ("a (boat:1.2.3)", [("weight", 1, "error")]),
        ("a (boat: 1.2 ) and (dune:+.5)", []),
        ("a (boat: red)", []),
        ("a clock (at 12:30)", []),
        ("<lora:ink:o.8>", [("weight", 1, "error")]),
        ("<lora:ink:0.8:1.0>", []),
        ("<embedding:sharp>, a boat", [("embedding-tag", 1, "notice")]),
        ("(<embedding:sharp>:0.87), a boat", [("embedding-tag", 1, "notice")]),
        ("<lorra:ink:0.8> a boat", [("stray-tag", 1, "error")]),
        ("<sharp_v2> a boat", [("stray-tag", 1, "warning")]),
        ("1 < 2 > 1", []),
        ("<embedding:sharp:0.5>, a boat", [("invalid", 1, "error")]),
    ],
)
def test_the_rules_of_a_prompt(said: Any, prompt: str, findings: Said) -> None:
    assert said(prompt + "\n") == findings


@pytest.mark.parametrize(
    ("prompt", "windows"),
    [
        ("boat " * 75, None),
        ("boat " * 76, 2),
        ("boat, " * 38, 2),
        ("boat " * 151, 3),
        ("boat " * 60 + "BREAK " + "dune " * 60, None),
        ("(boat:1.2), " * 37, None),
        ("<lora:a_long_name_of_a_lora:0.8> " * 50 + "boat", None),
        ("extraordinarily " * 38, 2),
    ],
)
def test_a_prompt_over_a_window_is_a_notice(write: Write, prompt: str, windows: int | None) -> None:
    findings = lint(write("p.txt", prompt)).findings
    assert [each.rule for each in findings] == ([] if windows is None else ["long-prompt"])
    if windows is not None:
        assert findings[0].severity is Severity.NOTICE
        assert f" tokens (an estimate), {windows} windows of 75" in findings[0].message


def test_a_fault_is_told_on_its_own_line(said: Any) -> None:
    assert said("a boat,\nat sea, (red:1,2)\nneg: text, (bad\n") == [
        ("weight", 2, "warning"),
        ("unbalanced", 3, "warning"),
    ]


def test_negative_prompts_are_not_read_for_tags_and_may_say_negative_words(said: Any) -> None:
    assert said("a boat\nneg: worst quality, <lora:x:y>\n") == []


def test_prompts_of_stages_and_around_all_entries(said: Any) -> None:
    text = """
        globals: {prompt: "(detailed"}
        config:
          txt2img: {hires: {enabled: true, prompt: "a <foo:bar>"}}
          adetailer:
            enabled: true
            units:
              - {ad_prompt: "face)", ad_negative_prompt: "<x:y>"}
        entries: [a boat]
    """
    assert said(text, "p.yaml") == [
        ("unbalanced", 1, "warning"),
        ("stray-tag", 3, "error"),
        ("unbalanced", 7, "warning"),
    ]


def test_a_repeated_entry_names_the_first(write: Write) -> None:
    file = write("p.txt", "a boat\n\na dune\n\na boat\n")
    (finding,) = lint(file).findings
    assert (finding.rule, finding.line, finding.severity) == ("duplicate", 5, Severity.WARNING)
    assert finding.message == "is the same as the entry on line 1, and gives the same picture"


@pytest.mark.parametrize(
    "second",
    [
        "{prompt: a boat, negative_prompt: text}",
        "{prompt: a boat, config: {txt2img: {seed: 5}}}",
        "{prompt: a boat, count: 2}",
    ],
)
def test_entries_that_differ_are_not_repeated(said: Any, second: str) -> None:
    assert said(f"entries:\n- a boat\n- {second}\n", "p.yaml") == []


def test_a_seed_that_is_drawn_makes_no_duplicate(said: Any) -> None:
    assert said("config: {txt2img: {seed: -1}}\nentries: [a boat, a boat]\n", "p.yaml") == []


@pytest.mark.parametrize(
    ("text", "name", "findings"),
    [
        ("prompt,stepz\na,3\n", "p.csv", [("unknown-key", 1, "error")]),
        ('[{"prompt": "a",\n"stepz": 3}]', "p.json", [("unknown-key", 2, "error")]),
        ("entries: [a]\nconfig: {txt2img: {stepz: 3}}\n", "p.yaml", [("unknown-key", 2, "error")]),
        ("entires: [a]\n", "p.yaml", [("unknown-key", 1, "error"), ("invalid", None, "error")]),
        ("prompt,steps\na,many\n", "p.csv", [("invalid-setting", 2, "error")]),
        ("entries: [a\n", "p.yaml", [("invalid", 2, "error")]),
        ("entries: [a]\nconfig: {adetailer: {enabled: true}, txt2img: {enabled: false}}\n", "p.yaml",
         [("invalid-setting", 1, "error")]),
        ("--prompt a don't\n--prompt b --outpath_grids x\n", "p.txt",
         [("literal-line", 1, "warning"), ("no-effect", 2, "warning")]),
        ('{"packs": ["none.txt"],\n"run_config": {"widht": 3}}', "p.json", [("invalid", 1, "error")]),
        ('{"packs": [],\n"run_config": {"widht": 3}}', "p.json", [("unknown-key", 2, "error")]),
    ],
)  # fmt: skip
def test_what_cannot_be_rendered_is_an_error(said: Any, text: str, name: str, findings: Said) -> None:
    assert sorted(said(text, name), key=str) == sorted(findings, key=str)


def test_an_unknown_key_is_told_with_the_nearest(write: Write) -> None:
    (finding,) = lint(write("p.csv", "prompt,stepz\na,3\n")).findings
    assert finding.field == "column 2"
    assert (finding.message, finding.mend) == ("there is no setting 'stepz'.", "did you mean steps?")


@pytest.mark.parametrize(
    ("config", "findings"),
    [
        ("{txt2img: {refiner: {checkpoint: x}}}", [("no-effect", "warning")]),
        ("{txt2img: {refiner: {enabled: false, checkpoint: x}}}", [("no-effect", "notice")]),
        ("{txt2img: {refiner: {enabled: true, checkpoint: x}}}", []),
        ("{hires_scale_factor: 2}", [("no-effect", "warning")]),
        ("{hires_enabled: true, hires_scale_factor: 2}", []),
        ("{upscale: {factor: 2}}", [("no-effect", "warning")]),
        ("{upscale_config: {factor: 2}, upscale_enabled: false}", [("no-effect", "notice")]),
        ("{upscale: {enabled: false}}", []),
        ("{adetailer: {ad_model: x.pt}}", [("no-effect", "warning")]),
        ("{txt2img: {subseed: 3}}", [("no-effect", "warning")]),
        ("{txt2img: {subseed: 3, subseed_strength: 0.2}}", []),
        (
            "{hires_enabled: true, upscale: {enabled: true, factor: 2}}",
            [("hires-then-upscale", "notice")],
        ),
        ("{hires_enabled: true, upscale: {enabled: true, factor: 1}}", []),
    ],
)
def test_settings_without_effect(said: Any, config: str, findings: list[tuple[str, str]]) -> None:
    text = f"entries: [a boat]\nconfig: {config}\n"
    assert said(text, "p.yaml") == [(rule, 2, severity) for rule, severity in findings]


def test_a_stage_that_one_entry_switches_on_has_effect(said: Any) -> None:
    text = """
        config: {upscale: {factor: 2}}
        entries:
          - a boat
          - {prompt: a dune, config: {upscale: {enabled: true}}}
    """
    assert said(text, "p.yaml") == []


def test_a_pack_list_is_looked_through_with_its_packs(write: Write) -> None:
    write("a.txt", "a (boat\n")
    write("b.csv", "prompt\na boat]\n")
    findings = lint(write("list.json", '{"packs": ["a.txt", "b.csv"]}')).findings
    assert [(Path(each.file).name, each.line, each.rule) for each in findings] == [
        ("a.txt", 1, "unbalanced"),
        ("b.csv", 2, "unbalanced"),
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", b"caf\xe9\n"),
        ("p.csv", b"\x00\x01"),
        ("p.txt", "a".encode("utf-16")),
        ("p.png", b"a boat"),
    ],
)
def test_what_is_no_pack_at_all_is_not_readable(write: Write, name: str, content: bytes) -> None:
    report = lint(write(name, content))
    assert not report.readable
    assert [(each.rule, each.severity.value) for each in report.findings] == [("unreadable", "error")]


def test_a_file_that_is_not_there() -> None:
    report = lint("/none/there.txt")
    assert (report.readable, len(report.findings)) == (False, 1)


@pytest.mark.parametrize("name", ["demo.yaml", "demo.txt", "demo.csv"])
def test_the_demo_packs_have_neither_errors_nor_warnings(name: str) -> None:
    assert {finding.severity for finding in lint(PACKS / name).findings} <= {Severity.NOTICE}


def test_the_docs_name_every_rule() -> None:
    page = (PACKS.parent / "docs/lint.md").read_text("utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| (\w+) \|", page, re.MULTILINE)
    assert {rule for rule, _ in rows} == {rule.value for rule in Rule}
    assert {severity for _, severity in rows} == {severity.value for severity in Severity}


def test_a_pattern_leaves_out_what_is_no_pack(write: Write) -> None:
    """`packs/*` is what one types; what lies there beside the packs is no error."""
    file = write("a.txt", "a boat\n")
    write("a.json", '{"txt2img": {"steps": 9}}')
    write("styles.csv", "name,prompt,negative_prompt\nink,ink drawing,\n")
    write("notes.md", "notes")
    report = lint(file.parent / "*")
    assert report.readable
    told = [(Path(each.file).name, each.rule, each.severity.value) for each in report.findings]
    assert told == [("notes.md", "left-out", "notice"), ("styles.csv", "left-out", "notice")]
    source = read_sources([str(file.parent / "*")])
    assert [pack.file for pack in source.packs] == [file]
    assert [str(each).split(": ", 1)[1] for each in source.warnings] == [
        "is no pack, and left out.", "is a file of styles, and left out.",
    ]  # fmt: skip
    assert not lint(file.parent / "notes.md").readable
    [named] = lint(file.parent / "styles.csv").findings
    assert named.message.startswith("is a file of styles, no pack")
