"""Names by a template: legal whatever is put in, inside the folder, and never that of two images."""

from __future__ import annotations

import re
from datetime import date
from itertools import product
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stableflows.errors import InputError, Where
from stableflows.run.name_template import FIELDS, LONGEST_NAME, NameFacts, NameTemplate

DAY = date(2026, 11, 21)


def facts(**changes: object) -> NameFacts:
    known = {
        "entry": 3, "index": 0, "n": 1, "pack": "Night Portraits", "title": "A lighthouse, at dusk",
        "seed": 1234, "checkpoint": "xl/base v1.safetensors [0123456789]", "day": DAY,
        "values": {"colour": "deep Blue", "weather/sky": "fog"},
    }  # fmt: skip
    return NameFacts(**{**known, **changes})  # type: ignore[arg-type]


def name(template: str, **changes: object) -> str:
    return str(NameTemplate.read(template).path(facts(**changes), ".png"))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{entry:04}-{slug}-{seed}", "0003-a-lighthouse-at-dusk-1234.png"),
        ("{pack}/{entry:04}-{slug}-{seed}", "night-portraits/0003-a-lighthouse-at-dusk-1234.png"),
        ("{checkpoint}_{colour}_{entry}", "base-v1_deep-blue_3.png"),
        ("{weather/sky}/{entry}", "fog/3.png"),
        ("{date}-{entry:3}", "2026-11-21-003.png"),
        ("{date:%Y%m%d}/{entry}", "20261121/3.png"),
        ("{entry} {slug:12}", "3 a-lighthouse.png"),
        ("{ entry }", "3.png"),
        ("Nacht – {entry}", None),
        ("ä{entry}", "ä3.png"),
    ],
)
def test_fields_and_formats(template: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(InputError, match="must not stand in a name"):
            name(template)
    else:
        assert name(template) == expected


@pytest.mark.parametrize(
    ("template", "n", "expected"),
    [
        ("{slug}", 1, "a-lighthouse-at-dusk-0003.png"),
        ("{slug}", 12, "a-lighthouse-at-dusk-0003_1.png"),
        ("{entry}-{slug}", 2, "3-a-lighthouse-at-dusk_1.png"),
        ("{entry}-{slug}-{index}", 2, "3-a-lighthouse-at-dusk-1.png"),
        ("{entry}-{slug}-{index}", 1, "3-a-lighthouse-at-dusk-1.png"),
        ("{entry}{index}", 2, "31-0003_1.png"),
        ("{entry}{seed}", 1, "31234-0003.png"),
        ("{slug}-{entry}-{pack}", 1, "a-lighthouse-at-dusk-3-night-portraits-0003.png"),
        ("{date}-{entry}-{slug}", 1, "2026-11-21-3-a-lighthouse-at-dusk.png"),
        ("{entry}/{slug}", 1, "3/a-lighthouse-at-dusk-0003.png"),
        ("{index}-{entry}", 2, "1-3.png"),
    ],
)
def test_what_tells_images_apart_is_added_where_it_is_missing(template: str, n: int, expected: str) -> None:
    assert name(template, n=n) == expected


def test_what_an_image_does_not_have_is_called_none() -> None:
    assert name("{entry}-{seed}-{checkpoint}-{mood}", seed=None, checkpoint=None) == "3-none-none-none.png"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("", "has an empty name in it."),
        ("/{entry}", "has an empty name in it."),
        ("a//{entry}", "has an empty name in it."),
        ("{entry}/", "has an empty name in it."),
        ("../{entry}", "a name must not begin with '.'"),
        ("./{entry}", "a name must not begin with '.'"),
        (".{entry}", "a name must not begin with '.'"),
        ("{entry}.", "a name must not end with '.'"),
        ("a /{entry}", "a name must not end with ' '"),
        ("a:{entry}", "':' must not stand in a name"),
        ("a\\{entry}", "must not stand in a name"),
        ("C:\\{entry}", "':' must not stand in a name"),
        ("{entry}\n", None),
        ("a\n{entry}", "must not stand in a name"),
        ("a\x00{entry}", "must not stand in a name"),
        ("{entry", "has a brace without its partner."),
        ("{}", "names no field."),
        ("{entry:x}", "'x' is no format; it takes a width, such as {entry:04}."),
        ("{entry:99999999999}", "is no format"),
        ("{slug:7}", "from 8 to 100"),
        ("{slug:2000}", "is no format"),
        ("{date:%s}", "is no format"),
        ("{slug:100}{pack:100}", f"at most {LONGEST_NAME} are safe"),
    ],
)
def test_what_is_no_template(template: str, said: str | None) -> None:
    where = Where(field="--names")
    if said is None:
        assert NameTemplate.read(template, where)
        return
    with pytest.raises(InputError, match=re.escape(said)) as error:
        NameTemplate.read(template, where)
    assert str(error.value).startswith("--names: ")


