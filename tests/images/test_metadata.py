"""Finding the parameters in a file, and who wrote them; whatever the file is, soon and with a clear word."""

from __future__ import annotations

import json
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stableflows.errors import InputError
from stableflows.images.metadata import MAX_TEXT, Program, read_metadata
from tests.webui.recorded_servers import user_comment

TEXT = "a cat, Käse 猫\nSteps: 2, Sampler: Euler, Seed: 1, Size: 8x8"


def png(file: Path, **chunks: str) -> Path:
    info = PngInfo()
    for name, text in chunks.items():
        info.add_text(name.replace("_", "-") if name == "sd_metadata" else name, text)
    Image.new("RGB", (8, 8)).save(file, pnginfo=info)
    return file


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(file: Path, kind: bytes, data: bytes, *, at_end: bool = False) -> Path:
    plain = BytesIO()
    Image.new("RGB", (8, 8)).save(plain, "PNG")
    whole = plain.getvalue()
    place = len(whole) - 12 if at_end else 33  # before IEND, or behind IHDR
    file.write_bytes(whole[:place] + chunk(kind, data) + whole[place:])
    return file


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (b"tEXt", b"parameters\0" + TEXT.encode("latin-1", "replace")),
        (b"zTXt", b"parameters\0\0" + zlib.compress(TEXT.encode("latin-1", "replace"))),
        (b"iTXt", b"parameters\0\0\0\0\0" + TEXT.encode()),
        (b"iTXt", b"parameters\0\1\0\0\0" + zlib.compress(TEXT.encode())),
    ],
)
@pytest.mark.parametrize("at_end", [False, True])
def test_every_kind_of_text_chunk(tmp_path: Path, kind: bytes, data: bytes, at_end: bool) -> None:
    found = read_metadata(with_chunk(tmp_path / "a.png", kind, data, at_end=at_end))
    assert found
    assert found.program is Program.WEBUI
    assert found.text.splitlines()[1] == TEXT.splitlines()[1]
    assert found.text == TEXT or kind != b"iTXt"


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
@pytest.mark.parametrize("order", ["be", "le"])
def test_the_comment_of_other_formats(tmp_path: Path, form: str, order: str) -> None:
    file = tmp_path / f"a.{form.lower()}"
    Image.new("RGB", (8, 8)).save(file, form, exif=user_comment(TEXT, order=order))
    found = read_metadata(file)
    assert found
    assert found.text == TEXT


SWARM = json.dumps({"sui_image_params": {"prompt": "a"}})
GRAPH = json.dumps({"3": {"class_type": "KSampler", "inputs": {"cfg": float("nan")}}})


@pytest.mark.parametrize(
    ("chunks", "program"),
    [
        ({"parameters": TEXT}, Program.WEBUI),
        ({"parameters": "{a|b} house\nSteps: 2"}, Program.WEBUI),
        ({"parameters": SWARM}, Program.SWARMUI),
        ({"parameters": '{"fooocus_scheme": 1}'}, Program.UNKNOWN),
        ({"prompt": GRAPH, "workflow": "{}"}, Program.COMFYUI),
        ({"prompt": GRAPH, "parameters": TEXT}, Program.WEBUI),
        ({"workflow": "{}"}, Program.COMFYUI),
        ({"invokeai_metadata": "{}", "parameters": TEXT}, Program.INVOKEAI),
        ({"sd_metadata": "{}"}, Program.INVOKEAI),
    ],
)
def test_who_wrote_it(tmp_path: Path, chunks: dict[str, str], program: Program) -> None:
    found = read_metadata(png(tmp_path / "a.png", **chunks))
    assert found
    assert found.program is program


def test_no_metadata_is_none(tmp_path: Path) -> None:
    assert read_metadata(png(tmp_path / "a.png")) is None
    assert read_metadata(png(tmp_path / "b.png", Software="a paint program")) is None


@pytest.mark.parametrize("name", ["prompt", "invokeai_metadata", "sd_metadata"])
@pytest.mark.parametrize("text", ['{"3": {"class_t', "[1]", "[" * 100_000])
def test_half_a_json_is_told(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(InputError, match="is no whole JSON"):
        read_metadata(png(tmp_path / "a.png", **{name: text}))


BOMB = zlib.compress(b"a" * 300_000_000, 9)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (b"zTXt", b"parameters\0\0" + BOMB),
        (b"iTXt", b"parameters\0\1\0\0\0" + BOMB),
        (b"tEXt", b"parameters\0" + b"a" * (MAX_TEXT + 1)),
        (b"iTXt", b"parameters\0\0\0\0\0" + b"a, b: c, " * 1_000_000),
    ],
)
def test_a_text_without_measure_is_refused(tmp_path: Path, kind: bytes, data: bytes) -> None:
    with pytest.raises(InputError) as error:
        read_metadata(with_chunk(tmp_path / "a.png", kind, data))
    assert str(error.value).startswith(str(tmp_path / "a.png"))


def test_pixels_without_measure_are_not_decoded(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    file = tmp_path / "a.png"
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    with pytest.raises(InputError, match="pixels|broken"):
        read_metadata(file)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no PNG, JPEG or WebP image."),
        (b"GIF89a\1\0\1\0", "is no PNG, JPEG or WebP image."),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "broken|is no PNG"),
        (None, "there is no such image."),
    ],
)
def test_what_is_no_image(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "a.png"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_metadata(file)


def sample(form: str) -> bytes:
    file = BytesIO()
    extra: dict[str, Any] = {"exif": user_comment(TEXT)}
    if form == "PNG":
        info = PngInfo()
        info.add_text("parameters", TEXT, zip=True)
        extra = {"pnginfo": info, "exif": user_comment(TEXT)}
    Image.new("RGB", (16, 16), "teal").save(file, form, **extra)
    return file.getvalue()


SAMPLES = {form: sample(form) for form in ("PNG", "JPEG", "WEBP")}


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(SAMPLES)),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=4)), max_size=6),
    st.integers(0, 2000),
)
def test_damaged_files_are_read_or_told(
    tmp_path: Path, form: str, changes: list[tuple[int, bytes]], cut: int
) -> None:
    data = bytearray(SAMPLES[form])
    for place, new in changes:
        data[place % len(data) : place % len(data) + len(new)] = new
    file = tmp_path / "a.png"
    file.write_bytes(bytes(data[: len(data) - cut % len(data)] if cut % 3 == 0 else data))
    try:
        found = read_metadata(file)
    except InputError:
        return
    assert found is None or found.text or found.data is not None
