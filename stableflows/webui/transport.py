"""HTTP to one server: bounded, without kept connections, every failure as an error of ours."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from .answers import decode_json, error_of_answer
from .errors import (
    CallSite,
    IncompleteResponse,
    NotAWebUI,
    TLSFailed,
    UnexpectedAnswer,
    Unreachable,
    WebUIError,
)
from .server import ServerConfig

__all__ = ["Answer", "Transport"]

_NO_PROXY: dict[str, httpx.AsyncBaseTransport | None] = {"http://": None, "https://": None, "all://": None}
"""A proxy for the way to the internet does not lead back to this machine, whatever the environment says."""
_ENCODINGS = ("", "identity", "gzip", "deflate")
_LARGEST_ERROR_BODY = 4 * 1024 * 1024
_LARGEST_LIST = 64 * 1024 * 1024
"""Bytes of an answer that brings no pictures. The longest lists of real servers are about 1 MB; parsed JSON
takes many times its bytes."""
_READ_TIMEOUTS_OF_A_LIST = 4
"""How often the time for one read its whole body may take: one that drips would otherwise never end."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer: its status, and its JSON document (None where it has no body, as with SD.Next's
    204).
    """

    status: int
    document: Any


class Transport:
    """Sends requests to the server of ``config``.

    Args:
        config: where it is and who we are.
        http: a client of one's own, for tests or special proxies; closing it stays the caller's.
    """

    def __init__(self, config: ServerConfig, http: httpx.AsyncClient | None = None) -> None:
        self.config = config
        self._owned = http is None
        self._http = http or _http_client(config)

    async def aclose(self) -> None:
        if self._owned:
            await self._http.aclose()

    def site(self, method: str, path: str, *, stage: str | None = None, asked: str = "") -> CallSite:
        """The call as errors name it."""
        return CallSite(self.config.server_identity, method, path, stage, asked)

    async def get(self, path: str, *, params: Mapping[str, str] | None = None) -> Any:
        """The document of a GET; raises a `WebUIError`."""
        answer = await self.send(self.site("GET", path), self.config.read_timeout, params=params)
        return answer.document

    async def post(self, path: str, body: Any = None, *, waits_for_lock: bool = False) -> Any:
        """The document of a POST that renders nothing; raises a `WebUIError`.

        Args:
            path: below the server's URL.
            body: sent as JSON, if not None.
            waits_for_lock: it stands in line with the rendering calls, and may load a checkpoint itself.
        """
        patience = self.config.stall.loading if waits_for_lock else self.config.read_timeout
        answer = await self.send(self.site("POST", path), patience, body=body)
        return answer.document

    async def send(
        self,
        site: CallSite,
        read_timeout: float | None,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """Sends one request.

        Args:
            site: method and path, and what errors say besides.
            read_timeout: seconds without a byte; None for a generating call, which is watched instead.
            body: sent as JSON, if not None.
            params: of the URL.

        Raises:
            WebUIError: every failure, also an answer that is no success.
        """
        config = self.config
        timeout = httpx.Timeout(
            connect=config.connect_timeout,
            write=config.write_timeout,
            pool=config.pool_timeout,
            read=read_timeout,
        )
        try:
            request = self._http.build_request(
                site.method, config.base_url + site.path, json=body, params=params, timeout=timeout
            )
        except (httpx.InvalidURL, UnicodeError) as error:
            raise NotAWebUI(f"this URL cannot be asked: {_words(error)}", site) from error
        response = await self._connected(request, site)
        patience = None if read_timeout is None else _READ_TIMEOUTS_OF_A_LIST * read_timeout
        try:
            async with asyncio.timeout(patience):
                content = await self._read(response, site, has_images=read_timeout is None)
        except TimeoutError as error:
            raise Unreachable(f"the answer was not whole after {patience:g} s", site) from error
        finally:
            await response.aclose()
        if not response.is_success:
            raise error_of_answer(
                response.status_code, content, site, location=response.headers.get("location", "")
            )
        # Decoding a hundred megabytes of base64 in JSON would hold up every other task of the loop.
        document = await asyncio.to_thread(decode_json, content, site) if content else None
        return Answer(response.status_code, document)

    async def _connected(self, request: httpx.Request, site: CallSite) -> httpx.Response:
        try:
            return await self._http.send(request, stream=True)
        except httpx.HTTPError as error:
            raise _connection_error(error, site, self.config) from error

    async def _read(self, response: httpx.Response, site: CallSite, *, has_images: bool) -> bytes:
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in _ENCODINGS:
            # What is packed twice unpacks to a million times its size before anyone can count it.
            raise UnexpectedAnswer(f"the answer is packed ({encoding[:40]!r}), which nobody asked for", site)
        limit = (
            self.config.max_response_bytes
            if has_images
            else min(_LARGEST_LIST, self.config.max_response_bytes)
        )
        if not response.is_success:
            limit = _LARGEST_ERROR_BODY
        content = bytearray()
        try:
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > limit:
                    break
        except httpx.HTTPError as error:
            reason = f"the answer broke off after {len(content)} bytes ({_words(error)})"
            raise IncompleteResponse(reason, site) from error
        if len(content) > limit and response.is_success:
            raise UnexpectedAnswer(f"the answer is larger than {limit / 2**20:.0f} MiB", site)
        return bytes(content[:limit])


def _http_client(config: ServerConfig) -> httpx.AsyncClient:
    password = config.password.get_secret_value() if config.password else ""
    return httpx.AsyncClient(
        auth=httpx.BasicAuth(config.username, password) if config.username else None,
        verify=_trust(config.verify_tls),
        # Forge closes its side after an error without saying so, and the next request on such a connection
        # is reset. A connection each costs nothing beside a rendering.
        limits=httpx.Limits(max_keepalive_connections=0),
        # Base64 hardly shrinks, and packing it costs the server time between two pictures.
        headers={"Accept-Encoding": "identity"},
        follow_redirects=False,
        mounts=_NO_PROXY if _is_this_machine(urlsplit(config.base_url).hostname or "") else None,
    )


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _trust(verify: bool | Path) -> bool | ssl.SSLContext:
    return verify if isinstance(verify, bool) else ssl.create_default_context(cafile=str(verify))


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found


def _connection_error(error: httpx.HTTPError, site: CallSite, config: ServerConfig) -> WebUIError:
    causes = _causes(error)
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return _tls_error(causes, site)
    if isinstance(error, httpx.ReadTimeout):
        return Unreachable("no answer within the time that this call may take", site)
    if isinstance(error, httpx.TimeoutException):
        return Unreachable(
            f"no connection within {config.connect_timeout:g} s", site, advice=_is_it_running(config)
        )
    if isinstance(error, httpx.RemoteProtocolError) and "disconnected" not in str(error):
        return NotAWebUI(f"what answers here does not speak HTTP ({_words(error)})", site)
    if isinstance(error, httpx.ConnectError):
        return Unreachable(f"no connection: {_words(error)}", site, advice=_is_it_running(config))
    return Unreachable(f"the connection was lost before an answer came: {_words(error)}", site)


def _is_it_running(config: ServerConfig) -> str:
    return f"Is the WebUI of {config.label} running, and started with --api?"


def _tls_error(causes: list[BaseException], site: CallSite) -> WebUIError:
    wrong = next((cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)), None)
    if wrong is not None:
        advice = "Trust its certificate by naming its file in verify_tls, or set verify_tls to false"
        return TLSFailed(f"its certificate cannot be trusted: {wrong.verify_message}", site, advice=advice)
    words = _words(next(cause for cause in causes if isinstance(cause, ssl.SSLError)))
    return TLSFailed(f"TLS failed: {words}", site, advice="Does this port speak http:// instead of https://?")