def test_an_unknown_field_is_told_with_the_nearest() -> None:
    template = NameTemplate.read("{entry}-{colr}")
    template.refuse_unknown(["colr"])
    with pytest.raises(InputError, match=r"there is no field 'colr' for names. Did you mean 'colour'\?"):
        template.refuse_unknown(["colour"], Where(field="names"))


LITERALS = st.sampled_from(["-", "_", " ", ".", "a", "7", "--", "x-1", "@", "("])
PARTS = st.one_of(
    LITERALS, st.sampled_from([f"{{{field}}}" for field in (*FIELDS, "colour", "entry:04", "slug:12")])
)
TEMPLATES = st.lists(PARTS, min_size=1, max_size=6).map("".join)
TEXTS = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        ["con", "../..", "a-0002", "a_2", "1", "2-3", "CON.txt", "stages", "/etc", "C:\\x", "0001-1"]
    ),
)
IMAGES = st.lists(
    st.tuples(TEXTS, TEXTS, TEXTS, st.one_of(st.none(), st.integers(0, 40)), st.integers(1, 3)),
    min_size=1,
    max_size=13,
)


def read(template: str) -> NameTemplate | None:
    try:
        return NameTemplate.read(template)
    except InputError:
        return None


@settings(deadline=None, max_examples=400)
@given(TEMPLATES, IMAGES)
def test_no_two_images_have_one_name(text: str, images: list[tuple[str, str, str, int | None, int]]) -> None:
    template = read(text)
    if template is None:
        return
    names = [
        str(
            template.path(
                NameFacts(number, index, n, pack, title, seed, pack, DAY, {"colour": colour}), ".png"
            )
        ).casefold()
        for number, (pack, title, colour, seed, n) in enumerate(images, start=1)
        for index in range(n)
    ]
    assert len(set(names)) == len(names)


def test_also_texts_that_look_like_numbers_of_others_do_not_collide() -> None:
    """Every template of up to four of these parts, against texts that try to be another's name."""
    parts = ["{entry}", "{index}", "{slug}", "{seed}", "-", "_", "1"]
    texts = ["1", "1-1", "1-0001", "2-0001-1"]
    for length in range(1, 5):
        for chosen in product(parts, repeat=length):
            template = read("".join(chosen))
            if template is None:
                continue
            names = [
                str(template.path(NameFacts(entry, index, n, "p", title, seed, None, DAY), ".png"))
                for entry, (title, seed, n) in enumerate(product(texts, (1, 11), (1, 2)), start=1)
                for index in range(n)
            ]
            assert len(set(names)) == len(names), chosen


# What Python 3.13 offers in its place, os.path.isreserved, knows only the system that it runs on.
@pytest.mark.filterwarnings("ignore:pathlib.PurePath.is_reserved:DeprecationWarning")
@settings(deadline=None, max_examples=400)
@given(st.lists(st.one_of(PARTS, st.just("/")), min_size=1, max_size=6).map("".join), TEXTS, TEXTS)
def test_a_name_is_legal_and_stays_in_the_folder(text: str, one: str, other: str) -> None:
    template = read(text)
    if template is None:
        return
    path = template.path(NameFacts(1, 0, 1, one, other, 5, one, DAY, {"colour": other}), ".png")
    assert not path.is_absolute()
    assert len(str(path)) <= LONGEST_NAME + 20
    assert path.parts[0].casefold() != "stages"
    for part in path.parts:
        assert part not in ("", ".", "..")
        assert not re.search(r'[<>:"/\\|?*\x00-\x1f]', part)
        assert part[0] not in ". "
        assert part[-1] not in ". "
        assert not PureWindowsPath(part).is_reserved()
    assert PurePosixPath("/run", path).is_relative_to("/run")


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_template_or_told_to_be_none(text: str) -> None:
    template = read(text)
    if template is not None:
        template.path(facts(), ".png")
