"""Whatever a server answers ends as a value or as an error of ours; never as anything else."""

from __future__ import annotations

import asyncio
import gzip
import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stableflows.errors import StableflowsError, printable
from stableflows.webui.answers import decode_json, error_of_answer
from stableflows.webui.calls import read_reply
from stableflows.webui.errors import NotAWebUI, UnexpectedAnswer, Unreachable, WebUIError
from stableflows.webui.infotext import parse_infotext
from stableflows.webui.kinds import NameKind
from stableflows.webui.models import WebUIReply, WebUIRequest
from stableflows.webui.names import load_names
from stableflows.webui.serverstate import pixel_options, troubling_options
from stableflows.webui.verify import verify
from tests.attack.bounds import within
from tests.attack.examples import examples
from tests.attack.hostile_server import ANYTHING, changed, client_of, recorded_answers
from tests.webui import recorded_servers as recorded
from tests.webui.test_edges import answering, client_at

FAMILIES = ["a1111", "forge"]


async def everything(answers: dict[str, Any]) -> None:
    """All that a run asks of a server before its first generating request."""
    async with client_of(answers) as client:
        await client.wait_ready(0)
        capabilities = await client.probe()
        names = await load_names(client)
        for kind in NameKind:
            str(names.find(kind, "Euler"))
        names.embeddings_in("a cat")
        capabilities.script("x/y/z plot", is_img2img=False)
        options = await client.options()
        pixel_options(options, capabilities.family)
        [str(trouble) for trouble in troubling_options(options)]
        (await client.progress()).idle  # noqa: B018


@pytest.mark.parametrize("family", FAMILIES)
@examples(120)
@given(data=st.data())
def test_any_list_is_taken_or_refused(family: str, data: st.DataObject) -> None:
    answers = recorded_answers(family)
    path = data.draw(st.sampled_from(sorted(answers)))
    answers[path] = data.draw(changed(answers[path]))
    with suppress(StableflowsError):
        asyncio.run(everything(answers))


def _said(document: Any) -> Any:
    """An answer's document with its info as the servers send it: JSON in a string."""
    if isinstance(document, dict) and isinstance(document.get("info"), dict):
        return {**document, "info": json.dumps(document["info"])}
    return document


ANSWER: dict[str, Any] = {
    "images": [recorded.base64_picture((64, 64)), recorded.base64_picture((64, 64))],
    "parameters": {"prompt": "a cat"},
    "html_info": "",
    "info": {
        "prompt": "a cat",
        "seed": 7,
        "all_seeds": [7, 8],
        "subseed": 1,
        "sampler_name": "Euler",
        "steps": 2,
        "sd_model_name": "sandbox_tiny_a",
        "sd_model_hash": "2961c70a87",
        "sd_vae_name": None,
        "clip_skip": 1,
        "extra_generation_params": {"Schedule type": "Karras"},
        "index_of_first_image": 0,
        "infotexts": ["a cat\nSteps: 2, Sampler: Euler, Seed: 7, Model: sandbox_tiny_a"] * 2,
        "version": "v1.10.1",
    },
}
REQUEST = WebUIRequest(
    "/sdapi/v1/txt2img",
    {
        "prompt": "a cat <lora:grain:1>",
        "seed": 7,
        "subseed": 3,
        "subseed_strength": 0.5,
        "steps": 2,
        "width": 64,
        "height": 64,
        "sampler_name": "Euler",
        "scheduler": "Karras",
        "refiner_checkpoint": "sandbox_tiny_b",
        "refiner_switch_at": 0.5,
        "enable_hr": True,
        "hr_scale": 2,
        "override_settings": {
            "sd_model_checkpoint": "sandbox_tiny_a",
            "sd_vae": "x.pt",
            "CLIP_stop_at_last_layers": 2,
        },
        "alwayson_scripts": {"ADetailer": {"args": [True, False, {"ad_model": "face_yolov8n.pt"}]}},
    },
    n_images=2,
)


def judged(document: Any, family: str = "a1111") -> None:
    reply = read_reply(document, recorded.SITE, max_pixels=1_000_000)
    assert isinstance(reply, WebUIReply)
    verdict = verify(REQUEST, reply, recorded.capabilities(family), recorded.names(family))
    str(verdict)


@pytest.mark.parametrize("family", FAMILIES)
@examples(120)
@given(document=changed(ANSWER).map(_said))
def test_any_picture_answer_is_judged_or_refused(family: str, document: Any) -> None:
    with suppress(WebUIError):
        judged(document, family)


KEYS = [
    "Steps", "Sampler", "Schedule type", "Seed", "Size", "Model hash", "Model", "VAE", "VAE hash",
    "Clip skip", "Variation seed", "Hires upscale", "Hires steps", "Hires upscaler", "Refiner",
    "Refiner switch at", "Lora hashes", "TI hashes", "ADetailer model", "ADetailer model 2nd",
    "Hashes", "Version", "RNG",
]  # fmt: skip
values = st.one_of(
    st.sampled_from(
        ["9" * 5000, "inf", "nan", "-1e999", "1e400", '"', '"a: b"', "{", "[" * 3000, "٣", "-", ""]
    ),
    st.text(max_size=20),
)


