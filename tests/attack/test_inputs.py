"""Files and options that mean harm, or are only very wrong, are refused in bounded time and memory."""

from __future__ import annotations

import os
import struct
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stableflows import entries
from stableflows.errors import InputError, StableflowsError
from stableflows.inputs import InputImages
from stableflows.packs import read_sources
from stableflows.packs.prompts import MAX_PROMPT
from stableflows.request import RenderRequest, parse_settings, prepare
from tests.attack.bounds import within
from tests.attack.examples import examples

BOMBS = {
    "flow.yaml": "[" * 1_000_000,
    "block.yaml": "\n".join(" " * depth + "a:" for depth in range(2000)),
    "keys.yaml": "? " * 100_000,
    "items.yaml": "- " * 100_000,
    "deep.json": '{"a":' * 100_000,
    "laughs.yaml": "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in pairwise("abcdefghi")),
    "merges.yaml": "a: &a {x: 1}\n"
    + "".join(f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 20)}]}}\n" for a, b in pairwise("abcdefghi")),
    "itself.yaml": "entries: &a [*a]\n",
    "many.yaml": "entries: [" + "a," * 400_000 + "]",
    "number.yaml": "entries: [{prompt: a, count: " + "9" * 100_000 + "}]",
    "number.json": '{"entries": [{"prompt": "a", "count": ' + "9" * 100_000 + "}]}",
    "float.json": '{"entries": [{"prompt": "a", "config": {"txt2img": {"cfg_scale": 1e999}}}]}',
    "code.yaml": "entries: [!!python/object/apply:os.system ['touch pwned']]\n",
    "words.txt": "a " * 1_000_000,
    "slots.txt": "[[a]] " * 500_000,
    "tags.txt": "<a:" * 1_000_000,
    "zero.yaml": "entries: ['a\\0b']\n".replace("\\0", "\0"),
}  # fmt: skip


def test_bombs_are_refused_in_bounds(tmp_path: Path) -> None:
    for name, text in BOMBS.items():
        (tmp_path / name).write_text(text)
    said = within(
        f"""
        import os
        from pathlib import Path
        from stableflows.errors import InputError
        from stableflows.request import RenderRequest, prepare
        os.chdir({str(tmp_path)!r})
        for file in {sorted(BOMBS)!r}:
            try:
                prepare(RenderRequest.of(packs=(file,)))
            except InputError as error:
                print(f"{{file}}\\t{{str(error)[:300]!r}}")
        """,
        cpu_seconds=60,
        megabytes=1500,
    )
    assert {line.split("\t")[0] for line in said.splitlines()} == set(BOMBS)
    assert not (tmp_path / "pwned").exists()


def test_a_prompt_as_long_as_a_book_is_refused() -> None:
    with pytest.raises(InputError, match="characters long"):
        prepare(RenderRequest.of(prompt="x" * (MAX_PROMPT + 1)))


def test_tags_that_never_close_take_no_time() -> None:
    """A prompt is looked through by many patterns; none of them may begin anew at each character."""
    within(
        f"""
        from stableflows.errors import InputError
        from stableflows.request import RenderRequest, prepare
        from stableflows.run.names import image_name
        for piece in ("<lora:", "<::::", "(((((", "[[", "{{a|", "__a", "<embedding:", "<", ":", " "):
            prompt = "x" + piece * ({MAX_PROMPT} // len(piece) - 1)
            image_name(1, prompt, 1, index=0, n=1, suffix=".png")
            try:
                prepare(RenderRequest.of(prompt=prompt))
            except InputError:
                pass
        """,
        cpu_seconds=30,
        megabytes=1500,
    )


def test_more_than_anyone_renders_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "MAX_IMAGES", 20)
    pack = tmp_path / "p.txt"
    pack.write_text("a\n\n" * 21)
    with pytest.raises(InputError, match="21 entries; at most 20"):
        prepare(RenderRequest.of(packs=(str(pack),)))
    pack.write_text("a\n\nb\n\n")
    with pytest.raises(InputError, match="22 images; at most 20"):
        prepare(RenderRequest.of(packs=(str(pack),), count=11))


