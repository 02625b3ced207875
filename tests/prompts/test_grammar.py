"""Dynamic prompts, case by case: what each form stands for when all of it is written out."""

from __future__ import annotations

import pytest

from stableflows.errors import InputError
from tests.prompts.conftest import Words

CASES = {
    # variants
    "a {red|blue} cat": ["a red cat", "a blue cat"],
    "{a|b} {c|d}": ["a c", "a d", "b c", "b d"],
    "{0.5::a|b}": ["a", "b"],
    "{3::a|.5::b}": ["a", "b"],
    "{a|{b|c} d}": ["a", "b d", "c d"],
    "{|very }big": ["big", "very big"],
    "{a|a|b}": ["a", "b"],
    # picks: without replacement, in any order
    "{2$$a|b|c}": ["a, b", "a, c", "b, a", "b, c", "c, a", "c, b"],
    "{2$$ and $$a|b}": ["a and b", "b and a"],
    "{2$$,$$a|b}": ["a,b", "b,a"],
    "{1-2$$a|b}": ["a", "b", "a, b", "b, a"],
    "{-1$$a|b}": ["a", "b"],
    "{2-$$a|b}": ["a, b", "b, a"],
    "{0-1$$a|b} c": ["c", "a c", "b c"],
    "{9$$a|b}": ["a, b", "b, a"],
    "{2$$、$$a|b}": ["a、b", "b、a"],
    "{2$$a|{x|y}}": ["a, x", "a, y", "x, a", "y, a"],
    # wildcards
    "__colour__": ["red", "blue"],
    "__ colour__ __colour __": ["__ colour__ __colour __"],
    "__deep/shade__": ["dark", "light"],
    "__shade__": ["dark", "light"],
    "__col*__": ["red", "blue"],
    "__*/shade__": ["dark", "light"],
    "__trees/tall__": ["oak", "ash"],
    "__mixed__": ["a red hat", "a blue hat", "no hat"],
    "{2$$__colour__}": ["red, blue", "blue, red"],
    "{__colour__|green}": ["red", "blue", "green"],
    "<lora:__colour__:0.8>": ["<lora:red:0.8>", "<lora:blue:0.8>"],
    "<lora:{a|b}:1>": ["<lora:a:1>", "<lora:b:1>"],
    # variables
    "${c=!{a|b}}${c} and ${c}": ["a and a", "b and b"],
    "${c={a|b}}${c} and ${c}": ["a and a", "a and b", "b and a", "b and b"],
    "${c:x} ${c}": None,
    "${c:x}": ["x"],
    "${c=!a}${c?=!b}${c}": ["a"],
    "${a=!{x|y}}${b=!${a}${a}}${b}": ["xx", "yy"],
    "${later}${later=z}": ["z"],
    "${c=!{colour|deep/shade}}${c}: __${c}__": [
        "colour: red",
        "colour: blue",
        "deep/shade: dark",
        "deep/shade: light",
    ],
    "__{colour|deep/shade}__": ["red", "blue", "dark", "light"],
    # parameters
    "__outfit(of=winter)__": ["a winter coat"],
    "__outfit(of={a|b})__": ["a a coat", "a b coat"],
    "__outfit__": ["a plain coat"],
    # wrapping
    "%{a ... b$${x|y}}": ["a x b", "a y b"],
    # said of one variant: it is drawn, so that there is one
    "{~a|a}{b|c}": ["ab", "ac"],
    "{@a|b}{c|d}": ["ac", "bd"],
}


@pytest.fixture
def filled(words: Words) -> Words:
    words.write("wildcards/colour.txt", "# comment\nred\n\nblue\n  red \n")
    words.write("wildcards/deep/shade.txt", "\ufeffdark\r\nlight\r\n")
    words.write("wildcards/plants.yaml", "trees: {tall: [oak, {text: ash, weight: 2}], one: fir}\n")
    words.write("wildcards/mixed.json", '["a __colour__ hat", "2::no hat"]')
    words.write("wildcards/outfit.txt", "a ${of:plain} coat\n")
    return words


@pytest.mark.parametrize("template", [each for each, stands in CASES.items() if stands is not None])
def test_a_form_stands_for(filled: Words, template: str) -> None:
    expected = CASES[template]
    assert expected is not None
    assert filled.prompts(template) == [text.strip() for text in expected]
    assert filled.count(template) == len(expected)


@pytest.mark.parametrize(
    "text",
    [
        "(x:1.2), [a|b], [[a|b]], [[a, b]], [from:to:0.5]",
        "<lora:x:0.8> <lora:my__own__style:1> <embedding:name> (<embedding:name>:0.87)",
        "100% wool, $5, rank #1, http://a.b/c /* d */ e // f",
        "{word} {} {a, b}",
        "snake__case, __, ___, _a_, 2 __ and 3 __",
        "a } b",
        "a\tb\nc",
        r"a \(b\) c BREAK d AND e",
    ],
)
def test_what_passes_untouched_alone_and_beside_variants(words: Words, text: str) -> None:
    assert words.prompts(text) == [text]
    assert words.prompts(text + " {x|y}") == [f"{text} x", f"{text} y"]


