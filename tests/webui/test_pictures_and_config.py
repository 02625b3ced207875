"""Pictures that are none or not whole, and what a server's URL may look like."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import Any

import pytest

from stableflows.webui import errors
from stableflows.webui.images import decode_image
from stableflows.webui.server import ServerConfig

from . import recorded_servers as recorded

SITE = recorded.SITE

# -- pictures
# -----------------------------------------------------------------------------------------------------


def decode(data: bytes, *, max_pixels: int = 10**6) -> Any:
    return decode_image(base64.b64encode(data).decode(), SITE, max_pixels=max_pixels)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_known_formats_come_back_byte_for_byte(form: str) -> None:
    data = recorded.picture((16, 24), form=form, infotext="a\nSteps: 1, Sampler: x, Seed: 1")
    image = decode(data)
    assert (image.data, image.format, image.size) == (data, form, (16, 24))
    assert image.infotext == "a\nSteps: 1, Sampler: x, Seed: 1"
    uri = f"data:image/{form.lower()};base64," + base64.b64encode(data).decode()
    assert decode_image(uri, SITE, max_pixels=10**6) == image


def test_a_picture_with_transparency_is_one() -> None:
    assert decode(recorded.picture((8, 8), mode="RGBA")).size == (8, 8)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("left", [0.5, 0.98])
def test_half_a_picture_is_incomplete(form: str, left: float) -> None:
    data = recorded.picture((64, 64), form=form)
    with pytest.raises(errors.IncompleteResponse):
        decode(data[: int(len(data) * left)])


def test_a_png_without_its_end_or_with_a_wrong_checksum_is_damaged() -> None:
    data = bytearray(recorded.picture((64, 64)))
    with pytest.raises(errors.IncompleteResponse):
        decode(bytes(data[:-12]))
    data[data.index(b"IDAT") + 20] ^= 0xFF
    with pytest.raises(errors.IncompleteResponse):
        decode(bytes(data))


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"BM1234", b"<svg/>", b"%PDF-1.7", b"RIFF1234WAVE"])
def test_other_formats_are_refused(data: bytes) -> None:
    with pytest.raises(errors.UnexpectedAnswer, match="neither PNG nor JPEG nor WebP"):
        decode(data)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def test_a_decompression_bomb_is_refused_from_its_header() -> None:
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(errors.UnexpectedAnswer, match="100000x100000, more than 1 megapixels"):
        decode(bomb)


@pytest.mark.parametrize("text", ["", "####", "iVBOR w0KGgo=", "data:text/html;base64,PGI+"])
def test_what_is_no_base64_picture(text: str) -> None:
    with pytest.raises(errors.UnexpectedAnswer):
        decode_image(text, SITE, max_pixels=10**6)


# -- configuration
# ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "identity"),
    [
        ("127.0.0.1:7860", "http://127.0.0.1:7860"),
        ("http://LocalHost:7860/", "http://localhost:7860"),
        ("http://host:80", "http://host"),
        ("https://host:443/a1111/", "https://host/a1111"),
        ("http://host:7860/sdapi/v1", "http://host:7860"),
        ("http://host:7860/docs", "http://host:7860"),
        ("http://[::1]:7860", "http://[::1]:7860"),
        ("http://ann:pw@host:7860", "http://host:7860"),
    ],
)
def test_one_server_has_one_identity(written: str, identity: str) -> None:
    config = ServerConfig(base_url=written)
    assert config.server_identity == identity
    assert ServerConfig(base_url=identity).server_identity == identity


@pytest.mark.parametrize("written", ["", "ftp://host", "http://", "http://host:99999", "http://host:seven"])
def test_what_is_no_url_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"base_url|looks like|[Pp]ort"):
        ServerConfig(base_url=written)


def test_a_password_in_the_url_is_kept_secret() -> None:
    config = ServerConfig(base_url="http://ann:p%40ss@host")
    assert config.username == "ann"
    assert config.password is not None
    assert config.password.get_secret_value() == "p@ss"
    assert "p@ss" not in json.dumps(config.model_dump(mode="json"))
