"""Any template: counted exactly, bounded, and refused only in our own words."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stableflows.errors import InputError
from stableflows.packs.model import PackEntry, PromptPack
from stableflows.prompts.grammar import TemplateError, has_syntax, parse
from stableflows.prompts.model import Language
from stableflows.prompts.resolve import Resolver

FREE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

literal = st.text("abc ,.()", max_size=4)
template = st.recursive(
    literal,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: "{" + "|".join([*parts, "z"]) + "}"),
        st.tuples(st.integers(0, 2), st.lists(inner, min_size=1, max_size=3)).map(
            lambda pick: f"{{{pick[0]}-2$${'|'.join(pick[1])}|z}}"
        ),
        st.tuples(inner, inner).map("".join),
        inner.map(lambda value: "{${v:" + value + "}|y}"),
    ),
    max_leaves=6,
)

pieces = st.lists(
    st.sampled_from(
        [
            *"{}|$%_#/[]()<>=!~@:,.- \t",
            "$$",
            "::",
            "${",
            "%{",
            "__",
            "[[",
            "]]",
            "a",
            "b",
            "2",
            "...",
            "<lora:",
            "\n",
        ]
    ),
    max_size=30,
).map("".join)


def resolver_of(prompt: str, mode: str, limit: int | None) -> tuple[Resolver, PromptPack]:
    language = Language.model_validate({"prompts": {"mode": mode, "limit": limit}, "wildcards": []})
    return Resolver(), PromptPack("p", "p", (PackEntry(prompt),), language=language)


@FREE
@given(template)
def test_all_outcomes_are_counted_and_each_can_be_drawn(prompt: str) -> None:
    resolver, pack = resolver_of(prompt, "combinatorial", None)
    count = resolver.count(pack, pack.entries[0])
    if count > 3000:
        return
    every = [one.prompt for one in resolver.resolve(pack, pack.entries[0])]
    assert len(every) <= count
    resolver, pack = resolver_of(prompt, "random", 20)
    drawn = [one.prompt for one in resolver.resolve(pack, pack.entries[0])]
    assert set(drawn) <= set(every)


@FREE
@given(template, st.integers(1, 20))
def test_a_limit_holds(prompt: str, limit: int) -> None:
    for mode in ("random", "combinatorial"):
        resolver, pack = resolver_of(prompt, mode, limit)
        count = resolver.count(pack, pack.entries[0])
        found = list(resolver.resolve(pack, pack.entries[0]))
        assert 1 <= len(found) <= count <= limit


@FREE
@given(pieces, st.sampled_from(["random", "combinatorial"]))
@example("{a|__missing__}", "combinatorial")
@example("{2$${2$$a|b}|__a__}", "combinatorial")
@example("${v=!{a|b}}__${v}__", "combinatorial")
def test_whatever_is_written_ends_in_our_own_words(tmp_path: Path, prompt: str, mode: str) -> None:
    wildcards = tmp_path / "wildcards"
    wildcards.mkdir(exist_ok=True)
    (wildcards / "a.txt").write_text("x\ny {p|q}\n__b__\n")
    (wildcards / "b.txt").write_text("${v:1}\n{2$$r|s}\n")
    language = Language.model_validate(
        {
            "prompts": {"mode": mode, "limit": 5},
            "wildcards": [wildcards],
            "matrix": {"slots": {"a": ["1", "2"]}},
        }
    )
    pack = PromptPack("p", "p", (PackEntry(prompt),), language=language)
    try:
        Resolver().count(pack, pack.entries[0])
        found = list(Resolver().resolve(pack, pack.entries[0]))
    except InputError:
        return
    assert len(found) <= 10
    assert all("\x00" not in one.prompt and "\x01" not in one.prompt for one in found)


@FREE
@given(st.text("ab {}|$_#/%,.\t()[]<>:", max_size=25))
def test_text_without_syntax_reads_as_itself(text: str) -> None:
    if has_syntax(text):
        return
    try:
        read = parse(text + "{|x}", exists=lambda _: False)
    except TemplateError:
        return
    assert read is not None


@pytest.mark.parametrize(
    "prompt",
    [
        "{a|" * 20 + "b" + "}" * 20,
        "{1-20$$" + "|".join(f"{{a|b}}{number}" for number in range(20)) + "}",
        "${a=!{0|1|2|3|4|5|6|7|8|9}${b=!1}}" * 10,
        "__" * 3000 + "{a|b}",
        "<lora:" * 1500 + "{a|b}",
        "{a|b}" * 500,
        "[[" * 2000 + "{a|b}",
        "{" + "9" * 5000 + "$$a|b}",
        "{a|b " + "c" * 30_000 + "}",
    ],
    ids=range(9),
)
def test_the_worst_ends(prompt: str) -> None:
    resolver, pack = resolver_of(prompt, "combinatorial", 3)
    try:
        assert len(list(resolver.resolve(pack, pack.entries[0]))) <= 3
    except InputError as refused:
        assert len(str(refused)) < 1000


def test_wildcards_that_multiply_are_bounded(tmp_path: Path) -> None:
    """A line of each takes the next one twice, with another parameter each."""
    wildcards = tmp_path / "wildcards"
    wildcards.mkdir()
    for number in range(30):
        after = f"__w{number + 1}(v={{a|${{v:b}}}})__ __w{number + 1}(v=${{v:c}} d)__"
        (wildcards / f"w{number}.txt").write_text(after if number < 29 else "${v:e}")
    language = Language.model_validate({"prompts": {"limit": 2}, "wildcards": [wildcards]})
    pack = PromptPack("p", "p", (PackEntry("__w0__"),), language=language)
    with pytest.raises(InputError, match=r"has more than 50,000 parts|is nested"):
        list(Resolver().resolve(pack, pack.entries[0]))