@examples(200)
@given(
    prompt=st.text(max_size=30),
    pairs=st.lists(st.tuples(st.sampled_from(KEYS), values), max_size=12),
)
def test_any_infotext_is_judged(prompt: str, pairs: list[tuple[str, str]]) -> None:
    text = prompt + "\n" + ", ".join(f"{key}: {value}" for key, value in pairs)
    read = parse_infotext(text)
    assert read.seed is None or isinstance(read.seed, int)
    document = {**ANSWER, "info": json.dumps({**ANSWER["info"], "infotexts": [text, text]})}
    with suppress(WebUIError):
        judged(document)


ERROR = {
    "error": "RuntimeError",
    "detail": [{"loc": ["body", "steps"], "msg": "not an integer"}],
    "body": "",
    "errors": "Script 'x' not found",
    "message": "out of memory",
}


@examples(150)
@given(
    document=st.one_of(changed(ERROR), st.sampled_from(ANYTHING)),
    status=st.sampled_from([301, 400, 401, 404, 422, 500, 503, 599]),
)
def test_any_error_body_says_something_printable(document: Any, status: int) -> None:
    error = error_of_answer(status, json.dumps(document).encode(), recorded.SITE, location="\x1b]0;x\x07")
    assert isinstance(error, WebUIError)
    assert str(error) == printable(str(error))
    assert "\x1b" not in str(error)
    assert len(str(error)) < 3000
    str(error).encode()


def test_brackets_without_end_are_refused() -> None:
    """Python's reader of JSON runs out of stack on them; it is not asked again."""
    for body in (b"[" * 200_000, b'{"a":' * 200_000):
        with pytest.raises(UnexpectedAnswer, match="nested too deeply") as refused:
            decode_json(body, recorded.SITE)
        assert not refused.value.retryable
        assert isinstance(error_of_answer(500, body, recorded.SITE), WebUIError)
    text = "a cat\nSteps: 1, Seed: 2, Hashes: " + '{"a":' * 100_000 + ", Size: 8x8, Model: x"
    assert parse_infotext(text).seed == 2


def test_an_infotext_of_words_takes_no_time() -> None:
    """The WebUI's own pattern takes minutes for a megabyte of words: each may begin a key, up to the end."""
    within(
        """
        from stableflows.webui.infotext import parse_infotext
        for piece in ("a ", "a-", " ", 'aa:"', 'aa: "\\\\'):
            text = piece * (1_000_000 // len(piece)) + "x"
            parse_infotext(text)
            parse_infotext("a cat\\n" + text + ", Steps: 1, Seed: 2, Size: 8x8")
        """,
        cpu_seconds=20,
        megabytes=1500,
    )


def test_numbers_that_are_none() -> None:
    text = f"x\nSteps: 1, Seed: {'9' * 5000}, Size: {'9' * 5000}x8, CFG scale: inf, Clip skip: nan"
    read = parse_infotext(text)
    assert (read.seed, read.size, read.number("CFG scale"), read.number("Clip skip")) == (None,) * 4


def test_an_index_before_the_first_picture_is_the_first() -> None:
    info = {**ANSWER["info"], "index_of_first_image": -100}
    reply = read_reply({**ANSWER, "info": json.dumps(info)}, recorded.SITE, max_pixels=1_000_000)
    assert len(reply.wanted(replace(REQUEST, size=(8, 8)))) == 2


# -- over a socket


def compressed(body: bytes, times: int) -> bytes:
    encoding = ", ".join(["gzip"] * times)
    for _ in range(times):
        body = gzip.compress(body)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def test_an_answer_that_is_packed_once_is_read() -> None:
    async with answering(lambda _: compressed(b'{"a": 1}', 1)) as url, client_at(url) as client:
        assert await client.options() == {"a": 1}


async def test_an_answer_that_is_packed_twice_is_not_unpacked() -> None:
    """A kilobyte would be a gigabyte before anyone could count it."""
    bomb = compressed(b"x" * 1_000_000, 2)
    async with answering(lambda _: bomb) as url, client_at(url) as client:
        with pytest.raises(UnexpectedAnswer, match="packed"):
            await client.options()


async def test_a_packed_list_without_end_is_not_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stableflows.webui.transport._LARGEST_LIST", 1_000_000)
    bomb = compressed(b" " * 50_000_000, 1)
    async with answering(lambda _: bomb) as url, client_at(url) as client:
        with pytest.raises(UnexpectedAnswer, match="larger than 1 MiB"):
            await client.options()


async def test_a_list_that_drips_is_given_up() -> None:
    """Each byte comes in time, and the last never."""

    served: list[asyncio.Task[None] | None] = []

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        with suppress(OSError):
            while not writer.is_closing():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with client_at(url, read_timeout=0.1) as client:
            with pytest.raises(Unreachable, match="not whole after"):
                await client.options()
    await asyncio.gather(*filter(None, served))


@pytest.mark.parametrize("host", ["xn--a", "\u24db", "a" * 70, "a..b", "%31", "*"])
async def test_a_host_that_is_no_name_is_refused(host: str) -> None:
    async with client_at(f"http://{host}:9") as client:
        with pytest.raises(WebUIError):
            await client.options()
    async with client_at("http://127.0.0.1:9/\x00") as client:
        with pytest.raises(NotAWebUI, match="cannot be asked"):
            await client.options()
