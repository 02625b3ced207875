"""Draws, slots, styles, negatives: what an entry becomes, and that the same again comes out the same."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from stableflows.errors import InputError
from stableflows.packs.model import Globals, PackEntry, PromptPack
from stableflows.prompts import grammar
from stableflows.prompts.model import MOST_PROMPTS, Language
from stableflows.prompts.resolve import Resolver
from stableflows.request import RenderRequest, prepare, prepare_job
from tests.prompts.conftest import Words

TEN = "{0|1|2|3|4|5|6|7|8|9}"
SLOTS: dict[str, Any] = {"slots": {"hair": ["red", "black", "grey"], "sky": ["clear", "dark"]}}


def prompts_of(pack: str, **asked: Any) -> list[str]:
    return [item.entry.prompt for item in prepare(RenderRequest(packs=(pack,), **asked)).job.packs]


# -- draws


def test_a_prompt_without_syntax_is_itself(words: Words) -> None:
    (only,) = words.resolved("a (cat:1.2)", "text")
    assert (only.prompt, only.negative_prompt, only.randomizer) == ("a (cat:1.2)", "text", None)


def test_one_draw_is_the_rule_and_its_choice_is_recorded(words: Words) -> None:
    words.write("wildcards/colour.txt", "red\nblue\n")
    (only,) = words.resolved("a __colour__ {cat|dog}, ${v=!{x|y}}${v}, __colour__")
    assert only.randomizer is not None
    values = only.randomizer["values"]
    found = re.fullmatch("a (.*) (.*), (.*), (.*)", only.prompt)
    assert found
    assert [values[name] for name in ("colour", "variant1", "v", "colour.2")] == list(found.groups())
    assert isinstance(only.randomizer["seed"], int)
    json.dumps(only.randomizer)


def test_draws_are_as_many_as_asked_and_none_twice(words: Words) -> None:
    drawn = words.resolved(TEN * 2, prompts={"limit": 40})
    assert len({each.prompt for each in drawn}) == 40
    assert len({each.randomizer["seed"] for each in drawn if each.randomizer}) == 40


def test_more_draws_than_there_are_outcomes_give_all(words: Words) -> None:
    drawn = words.resolved("{1000000::a|b|c} {x|y}", prompts={"limit": 50})
    assert {each.prompt for each in drawn} == {f"{a} {x}" for a in "abc" for x in "xy"}


def test_weights_weigh(words: Words) -> None:
    found = words.resolved("{3::a|1::b|0::c} " + TEN * 5, prompts={"limit": 2000})
    drawn = Counter(one.prompt[0] for one in found)
    assert drawn["c"] == 0
    assert 2.5 < drawn["a"] / drawn["b"] < 3.5


def test_weights_in_yaml_weigh_and_are_no_duplicates(words: Words) -> None:
    words.write("wildcards/a.yaml", "a: [3::x, y]\n")
    assert words.prompts("__a__") == ["x", "y"]
    found = words.resolved("__a__ " + TEN * 5, prompts={"limit": 2000})
    drawn = Counter(one.prompt[0] for one in found)
    assert 2.5 < drawn["x"] / drawn["y"] < 3.5


def test_the_same_again_and_another_seed_otherwise(words: Words) -> None:
    first, again, other = (
        [each.prompt for each in words.resolved(TEN * 4, seed=seed, prompts={"limit": 5})]
        for seed in (1, 1, 2)
    )
    assert first == again != other


PACK = "prompts: {limit: 3}\nentries:\n"
MANY = "{0|1|2|3|4|5|6|7|8|9}{0|1|2|3|4|5|6|7|8|9}{0|1|2|3|4|5|6|7|8|9}"


def test_an_entry_more_changes_no_other(words: Words) -> None:
    lines = [f'  - "{name} {MANY}"\n' for name in "abc"]
    before = prompts_of(str(words.write("a.yaml", PACK + lines[0] + lines[2])))
    after = prompts_of(str(words.write("b.yaml", PACK + "".join(lines))))
    assert [each for each in after if not each.startswith("b")] == before
    assert len(after) == 9


def test_an_entry_written_twice_is_drawn_twice(words: Words) -> None:
    drawn = prompts_of(str(words.write("a.yaml", "entries:\n" + f'  - "{MANY}"\n' * 2)))
    assert drawn[0] != drawn[1]


def test_a_pack_may_ask_for_new_draws_each_time_and_a_saved_job_has_none_left(words: Words) -> None:
    pack = str(words.write("a.yaml", f'prompts: {{seed: -1}}\nentries:\n  - "{MANY}{MANY}"\n'))
    first, second = (prepare(RenderRequest(packs=(pack,))) for _ in range(2))
    assert first.job.packs[0].entry.prompt != second.job.packs[0].entry.prompt
    saved = type(first.job).model_validate_json(first.job.model_dump_json())
    (words.folder / "a.yaml").unlink()
    again = prepare_job(saved, inputs=words.folder)
    assert again.job == first.job
    assert again.entries[0].item.randomizer == first.job.packs[0].randomizer is not None


def test_prompts_that_stand_as_they_are(words: Words) -> None:
    (only,) = words.resolved("{a|b} __c__ [[d]]", prompts={"mode": "off"})
    assert (only.prompt, only.randomizer) == ("{a|b} __c__ [[d]]", None)


def test_globals_are_drawn_with_the_entry(words: Words) -> None:
    found = words.resolved(
        "${t=!{day|night}}${t}",
        around=Globals(prompt="${t} light", negative_prompt="{x|y}"),
        prompts={"mode": "combinatorial"},
    )
    assert [(one.prompt, one.globals.prompt, one.globals.negative_prompt) for one in found] == [
        ("day", "day light", "x"),
        ("day", "day light", "y"),
        ("night", "night light", "x"),
        ("night", "night light", "y"),
    ]


# -- negatives that follow


def test_a_negative_follows_what_was_chosen(words: Words) -> None:
    words.write("wildcards/season.txt", "winter\nsummer\n")
    for template in ("__season__", "{winter|summer}", "${s=!{winter|summer}}${s}", "[[s]]"):
        found = words.resolved(
            template,
            "text",
            prompts={"mode": "combinatorial"},
            negatives={"winter": "green leaves"},
            matrix={"slots": {"s": ["winter", "summer"]}},
        )
        assert {one.prompt: one.negative_prompt for one in found} == {
            "winter": "text, green leaves",
            "summer": "text",
        }


def test_a_slot_has_negatives_of_its_own_and_a_variable_is_known_in_the_negative(words: Words) -> None:
    found = words.resolved("[[sky]]", matrix={"slots": {"sky": {"clear": "clouds", "grey": ""}}})
    assert [(one.prompt, one.negative_prompt) for one in found] == [("clear", "clouds"), ("grey", "")]
    (only,) = words.resolved("${c=!{red|blue}}${c} hat", "${c} coat")
    assert only.negative_prompt.split()[0] == only.prompt.split()[0]


# -- slots


def test_a_fanout_is_every_combination(words: Words) -> None:
    found = words.resolved("[[hair]] hair, [[sky]] sky", "no [[hair]]", matrix=SLOTS)
    assert len({one.prompt for one in found}) == 6
    for one in found:
        assert one.randomizer is not None
        hair, sky = one.randomizer["values"]["hair"], one.randomizer["values"]["sky"]
        assert (one.prompt, one.negative_prompt) == (f"{hair} hair, {sky} sky", f"no {hair}")


def test_slots_that_an_entry_does_not_have_do_not_multiply_it(words: Words) -> None:
    assert len(words.resolved("[[sky]] [[sky]]", matrix=SLOTS)) == 2


@pytest.mark.parametrize("mode", ["random", "fanout", "sequential", "rotate"])
def test_a_limit_is_spread_over_all_values(words: Words, mode: str) -> None:
    slots = {name: [f"{name}{number}" for number in range(10)] for name in "abcd"}
    found = words.resolved(
        " ".join(f"[[{name}]]" for name in slots), matrix={"mode": mode, "limit": 10, "slots": slots}
    )
    assert len({one.prompt for one in found}) == 10
    for place in range(4):
        assert len({one.prompt.split()[place] for one in found}) >= 5


def test_ten_to_the_twelve_combinations_are_sampled_at_once(words: Words) -> None:
    slots = {name: [str(number) for number in range(1000)] for name in "abcde"}
    template = " ".join(f"[[{name}]]" for name in slots)
    assert words.count(template, matrix={"slots": slots}) == 10**15
    for mode in ("random", "fanout"):
        found = words.resolved(template, matrix={"mode": mode, "limit": 20, "slots": slots})
        assert len({one.prompt for one in found}) == 20
        assert len({one.prompt.split()[0] for one in found}) > 10


@pytest.mark.parametrize("mode", ["sequential", "rotate"])
def test_entries_take_turns(words: Words, mode: str) -> None:
    matrix = f"matrix: {{mode: {mode}, slots: {{a: ['1', '2', '3'], b: [x, y]}}}}\n"
    pack = words.write("a.yaml", matrix + "entries:\n" + "".join(f'  - "{n} [[a]][[b]]"\n' for n in range(6)))
    assert len({prompt.split()[1] for prompt in prompts_of(str(pack))}) == 6


def test_values_of_slots_may_be_drawn(words: Words) -> None:
    said: dict[str, Any] = {"matrix": {"slots": {"a": ["{1|2}", "3"]}}, "prompts": {"mode": "combinatorial"}}
    assert [one.prompt for one in words.resolved("[[a]] [[a]]", **said)] == ["1 1", "2 2", "3 3"]
    assert words.count("[[a]] {x|y}", **said) == 6
    assert words.count("[[a]] {x|y}", matrix=said["matrix"], prompts={"limit": 3}) == 5


def test_search_and_replace(words: Words) -> None:
    matrix = {"replace": ["old => young | ancient", "man => woman"]}
    found = words.resolved("an old man", "old man", matrix=matrix)
    assert [(one.prompt, one.negative_prompt) for one in found] == [
        ("an young woman", "young woman"),
        ("an ancient woman", "ancient woman"),
    ]
    assert len(words.resolved("a house", matrix=matrix)) == 1


def test_a_matrix_that_is_off_defines_nothing(words: Words) -> None:
    with pytest.raises(InputError, match=r"is a slot that no matrix defines"):
        words.resolved("[[sky]]", matrix={**SLOTS, "enabled": False})
    with pytest.raises(InputError, match="Did you mean 'hair'"):
        words.resolved("[[hiar]]", matrix=SLOTS)


# -- styles

STYLES = (
    "\ufeffname,prompt,negative_prompt\r\n--- DRAWN ---,,\r\n"
    'ink,"ink of {prompt}, lines",photo\r\nmatte,matte,\r\n'
)


def test_styles_around_and_behind(words: Words) -> None:
    words.write("styles.csv", STYLES)
    (only,) = words.resolved("a cat", "text", styles=["ink", "matte"])
    assert (only.prompt, only.negative_prompt) == ("ink of a cat, lines, matte", "text, photo")


def test_a_style_may_hold_variants(words: Words) -> None:
    words.write("styles.csv", 'name,prompt,negative_prompt\ns,"{prompt}, {a|b}",\n')
    assert words.prompts("x", styles=["s"]) == ["x, a", "x, b"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (STYLES, "there is no style 'inc' in .*Did you mean 'ink'"),
        ("name,text\na,b\n", "styles.csv:1: has no column 'prompt'"),
        ("name,prompt,negative_prompt\na,b,c,d\n", "styles.csv:2: has 4 values under 3 columns"),
        ("name,prompt,negative_prompt\n,b,c\n", "styles.csv:2: a style has no name"),
        ('name,prompt,negative_prompt\na,"b"c,\n', "is not valid CSV"),
    ],
)
def test_a_style_that_is_not_there(words: Words, text: str, said: str) -> None:
    words.write("styles.csv", text)
    with pytest.raises(InputError, match=said):
        words.resolved("x", styles=["inc"])


# -- counts before cost


def test_a_product_in_the_billions_is_counted_and_needs_a_limit(words: Words) -> None:
    assert words.count(TEN * 14) == 10**14
    with pytest.raises(InputError, match=r"stands for 100,000,000,000,000 prompts; .*Give a limit"):
        words.prompts(TEN * 14)
    assert len(set(words.prompts(TEN * 14, prompts={"mode": "combinatorial", "limit": 50}))) == 50


def test_a_number_too_long_to_write_is_told(words: Words) -> None:
    words.write("wildcards/a.txt", "\n".join(map(str, range(1000))))
    with pytest.raises(InputError, match=r"about 10\^2567 prompts"):
        words.prompts("{1000$$__a__}")


def test_a_hundred_thousand_come_one_by_one(words: Words) -> None:
    pack = words.pack(TEN * 6, prompts={"mode": "combinatorial", "limit": MOST_PROMPTS})
    found = Resolver().resolve(pack, pack.entries[0])
    assert len({next(found).prompt for _ in range(1000)}) == 1000


def test_entries_of_a_job_are_bounded_together(words: Words) -> None:
    language = Language.model_validate({"prompts": {"mode": "combinatorial"}})
    pack = PromptPack("p", "p", (PackEntry(TEN * 5), PackEntry("x" + TEN * 5)), language=language)
    assert [Resolver().count(pack, entry) for entry in pack.entries] == [10**5, 10**5]


def test_a_wildcard_is_read_once_for_all_entries(words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading is what takes the longest: a pack of thousands of entries would take minutes."""
    words.write("wildcards/place.txt", "\n".join(f"place {number} {{dim|bright}}" for number in range(30)))
    parsed: list[str] = []

    def counting(text: str, **given: Any) -> Any:
        parsed.append(text)
        return grammar.parse(text, **given)

    for module in ("wildcards", "template"):
        monkeypatch.setattr(f"stableflows.prompts.{module}.parse", counting)
    pack = words.pack("__place__")
    entries = [replace(pack.entries[0], prompt=f"house {number}, __place__") for number in range(10)]
    resolver = Resolver()
    assert len([each for entry in entries for each in resolver.resolve(pack, entry)]) == 10
    assert len(parsed) == len(set(parsed)) == 40


def test_numbers_are_values_of_a_slot(words: Words) -> None:
    """As YAML reads them without quotes."""
    assert words.prompts("(a:[[n]])", matrix={"slots": {"n": [1, 2.5]}}) == ["(a:1)", "(a:2.5)"]
