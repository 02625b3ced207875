"""Any text gives legal names; distinct images get distinct ones."""

from __future__ import annotations

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stableflows.run.names import image_name, run_name, slug, stage_image_name
from stableflows.stages import StageType

WINDOWS_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
WINDOWS_FORBIDDEN = set('<>:"/\\|?*') | {chr(code) for code in range(32)}

texts = st.text(st.characters(exclude_categories=[]), max_size=300) | st.sampled_from(
    [
        "CON",
        "nul",
        "Com1",
        "com¹",
        "LPT9",
        "aux.png",
        "..",
        ".",
        "",
        " ",
        "trailing. . .",
        "灯台",
        "-",
        "a/b\\c",
    ]
)
seeds = st.none() | st.integers(0, 2**32 - 1)


def legal(name: str) -> bool:
    return (
        0 < len(name) <= 80
        and not WINDOWS_FORBIDDEN & set(name)
        and not WINDOWS_RESERVED.fullmatch(name)
        and name[-1] not in ". "
        and name[0] not in ". -"
        and name.isascii()
        and name == name.lower()
    )


@given(texts, st.integers(8, 60))
def test_a_slug_is_legal_short_and_stable(text: str, max_length: int) -> None:
    name = slug(text, max_length)
    assert legal(name)
    assert len(name) <= max_length
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    assert slug(name, max_length) == name


@given(texts, texts, st.dates())
def test_a_run_name_is_legal(job_name: str, run_id: str, day: date) -> None:
    assert legal(run_name(day, job_name, run_id))


def test_slugs_read_well() -> None:
    assert slug("A Lighthouse, at dusk!") == "a-lighthouse-at-dusk"
    assert slug("Café Müller") == "cafe-muller"
    assert (
        slug("a very long prompt that ends in the middle of something")
        == "a-very-long-prompt-that-ends-in-the"
    )
    assert slug("x" * 100) == "x" * 40
    assert slug("灯台") == slug("") == "untitled"
    assert slug("CON") == "x-con"


def test_image_names_read_well() -> None:
    prompt = "<lora:film:0.8> A lighthouse"
    assert image_name(1, prompt, 1234, index=0, n=1, suffix=".png") == "0001-a-lighthouse-1234.png"
    assert image_name(1, prompt, 1234, index=1, n=2, suffix=".png") == "0001-a-lighthouse-1234-2.png"
    assert image_name(12345, prompt, None, index=8, n=10, suffix=".jpg") == "12345-a-lighthouse-09.jpg"
    assert stage_image_name(1, StageType.UPSCALE, 7, index=1, n=2, suffix=".png") == "0001-2-upscale-7.png"
    day = date(2026, 11, 21)
    assert run_name(day, "Nightly: portraits", "3f2a9c1b-22") == "2026-11-21-nightly-portraits-3f2a9c1b"


@given(
    entries=st.dictionaries(
        st.integers(1, 30_000),
        st.tuples(texts, st.integers(1, 12), st.lists(seeds, min_size=12, max_size=12)),
    )
)
def test_distinct_images_have_distinct_legal_names(
    entries: dict[int, tuple[str, int, list[int | None]]],
) -> None:
    final = [
        image_name(number, prompt, seeds[index], index=index, n=n, suffix=".png")
        for number, (prompt, n, seeds) in entries.items()
        for index in range(n)
    ]
    between = [
        stage_image_name(number, stage, seeds[index], index=index, n=n, suffix=".png")
        for number, (_, n, seeds) in entries.items()
        for index in range(n)
        for stage in StageType
    ]
    for names in (final, between):
        assert len({name.casefold() for name in names}) == len(names)
        assert all(map(legal, names))


@pytest.mark.parametrize("suffix", ["png", ".PNG", ".p/g", "", ".", ".longer"])
def test_a_suffix_that_is_none_is_refused(suffix: str) -> None:
    with pytest.raises(ValueError, match="suffix"):
        image_name(1, "x", 1, index=0, n=1, suffix=suffix)


def test_an_image_beyond_the_entrys_number_is_refused() -> None:
    with pytest.raises(ValueError, match="image 2 of 2"):
        image_name(1, "x", 1, index=2, n=2, suffix=".png")
