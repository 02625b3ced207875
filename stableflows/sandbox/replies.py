"""Answers on the wire: JSON as FastAPI writes it, error bodies of each flavour, gzip."""

import gzip
import json
from dataclasses import dataclass, field
from typing import Any

from stableflows.sandbox.errors import HTTPError, InvalidError, ServerError
from stableflows.sandbox.flavours import Flavour

_GZIP_FROM = 1000


@dataclass
class Reply:
    """An answer before it is sent."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    images: tuple[str, ...] = ()
    """SHA-256 of the images in it, for the log."""
    rendered: tuple[float, float] | None = None
    """When it held the lock, if it rendered and all went well."""
    crashed: bool = False
    """It is a 500 that came from an exception inside the server."""


def as_json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Reply(status, text.encode(), {"content-type": "application/json", **(headers or {})})


def as_text(text: str, status: int = 200, kind: str = "text/html; charset=utf-8") -> Reply:
    return Reply(status, text.encode(), {"content-type": kind})


def zipped(reply: Reply, accepts: str) -> Reply:
    if "gzip" in accepts and len(reply.body) >= _GZIP_FROM:
        reply.body = gzip.compress(reply.body, compresslevel=1, mtime=0)
        reply.headers |= {"content-encoding": "gzip", "vary": "Accept-Encoding"}
    return reply


def of_error(error: Exception, flavour: Flavour, *, api: bool) -> Reply:
    """The answer to an exception. ``api``: under ``/sdapi``, where A1111 has its own handlers."""
    if isinstance(error, InvalidError):
        return as_json({"detail": error.details}, 422)
    if isinstance(error, HTTPError):
        return _http(error, flavour, api)
    if isinstance(error, ServerError):
        return _server(error.error, error.text, error.body, flavour)
    # A fault of the sandbox itself: told like any other, so that the test that meets it sees its text.
    return _server(type(error).__name__, f"sandbox: {error}", "", flavour)


def _http(error: HTTPError, flavour: Flavour, api: bool) -> Reply:
    if flavour.family == "forge" or not api:
        return as_json({"detail": error.detail}, error.status, error.headers)
    if flavour.family == "sdnext" and error.status == 400:
        return as_json({"error": error.detail}, 400)
    body: dict[str, Any] = {"error": "HTTPException", "detail": error.detail, "body": "", "errors": ""}
    if flavour.family == "sdnext":
        body = {"error": "HTTPException", "code": error.status, **body}
    # Its handler drops headers such as WWW-Authenticate.
    return as_json(body, error.status)


def _server(name: str, text: str, body: Any, flavour: Flavour) -> Reply:
    if flavour.family == "sdnext" and name == "TypeError":
        reply = as_json(text, 500)
    elif flavour.family == "forge":
        reply = as_json({"error": name, "detail": "", "body": body, "message": text}, 500)
    elif flavour.family == "sdnext":
        reply = as_json({"error": name, "code": 500, "detail": "", "body": body, "errors": text}, 500)
    else:
        reply = as_json({"error": name, "detail": "", "body": body, "errors": text}, 500)
    reply.crashed = True
    return reply