def test_alternating_words_stay_whole_in_a_variant(words: Words) -> None:
    assert words.prompts("{[a|b]|c}") == ["[a|b]", "c"]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("a {b|c", "column 3: opens a brace that is never closed:\n    a {b|c\n      ^"),
        ("{$$a|b}", "column 1: cannot be read as a dynamic prompt from '{$$a|b}' on"),
        ("a ${c=x|y}", "column 3: cannot be read"),
        ("${nobody}", "is a variable that nothing sets"),
        ("${a=${b}}${b=${a}}${a}", "contains itself"),
        ("{0::a|0::b}", "they must not be negative, nor all 0"),
        ("[[hair]]", "'[[hair]]' is a slot that no matrix defines"),
        ("__x(=y)__", "a parameter without a name"),
        ("{" * 21 + "a|b" + "}" * 21, "more than 20 levels of braces"),
    ],
)
def test_what_cannot_be_read(words: Words, template: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        words.prompts(template)
    assert said in str(refused.value)
    assert str(words.folder / "pack.yaml") in str(refused.value)


def test_the_place_of_a_brace_is_its_own_line(words: Words) -> None:
    words.write("pack.yaml", "entries:\n\n  - >-\n    a cat on\n    a {red|blue sofa\n")
    with pytest.raises(InputError) as refused:
        words.prompts("a cat on a {red|blue sofa")
    assert str(refused.value).startswith(f"{words.folder / 'pack.yaml'}:5: column 7: opens a brace")


# -- wildcards that are wrong


def test_a_missing_wildcard_names_the_files_and_the_nearest(filled: Words) -> None:
    with pytest.raises(InputError) as refused:
        filled.prompts("{a|__colours__}")
    said = str(refused.value)
    assert f"no file {filled.folder / 'wildcards' / 'colours'}.txt" in said
    assert "Did you mean 'colour'?" in said


def test_a_missing_wildcard_without_any_folder(words: Words) -> None:
    with pytest.raises(InputError, match="there is no folder of wildcards"):
        words.prompts("__a__")


def test_a_missing_wildcard_inside_another(words: Words) -> None:
    words.write("wildcards/a.txt", "one\ntwo __b__\n")
    with pytest.raises(InputError, match="there is no wildcard __b__"):
        words.prompts("{x|__a__}")


def test_a_recursion_shows_the_cycle(words: Words) -> None:
    words.write("wildcards/a.txt", "x __b__\n")
    words.write("wildcards/b.txt", "y {c|__a__}\n")
    with pytest.raises(InputError, match="contains itself: __a__ -> __b__ -> __a__"):
        words.prompts("__a__")


def test_a_pattern_that_finds_itself(words: Words) -> None:
    words.write("wildcards/a.txt", "x __*__\n")
    with pytest.raises(InputError, match="contains itself: __a__ -> __a__"):
        words.prompts("__a__")


def test_an_empty_wildcard(words: Words) -> None:
    file = words.write("wildcards/a.txt", "# nothing\n\n")
    with pytest.raises(InputError, match="has no values") as refused:
        words.prompts("__a__")
    assert str(file) in str(refused.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "a: [b\n"),
        ("a.json", "{"),
        ("a.yaml", "a: [{txt: b}]\n"),
        ("a.yaml", "a: [[b]]\n"),
        ("a.yaml", "a: [{text: b, weight: -1}]\n"),
        ("a.yaml", "a: [yes]\n"),
    ],
)
def test_a_broken_file_is_named_when_its_name_is_missing(words: Words, name: str, text: str) -> None:
    file = words.write(f"wildcards/{name}", text)
    words.write("wildcards/other.txt", "x\n")
    assert words.prompts("__other__") == ["x"]
    with pytest.raises(InputError, match="there is no wildcard __a__") as refused:
        words.prompts("__a__")
    assert f"Not readable: {file}" in str(refused.value)


def test_a_text_file_of_another_encoding(words: Words) -> None:
    (words.folder / "wildcards").mkdir()
    (words.folder / "wildcards" / "a.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(InputError, match="is not UTF-8"):
        words.prompts("__a__")


def test_a_link_to_a_folder_above_ends(words: Words) -> None:
    words.write("wildcards/a.txt", "x\n")
    (words.folder / "wildcards" / "loop").symlink_to(words.folder / "wildcards")
    assert words.prompts("__a__") == ["x"]


def test_folders_that_are_named(words: Words) -> None:
    words.write("wildcards/a.txt", "usual\n")
    words.write("mine/a.txt", "mine\n")
    assert words.prompts("__a__", wildcards=[words.folder / "mine"]) == ["mine"]
    with pytest.raises(InputError, match="there is no folder of wildcards"):
        words.prompts("__a__", wildcards=[words.folder / "none"])
