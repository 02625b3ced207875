"""Reading infotexts: written by an independent writer, by real servers, and into each kind of picture."""

from __future__ import annotations

import json
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stableflows.webui.infotext import Infotext, parse_infotext, read_infotext

from . import recorded_servers as recorded

LINE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=40).map(str.strip)
PROMPT_LINE = LINE.filter(lambda line: not line.startswith("Negative prompt:"))
PROMPT = st.lists(PROMPT_LINE, max_size=3).map("\n".join).map(lambda text: text.strip("\n"))
KEY = st.from_regex(r"[A-Za-z][A-Za-z0-9 /-]{1,20}[A-Za-z0-9]", fullmatch=True).filter(
    lambda key: "Hashes" not in key
)
VALUE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
PARAMS = st.dictionaries(KEY, VALUE, min_size=3, max_size=8)


def written(prompt: str, negative: str, params: dict[str, str]) -> str:
    """As AUTOMATIC1111 writes it; every value that could be misread is quoted as JSON."""
    pairs = []
    for key, value in params.items():
        plain = (
            value == value.strip()
            and value[0] != '"'
            and not set(value) & set(",:\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
        )
        pairs.append(f"{key}: {value if plain else json.dumps(value, ensure_ascii=False)}")
    lines = [prompt, f"Negative prompt: {negative}" if negative else None, ", ".join(pairs)]
    return "\n".join(line for line in lines if line is not None)


@settings(deadline=None)
@given(PROMPT, PROMPT, PARAMS)
def test_what_is_written_is_read(prompt: str, negative: str, params: dict[str, str]) -> None:
    read = parse_infotext(written(prompt, negative, params))
    assert (read.prompt, read.negative_prompt, dict(read.params)) == (prompt, negative, params)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_as_something(text: str) -> None:
    assert isinstance(parse_infotext(text), Infotext)


def test_fewer_than_three_pairs_are_prompt() -> None:
    read = parse_infotext("a cat\nmood: calm, light: dim")
    assert read.prompt == "a cat\nmood: calm, light: dim"
    assert read.params == {}


def test_quoted_values_and_hash_lists() -> None:
    text = (
        "a <lora:one:1>\nNegative prompt: bad,\nworse\nSteps: 2, Sampler: Euler, Seed: 42, Size: 64x80, "
        'Lora hashes: "one: d57fb7b05afc, two: 0011", TI hashes: "emb: 4c76", '
        'Note: "a, \\"b\\": c\\nd", Version: 1'
    )
    read = parse_infotext(text)
    assert read.negative_prompt == "bad,\nworse"
    assert read.params["Note"] == 'a, "b": c\nd'
    assert read.lora_hashes == {"one": "d57fb7b05afc", "two": "0011"}
    assert read.embedding_hashes == {"emb": "4c76"}
    assert (read.seed, read.size, read.number("Steps"), read.number("Sampler")) == (42, (64, 80), 2.0, None)


def test_one_lora_is_not_quoted() -> None:
    text = "a\nSteps: 2, Seed: 1, Lora hashes: one: d57fb7b05afc"
    assert parse_infotext(text).lora_hashes == {"one": "d57fb7b05afc"}


def test_civitais_bare_json_does_not_break_the_line() -> None:
    text = 'a\nSteps: 2, Sampler: Euler, Seed: 1, Hashes: {"model": "ab", "lora:x": "cd"}, Version: v1'
    read = parse_infotext(text)
    assert json.loads(read.params["Hashes"]) == {"model": "ab", "lora:x": "cd"}
    assert read.params["Version"] == "v1"


PLAIN = [
    key
    for key, record in sorted(recorded.answers().items())
    if record["info"] and not record["body"].get("script_name")  # scripts list the grid's infotext first
]


@pytest.mark.parametrize("key", PLAIN)
def test_every_recorded_infotext_agrees_with_its_info(key: str) -> None:
    info = recorded.answers()[key]["info"]
    read = parse_infotext(info["infotexts"][0])
    reported = (info["sampler_name"], info["sd_model_name"], info["sd_model_hash"], info["version"])
    keys = ("Sampler", "Model", "Model hash", "Version")
    assert tuple(read.params.get(key) for key in keys) == reported
    assert (read.params.get("VAE"), read.size) == (info["sd_vae_name"], (info["width"], info["height"]))
    for name, value in info["extra_generation_params"].items():
        if isinstance(value, str):
            assert read.params[name] == value


TEXT = "a cät, 猫\nNegative prompt: ∅\nSteps: 2, Sampler: Euler, Seed: 9"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("text", [TEXT, "plain\nSteps: 2, Sampler: Euler, Seed: 9"])
def test_it_is_read_from_each_kind_of_picture(form: str, text: str) -> None:
    assert read_infotext(recorded.picture((8, 8), form=form, infotext=text)) == text
    assert read_infotext(recorded.picture((8, 8), form=form)) is None


@pytest.mark.parametrize("order", ["be", "le"])
def test_either_byte_order_of_a_user_comment(order: str) -> None:
    file = BytesIO()
    text = "a cat\nSteps: 2, Sampler: Euler, Seed: 9"
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=recorded.user_comment(text, order=order))
    assert read_infotext(file.getvalue()) == text


@pytest.mark.parametrize("header", [b"ASCII\0\0\0", b"\0" * 8])
def test_a_user_comment_in_bytes(header: bytes) -> None:
    file, exif = BytesIO(), Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = header + b"a cat\0"
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=exif)
    assert read_infotext(file.getvalue()) == "a cat"


def test_the_international_text_chunk() -> None:
    file, chunks = BytesIO(), PngInfo()
    chunks.add_itxt("parameters", TEXT, zip=True)
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=chunks)
    assert read_infotext(file.getvalue()) == TEXT


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_no_picture_or_one_without_infotext(data: bytes) -> None:
    assert read_infotext(b"\x89PNG\r\n\x1a\n" + data) is None
