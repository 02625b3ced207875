"""From the answer of a server that did not do it, to the error of ours that says so.

The shapes (recorded of AUTOMATIC1111 v1.10.1 and Forge f2.0.1, SD.Next from its source): AUTOMATIC1111 puts
an exception's text under ``errors`` and an HTTPException's under ``detail``; Forge the former under
``message``, and answers ``{"detail": ...}`` alone for the latter; SD.Next ``{"error": <text>}`` or a bare
JSON string; request validation is FastAPI's ``{"detail": [{"loc", "msg"}]}`` everywhere.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from .errors import (
    AuthenticationFailed,
    BadImage,
    CallFailed,
    CallSite,
    CheckpointLoadFailed,
    IncompleteResponse,
    MissingEndpoint,
    NansError,
    NotAWebUI,
    OutOfMemory,
    Overloaded,
    RequestRejected,
    UnexpectedAnswer,
    UnknownName,
    WebUIError,
)

__all__ = ["Said", "decode_json", "error_of_answer", "read_said"]

_LONGEST_QUOTE = 600
_PYTHON_CLASS = re.compile(r"[A-Za-z_][\w.]{0,199}")
_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|Allocation on device", re.IGNORECASE)
_NANS = re.compile(r"tensor with (all )?NaNs", re.IGNORECASE)
_BAD_IMAGE = re.compile(
    r"Invalid encoded image|Init image not found|Init image is none|Request to local resource not allowed"
    r"|Requests not allowed|Invalid image url|cannot identify image file",
    re.IGNORECASE,
)
_UNKNOWN = [
    (re.compile(r"could not find upscaler named (?P<name>.+)", re.IGNORECASE), "upscaler"),
    (re.compile(r"Could not find checkpoint with name (?P<name>.+)", re.IGNORECASE), "checkpoint"),
    (re.compile(r"model '(?P<name>.+)' not found"), "checkpoint"),
    (re.compile(r"Script '(?P<name>.+)' not found"), "script"),
    (re.compile(r"Unknown sampler: (?P<name>.+)"), "sampler"),
    (re.compile(r"Sampler not found"), "sampler"),
    (re.compile(r"Model not found"), "model"),
]
_LOAD_FAILED = re.compile(
    r"Error\(s\) in loading state_dict|while deserializing header|Error while deserializing|HeaderTooLarge"
    r"|Torch not compiled with CUDA enabled|Failed to recognize model type|PytorchStreamReader failed",
    re.IGNORECASE,
)
_LOADABLE = re.compile(r"\.(safetensors|ckpt|pt|pth|sft|gguf)\b")


@dataclass(frozen=True, slots=True)
class Said:
    """What an error body says: its text, the Python class of the exception, the bad fields of the request."""

    text: str = ""
    error_class: str = ""
    fields: tuple[str, ...] = ()


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + " ..."


def _field_error(item: Any) -> tuple[str, str]:
    if not isinstance(item, dict):
        return "", str(item)
    loc = item.get("loc")
    place = [str(part) for part in loc if part != "body"] if isinstance(loc, list) else []
    return ".".join(place), str(item.get("msg", ""))


def read_said(document: Any) -> Said:
    """Reads any error body that the servers are known to send."""
    if isinstance(document, str):
        return Said(_short(document))
    if not isinstance(document, dict):
        return Said(_short(json.dumps(document)) if document is not None else "")
    detail = document.get("detail")
    if isinstance(detail, list):
        problems = [_field_error(item) for item in detail]
        text = "; ".join(f"{field}: {message}" if field else message for field, message in problems)
        return Said(_short(text), "RequestValidationError", tuple(field for field, _ in problems if field))
    name = document.get("error") or ""
    texts = [document.get(key) for key in ("errors", "message", "detail")]
    text = next((text for text in texts if isinstance(text, str) and text), "")
    if not isinstance(name, str):
        return Said(_short(text))
    if not text and not _PYTHON_CLASS.fullmatch(name):
        return Said(_short(name))  # SD.Next: the text itself
    return Said(_short(text), name)


def _document(body: bytes) -> tuple[Any, bool]:
    try:
        return json.loads(body), True
    except ValueError:
        return None, False


def error_of_answer(status: int, body: bytes, site: CallSite, *, location: str = "") -> WebUIError:
    """The error that stands for an answer which is not a success.

    Args:
        status: HTTP status, not 2xx.
        body: the answer's body (possibly cut).
        site: the call.
        location: the header of that name, for a redirect.
    """
    try:
        document, is_json = _document(body)
    except RecursionError:
        document, is_json = None, False
    said = read_said(document) if is_json else Said(_page_title(body))
    if status in (401, 403, 407):
        return _refused_user(status, said, site, is_json)
    if 300 <= status < 400:
        return _redirected(location, site)
    if status in (502, 503, 504):
        return Overloaded(f"the server, or a proxy before it, answered {status}", site, said=said.text)
    if not is_json:
        return _not_json(status, body, said, site)
    return _failed(status, said, site)


def _refused_user(status: int, said: Said, site: CallSite, is_json: bool) -> WebUIError:
    if status == 407 or not is_json:
        return NotAWebUI(
            f"something before the server wants its own login (HTTP {status})",
            site,
            said=said.text,
            advice="Use a URL that reaches the WebUI itself, or log in there",
        )
    if said.text == "Incorrect username or password":
        reason = "the server does not accept this user name and password"
    else:
        reason = "the server wants a user name and password"
    return AuthenticationFailed(
        reason, site, said=said.text, advice="Give those of its --api-auth option (SD.Next: --auth)"
    )


def _redirected(location: str, site: CallSite) -> WebUIError:
    advice = f"Use the URL that it points to, if that is the WebUI: {location}" if location else ""
    return NotAWebUI(
        "this URL points elsewhere: a WebUI does not (a login page, or http for https)", site, advice=advice
    )


def _not_json(status: int, body: bytes, said: Said, site: CallSite) -> WebUIError:
    if status >= 500 and not _looks_like_page(body):
        return CallFailed(f"the server answered {status}", site, said=_short(body.decode("utf-8", "replace")))
    return NotAWebUI(
        f"no WebUI API answers here, but a web page or something else (HTTP {status})",
        site,
        said=said.text,
        advice="Check address and port; a WebUI must be started with --api",
    )


def _looks_like_page(body: bytes) -> bool:
    return body.lstrip()[:1] == b"<"


def _page_title(body: bytes) -> str:
    title = re.search(rb"<title[^>]*>(.*?)</title>", body[:20_000], re.IGNORECASE | re.DOTALL)
    return _short(title[1].decode("utf-8", "replace")) if title else ""


def _failed(status: int, said: Said, site: CallSite) -> WebUIError:
    more: dict[str, Any] = {"said": said.text, "status": status, "error_class": said.error_class}
    found = _of_the_model(said, site, more) or _of_the_request(said, site, more)
    if found is not None:
        return found
    # A WebUI words a missing path so; another API has words of its own, and no name can be missing in a GET.
    if status in (404, 405) and (site.method == "GET" or said.text in ("Not Found", "Method Not Allowed")):
        return MissingEndpoint(f"this server has no {site.method} {site.path}", site, **more)
    if status < 500:
        return RequestRejected("the server refused the request", site, **more)
    reason = (
        f"the server failed with {said.error_class}" if said.error_class else f"the server answered {status}"
    )
    return CallFailed(reason, site, advice=_advice(said.text), **more)


def _of_the_model(said: Said, site: CallSite, more: dict[str, Any]) -> WebUIError | None:
    """Memory, numbers, files: what goes wrong in rendering itself."""
    if said.error_class == "OutOfMemoryError" or _OUT_OF_MEMORY.search(said.text):
        advice = "Ask for a smaller size or batch, or tile the upscaling"
        return OutOfMemory("the server ran out of memory", site, advice=advice, **more)
    if said.error_class == "NansException" or _NANS.search(said.text):
        advice = "The model or VAE does not fit this precision: another VAE, or --no-half-vae on the server"
        return NansError("the model computed nothing but NaN", site, advice=advice, **more)
    missing_file = said.error_class == "FileNotFoundError" and _LOADABLE.search(said.text)
    if missing_file or _LOAD_FAILED.search(said.text):
        return CheckpointLoadFailed("a model file could not be loaded", site, **more)
    return None


def _of_the_request(said: Said, site: CallSite, more: dict[str, Any]) -> WebUIError | None:
    """Pictures and names."""
    if _BAD_IMAGE.search(said.text):
        return BadImage("the server cannot use a picture of the request", site, **more)
    for pattern, kind in _UNKNOWN:
        if found := pattern.search(said.text):
            name = found.groupdict().get("name", "")
            reason = f"the server has no {kind} {name!r}" if name else f"the server does not know this {kind}"
            return UnknownName(reason, site, name=name, **more)
    if said.error_class == "KeyError":
        name = said.text.strip("'\"")
        return UnknownName(f"the server has no option or key {name!r}", site, name=name, **more)
    return None


def _advice(text: str) -> str:
    if "argument of type 'NoneType' is not iterable" in text:
        return 'Forge needs "hr_additional_modules": ["Use same choices"] in a hires request'
    return ""


def decode_json(body: bytes, site: CallSite) -> Any:
    """The JSON document of a successful answer.

    Raises:
        IncompleteResponse: half a document.
        NotAWebUI: a web page where JSON must be (a login page answers so, with 200).
        UnexpectedAnswer: something else that is no JSON, or JSON in thousands of brackets.
    """
    try:
        document, is_json = _document(body)
    except RecursionError:
        raise UnexpectedAnswer("the answer is nested too deeply", site) from None
    if is_json:
        return document
    if _looks_like_page(body):
        reason = "a web page answered instead of the API (a login page, or a WebUI without --api)"
        raise NotAWebUI(reason, site, said=_page_title(body))
    if body.lstrip()[:1] in (b"{", b"["):
        raise IncompleteResponse("the answer is half a JSON document", site)
    raise UnexpectedAnswer("the answer is no JSON", site, said=_short(body[:200].decode("utf-8", "replace")))