NOT_PATHS = [
    "~nobody-of-that-name/x.png",
    "loop/x.png",
    "a\0b.png",
    "x" * 5000,
    "caf\udce9.png",
    "/proc/self/mem",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe.png")
    return tmp_path


@pytest.mark.parametrize("path", [*NOT_PATHS, "pipe.png", "/dev/zero", "."])
@pytest.mark.usefixtures("here")
def test_what_is_no_file_is_never_read(path: str) -> None:
    """A pipe would be waited for, a device read without end."""
    for values in (
        {"inputs": (path,), "stages": ["upscale"]},
        {"prompt": "a", "settings": {"img2img": {"enabled": True, "mask": path}}},
        {
            "prompt": "a",
            "settings": {"txt2img": {"alwayson_scripts": {"X": {"args": [{"image_file": path}]}}}},
        },
        {"packs": (path,)},
    ):
        with pytest.raises(InputError):
            prepare(RenderRequest.of(**values))


@pytest.mark.parametrize("path", ["~nobody-of-that-name/out", "loop/out", "a\0b", "caf\udce9"])
@pytest.mark.usefixtures("here")
def test_an_output_folder_that_cannot_be(path: str) -> None:
    with pytest.raises(InputError, match="--out"):
        _ = RenderRequest.of(prompt="a", out=path).root


@pytest.mark.parametrize("mask", ["sha256:../../../etc/x", "sha256:" + "a" * 64])
def test_a_pack_cannot_name_an_image_of_the_store(mask: str) -> None:
    with pytest.raises(InputError, match="there is no image"):
        prepare(RenderRequest.of(prompt="a", settings={"img2img": {"enabled": True, "mask": mask}}))


@pytest.mark.parametrize("name", ["../x", "*", "../../../etc/passwd", "a" * 63, "A" * 64, ""])
def test_a_saved_job_cannot_name_a_file_outside_the_store(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.png").write_bytes(png(8, 8))
    (tmp_path / "store").mkdir()
    with pytest.raises(InputError, match="no SHA-256"):
        InputImages(tmp_path / "store")[name]


def test_a_word_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(InputError, match="UTF-8"):
        prepare(RenderRequest.of(prompt="caf\udce9"))
    with pytest.raises(InputError):
        prepare(RenderRequest.of(prompt="a", settings={"checkpoint": "caf\udce9"}))


SETTINGS = [
    "2026-13-45", "2026-01-05", "9" * 5000, "[" * 900, "!!binary x", "!!set {x}", "{a: &a [x], b: *a}",
    "&a [*a]", "!!python/name:os.system ''", "*x", "16:9", "1e999", ".nan", "\x00", "\x1b", "caf\udce9",
    "a: b: c", "- -", "? x", "%", "@", "`", "|", ">", "\t", "<<: 3", "{<<: 3}",
]  # fmt: skip


@pytest.mark.parametrize("value", SETTINGS)
def test_any_value_of_an_option_is_read_or_refused(value: str) -> None:
    try:
        prepare(RenderRequest.of(prompt="a", settings=parse_settings([f"txt2img.sampler={value}"])))
    except InputError as error:
        assert str(error)


def test_an_option_is_read_as_a_pack_is() -> None:
    """YAML 1.1 would make a number of minutes, a date of a day, and a text of an exponent."""
    read = parse_settings(
        ["a=16:9", "b=2026-01-31", "c=1e-3", "d=on", "e=a lighthouse: at dusk, calm: sea", "f="]
    )
    assert read == {
        "a": "16:9",
        "b": "2026-01-31",
        "c": 0.001,
        "d": True,
        "e": "a lighthouse: at dusk, calm: sea",
        "f": None,
    }


@examples(150)
@given(text=st.one_of(st.text(max_size=40), st.text("{}[]&*!|>'\"%@`,:?- \n\t#x1.", max_size=20)))
def test_any_text_of_an_option_is_read_or_refused(text: str) -> None:
    try:
        RenderRequest.of(prompt="a", settings=parse_settings([f"txt2img.sampler={text}"]))
    except StableflowsError as error:
        assert str(error)


# -- images


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *extra: bytes, rows: int | None = None) -> bytes:
    """A black picture of one bit a pixel, of as few bytes as can be."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    pixels = b"\0" * (((width + 7) // 8 + 1) * (height if rows is None else rows))
    body = chunk(b"IDAT", zlib.compress(pixels, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + body


IMAGES: dict[str, Any] = {
    "pixels.png": lambda: png(100_000, 100_000, rows=1),
    "limit.png": lambda: png(13_390, 13_390, rows=1),
    "text.png": lambda: png(8, 8, chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"a" * 100_000_000, 9))),
    "itext.png": lambda: png(
        8, 8, chunk(b"iTXt", b"parameters\0\1\0\0\0" + zlib.compress(b"a" * 100_000_000, 9))
    ),
    "profile.png": lambda: png(8, 8, chunk(b"iCCP", b"x\0\0" + zlib.compress(b"a" * 100_000_000, 9))),
    "nothing.png": lambda: png(0, 8),
    "torn.png": lambda: png(64, 64)[:-40],
    "svg.png": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "gif.png": lambda: b"GIF89a" + b"\0" * 100,
    "empty.png": lambda: b"",
}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_that_is_a_bomb_is_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(IMAGES[name]())
    with pytest.raises(InputError) as refused:
        InputImages().add(file)
    if name in ("pixels.png", "limit.png"):
        assert "at most 178 million" in str(refused.value)


def test_an_image_of_a_server_that_is_a_bomb_is_refused(tmp_path: Path) -> None:
    for name, make in IMAGES.items():
        (tmp_path / name).write_bytes(make())
    said = within(
        f"""
        import base64
        from pathlib import Path
        from stableflows.webui.errors import CallSite, WebUIError
        from stableflows.webui.images import decode_image
        for file in sorted(Path({str(tmp_path)!r}).iterdir()):
            try:
                text = base64.b64encode(file.read_bytes()).decode()
                decode_image(text, CallSite("http://x", "POST", "/"), max_pixels=100_000_000)
            except WebUIError:
                print(file.name)
        """,
        cpu_seconds=30,
        megabytes=1000,
    )
    assert said.split() == sorted(IMAGES)


@examples(80)
@given(data=st.binary(max_size=30), at=st.integers(0, 200), cut=st.integers(0, 200))
def test_any_bytes_are_an_image_or_refused(tmp_path: Path, data: bytes, at: int, cut: int) -> None:
    whole = png(
        16, 16, chunk(b"tEXt", b"parameters\0a cat"), chunk(b"eXIf", b"II*\0\x08\0\0\0\1\0" + b"\xff" * 20)
    )
    file = tmp_path / "x.png"
    file.write_bytes((whole[:at] + data + whole[at + len(data) :])[: len(whole) - cut // 10])
    try:
        InputImages().add(file)
    except InputError as error:
        assert str(error)


@examples(60)
@given(text=st.text(max_size=60))
def test_any_text_of_a_pack_ends_well(tmp_path: Path, text: str) -> None:
    for name in ("p.yaml", "p.json", "p.txt"):
        file = tmp_path / name
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            read_sources([file])
        except InputError as error:
            assert str(error)
