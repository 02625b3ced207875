"""HTTP at its edges: what is no WebUI, what breaks off, what is too large; and pictures that are none."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from stableflows.webui import errors
from stableflows.webui.capabilities import Family
from stableflows.webui.client import WebUIClient
from stableflows.webui.models import WebUIRequest
from stableflows.webui.server import ServerConfig, StallLimits

from . import recorded_servers as recorded

URL = "http://webui.test:7860"
SITE = recorded.SITE


@asynccontextmanager
async def client_at(url: str = URL, **config: Any) -> AsyncIterator[WebUIClient]:
    async with WebUIClient(ServerConfig(base_url=url, poll_seconds=0.02, **config)) as client:
        yield client


# -- what answers
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "kind", "text"),
    [
        (httpx.Response(200, html="<title>Welcome</title>"), errors.NotAWebUI, "Welcome"),
        (
            httpx.Response(302, headers={"location": "https://sso.test/"}),
            errors.NotAWebUI,
            "https://sso.test/",
        ),
        (httpx.Response(401, html="<title>Log in</title>"), errors.NotAWebUI, "Log in"),
        (
            httpx.Response(401, json={"detail": "Not authenticated"}),
            errors.AuthenticationFailed,
            "--api-auth",
        ),
        (httpx.Response(502, html="<title>Bad Gateway</title>"), errors.Overloaded, "502"),
        (httpx.Response(200, text="Ollama is running"), errors.NotAWebUI, "Ollama is running"),
    ],
)
async def test_what_is_no_webui_says_so_at_once(
    response: httpx.Response, kind: type[errors.WebUIError], text: str
) -> None:
    with respx.mock:
        respx.get(f"{URL}/sdapi/v1/loras").mock(return_value=response)
        async with client_at() as client:
            with pytest.raises(kind, match=text):
                await client.wait_ready(0 if kind is errors.Overloaded else 60)


async def test_another_api_has_none_of_the_routes() -> None:
    with respx.mock:
        missing = respx.get(url__startswith=URL).respond(404, json={"detail": "Not Found"})
        async with client_at() as client:
            with pytest.raises(errors.NotAWebUI, match="no WebUI API"):
                await client.wait_ready(0)
            with pytest.raises(errors.NotAWebUI, match="--api"):
                await client.probe()
    assert missing.called


async def test_a_webui_without_scripts_or_embeddings_is_not_ready_yet() -> None:
    with respx.mock:
        loras = respx.get(f"{URL}/sdapi/v1/loras")
        loras.side_effect = [httpx.Response(404, json={"detail": "Not Found"})] * 3 + [
            httpx.Response(200, json=[])
        ]
        scripts = respx.get(f"{URL}/sdapi/v1/script-info")
        scripts.side_effect = [httpx.Response(200, json=[])] + [httpx.Response(200, json=[{"name": "x"}])] * 2
        embeddings = respx.get(f"{URL}/sdapi/v1/embeddings")
        failing = recorded.errors()["forge/get_embeddings"]["body"]
        embeddings.side_effect = [
            httpx.Response(200, json={}),
            httpx.Response(500, json=failing),
            httpx.Response(200, json={}),
        ]
        reasons: list[str] = []
        async with client_at() as client:
            await client.wait_ready(20, lambda reason, _: reasons.append(reason))
    assert [reason.split()[-2] for reason in reasons] == ["scripts", "embeddings", "LoRAs"]
    assert loras.call_count == 4


async def test_a_server_without_loras_is_ready_in_the_end() -> None:
    with respx.mock:
        respx.get(f"{URL}/sdapi/v1/loras").respond(404, json={"detail": "Not Found"})
        respx.get(f"{URL}/sdapi/v1/script-info").respond(200, json=[{"name": "x"}])
        respx.get(f"{URL}/sdapi/v1/embeddings").respond(200, json={})
        async with client_at() as client:
            await client.wait_ready(0)
            await client.wait_ready(60)


async def test_a_list_that_fails_is_there() -> None:
    with respx.mock:
        respx.get(f"{URL}/sdapi/v1/loras").respond(500, json={"error": "KeyError", "errors": "'x'"})
        async with client_at() as client:
            await client.wait_ready(0)


async def test_broken_options_are_told_with_what_the_server_says() -> None:
    body = recorded.errors()["a1111/options_get_poisoned"]["body"]
    with respx.mock:
        respx.get(f"{URL}/sdapi/v1/options").respond(500, json=body)
        respx.get(url__startswith=URL).respond(404, json={"detail": "Not Found"})
        async with client_at() as client:
            with pytest.raises(
                errors.CallFailed, match="cannot read its own options.*CLIP_stop_at_last_layers"
            ):
                await client.probe()


@pytest.mark.parametrize("family", ["a1111", "forge"])
async def test_a_recorded_server_is_recognised(family: str) -> None:
    lists = recorded.lists(family)
    with respx.mock:
        for path, document in lists.items():
            if path.startswith("/"):
                respx.get(URL + path).respond(200, json=document)
        respx.get(URL + "/internal/ping").respond(200, json={})
        respx.get(url__startswith=URL).respond(404, json={"detail": "Not Found"})
        async with client_at() as client:
            caps = await client.probe()
    assert caps.family is Family(family)
    assert caps.has_task_ids
    assert caps.scripts == recorded.capabilities(family).scripts
    assert caps.adetailer == recorded.capabilities(family).adetailer


async def test_a_list_of_another_shape_is_unexpected() -> None:
    with respx.mock:
        respx.get(f"{URL}/sdapi/v1/samplers").respond(200, json=[{"title": "x"}])
        async with client_at() as client:
            with pytest.raises(errors.UnexpectedAnswer, match="name"):
                await client.samplers()


async def test_a_server_before_schedulers_has_none() -> None:
    with respx.mock:
        respx.get(f"{URL}/sdapi/v1/schedulers").respond(404, json={"detail": "Not Found"})
        async with client_at() as client:
            assert await client.schedulers() == ()


async def test_answers_without_a_body_are_answers() -> None:
    with respx.mock:
        for name in ("checkpoints", "loras", "vae"):
            respx.post(f"{URL}/sdapi/v1/refresh-{name}").respond(204)
        respx.post(f"{URL}/sdapi/v1/refresh-embeddings").respond(404, json={"detail": "Not Found"})
        async with client_at() as client:
            await client.refresh()


async def test_credentials_go_into_the_header_and_nowhere_else() -> None:
    with respx.mock:
        route = respx.get(f"{URL}/sdapi/v1/options").mock(side_effect=httpx.ConnectError("refused"))
        async with client_at("http://ann:s3cret@webui.test:7860/") as client:
            with pytest.raises(errors.Unreachable) as caught:
                await client.options()
            assert "s3cret" not in repr(client.config)
    token = base64.b64encode(b"ann:s3cret").decode()
    assert route.calls[0].request.headers["authorization"] == f"Basic {token}"
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("raised", "kind", "retryable"),
    [
        (httpx.ConnectError("refused"), errors.Unreachable, True),
        (httpx.ConnectTimeout("slow"), errors.Unreachable, True),
        (httpx.ReadTimeout("slow"), errors.Unreachable, True),
        (httpx.PoolTimeout("full"), errors.Unreachable, True),
        (httpx.ReadError("reset"), errors.Unreachable, True),
        (
            httpx.RemoteProtocolError("Server disconnected without sending a response."),
            errors.Unreachable,
            True,
        ),
        (httpx.RemoteProtocolError("illegal status line"), errors.NotAWebUI, False),
    ],
)
async def test_connections_that_fail(
    raised: Exception, kind: type[errors.WebUIError], retryable: bool
) -> None:
    with respx.mock:
        respx.get(f"{URL}/sdapi/v1/options").mock(side_effect=raised)
        async with client_at() as client:
            with pytest.raises(kind) as caught:
                await client.options()
    assert caught.value.retryable is retryable
    assert URL in str(caught.value)


# -- real sockets
# -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def answering(answer: Callable[[int], bytes], **server: Any) -> AsyncIterator[str]:
    """A server that answers the nth connection with fixed bytes and closes it."""
    count = 0
    served: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        task = asyncio.current_task()
        if task:
            served.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            await reader.readexactly(int(lengths[0].split(b":")[1]) if lengths else 0)
            writer.write(answer(count))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client went away: what it makes of that is the test's
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, **server)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        yield f"{'https' if server else 'http'}://127.0.0.1:{port}"
    await asyncio.gather(*served)


def http(body: bytes, *, status: str = "200 OK", length: int | None = None) -> bytes:
    head = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {length or len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


async def test_an_answer_that_breaks_off_is_incomplete() -> None:
    async with answering(lambda _: http(b'{"a": 1', length=100)) as url, client_at(url) as client:
        with pytest.raises(errors.IncompleteResponse, match="broke off after 7 bytes") as caught:
            await client.options()
    assert caught.value.retryable


async def test_an_answer_larger_than_allowed_is_not_read_on() -> None:
    body = b'{"a": "' + b"x" * 3_000_000 + b'"}'
    async with answering(lambda _: http(body)) as url, client_at(url, max_response_bytes=1_000_000) as client:
        with pytest.raises(errors.UnexpectedAnswer, match="larger than 1 MiB"):
            await client.options()


async def test_an_error_page_without_end_is_cut() -> None:
    body = b"<html><title>Gone wrong</title>" + b"x" * 9_000_000
    async with answering(lambda _: http(body, status="500 No")) as url, client_at(url) as client:
        with pytest.raises(errors.NotAWebUI, match="Gone wrong"):
            await client.options()


async def test_a_connection_that_closes_after_a_500_does_not_hurt_the_next_request() -> None:
    """Forge closes it without saying so: the answer announces no `Connection: close`."""

    def answer(count: int) -> bytes:
        return http(b'{"error": "KeyError", "message": "x"}', status="500 No") if count == 1 else http(b"{}")

    async with answering(answer) as url, client_at(url) as client:
        with pytest.raises(errors.UnknownName):
            await client.options()
        for _ in range(3):
            assert await client.options() == {}


async def test_something_that_speaks_no_http() -> None:
    async with answering(lambda _: b"220 mail.test ready\r\n\r\n") as url, client_at(url) as client:
        with pytest.raises(errors.NotAWebUI, match="does not speak HTTP"):
            await client.options()


async def test_https_where_http_is_spoken() -> None:
    async with answering(lambda _: b"") as url, client_at(url.replace("http:", "https:")) as client:
        with pytest.raises(errors.TLSFailed, match="http:// instead") as caught:
            await client.options()
    assert not caught.value.retryable


CERTIFICATE = Path(__file__).parent / "localhost.pem"
"""A self-signed certificate for 127.0.0.1 with its key, made for this test only; valid until 2126."""


async def test_a_certificate_that_nobody_trusts() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    async with answering(lambda _: http(b"{}"), ssl=context) as url:
        async with client_at(url) as client:
            with pytest.raises(errors.TLSFailed, match="self.signed.*verify_tls"):
                await client.wait_ready(60)
        for trust in (CERTIFICATE, False):
            async with client_at(url, verify_tls=trust) as client:
                assert await client.options() == {}


# -- generating calls
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"images": [], "info": ""}, errors.FewerImages),
        ({"images": None, "info": None}, errors.FewerImages),
        ([], errors.UnexpectedAnswer),
        ({"images": [7]}, errors.UnexpectedAnswer),
        ({"images": ["no base64!"]}, errors.UnexpectedAnswer),
        ({"images": [recorded.base64_picture((8, 8))], "info": "{"}, errors.UnexpectedAnswer),
        ({"images": [recorded.base64_picture((8, 8))], "info": '{"infotexts": 3}'}, errors.UnexpectedAnswer),
    ],
)
async def test_a_success_that_is_none(document: Any, kind: type[errors.WebUIError]) -> None:
    with respx.mock:
        respx.get(f"{URL}/sdapi/v1/options").respond(200, json={"sd_model_checkpoint": "x"})
        respx.post(f"{URL}/sdapi/v1/txt2img").respond(200, json=document)
        respx.get(url__startswith=URL).respond(404, json={"detail": "Not Found"})
        async with client_at() as client:
            with pytest.raises(kind) as caught:
                await client.call(WebUIRequest("/sdapi/v1/txt2img", {"prompt": ""}), stage="txt2img")
    assert not caught.value.retryable


async def test_a_server_whose_machine_is_gone_is_a_stall_in_the_end() -> None:
    never = asyncio.Event()

    async def hang(_: httpx.Request) -> httpx.Response:
        await never.wait()
        raise AssertionError

    with respx.mock:
        respx.get(f"{URL}/sdapi/v1/options").respond(200, json={"sd_model_checkpoint": "x"})
        respx.get(f"{URL}/sdapi/v1/progress").mock(side_effect=httpx.ConnectTimeout("gone"))
        respx.post(f"{URL}/sdapi/v1/txt2img").mock(side_effect=hang)
        respx.get(url__startswith=URL).respond(404, json={"detail": "Not Found"})
        limits = StallLimits(sampling=0.1, loading=0.1, other=0.1, interrupt=0.1)
        async with client_at(stall=limits) as client:
            with pytest.raises(errors.Stalled, match="look at the server") as caught:
                await client.call(WebUIRequest("/sdapi/v1/txt2img", {"prompt": ""}))
    assert not caught.value.idle
