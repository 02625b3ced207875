"""What a server is and has, asked once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from .errors import AuthenticationFailed, CallFailed, NotAWebUI, UnexpectedAnswer, WebUIError
from .models import ScriptInfo
from .transport import Transport

__all__ = ["ADetailerSupport", "Capabilities", "Family", "probe"]

ADETAILER = "adetailer"
_LEADING_ARGS = 2
"""ADetailer's arguments begin with two booleans: enabled, skip img2img. The units follow."""

Item = TypeVar("Item", bound=BaseModel)

_PROBED = (
    "/sdapi/v1/options",
    "/sdapi/v1/script-info",
    "/sdapi/v1/scripts",
    "/sdapi/v1/schedulers",
    "/sdapi/v1/sd-vae",
    "/sdapi/v1/sd-modules",
    "/sdapi/v1/loras",
    "/sdapi/v1/embeddings",
    "/sdapi/v1/latent-upscale-modes",
    "/sdapi/v1/face-restorers",
    "/sdapi/v1/prompt-styles",
    "/sdapi/v1/version",
    "/internal/ping",
    "/openapi.json",
)
_AT_ONCE = 4


class Family(StrEnum):
    """Which of the WebUIs it is; they share the API and differ in what they do with it."""

    A1111 = "a1111"
    FORGE = "forge"
    REFORGE = "reforge"
    SDNEXT = "sdnext"
    UNKNOWN = "unknown"


class ADetailerSupport(BaseModel):
    """The ADetailer extension of a server.

    ``args`` maps each argument that this version knows to its JSON schema (type, default, minimum, maximum,
    enum); empty where the version is too old to tell. A unit with an argument that stands not in it is
    dropped without a word.
    """

    model_config = ConfigDict(frozen=True)

    version: str | None = None
    args: dict[str, dict[str, Any]] = Field(default_factory=dict)
    models: tuple[str, ...] = ()
    max_units: int = 0


class Capabilities(BaseModel):
    """What this server is and has."""

    model_config = ConfigDict(frozen=True)

    family: Family = Family.UNKNOWN
    version: str | None = None
    """Only SD.Next tells it before the first image; the others write it into each infotext."""
    endpoints: frozenset[str] = frozenset()
    """Paths that are known to exist. One that is missing here may exist all the same: FastAPI keeps the first
    ``/openapi.json`` it made, which may be from before all routes were there."""
    has_task_ids: bool = False
    """``force_task_id`` and ``/internal/progress``: only with its web page, not with ``--nowebui``."""
    has_schedulers: bool = False
    vae: Literal["list", "modules", "none"] = "none"
    adetailer: ADetailerSupport | None = None
    options: frozenset[str] = frozenset()
    scripts: tuple[ScriptInfo, ...] = ()
    request_fields: dict[str, frozenset[str]] = Field(default_factory=dict)
    """Path to the request's field names, where the server publishes them; unknown fields are ignored
    silently.
    """

    def script(self, name: str, *, is_img2img: bool, is_alwayson: bool | None = None) -> ScriptInfo | None:
        """The script of that name (any case, as the servers compare them), with its arguments."""
        wanted = name.casefold()
        for script in self.scripts:
            right_kind = is_alwayson is None or script.is_alwayson == is_alwayson
            if script.name.casefold() == wanted and script.is_img2img == is_img2img and right_kind:
                return script
        return None

    def has_option(self, key: str) -> bool:
        return key in self.options


async def probe(transport: Transport) -> Capabilities:
    """Asks a server what it is. Reads only.

    Raises:
        NotAWebUI: it answers, but has no WebUI's options.
        CallFailed: its options are broken.
        WebUIError: it cannot be reached, wants a password, ...
    """
    answers = await _gather(transport)
    options = _options(answers, transport)
    scripts = _list(answers.get("/sdapi/v1/script-info"), ScriptInfo)
    fields = _request_fields(answers.get("/openapi.json"))
    endpoints = {path for path, answer in answers.items() if not isinstance(answer, WebUIError)}
    if isinstance(answers["/openapi.json"], dict):
        endpoints |= set(_inside(answers["/openapi.json"], "paths"))
    takes_task_id = "force_task_id" in fields.get("/sdapi/v1/txt2img", {"force_task_id"})
    return Capabilities(
        family=_family(endpoints, options, fields),
        version=_version(answers.get("/sdapi/v1/version")),
        endpoints=frozenset(endpoints),
        has_task_ids="/internal/ping" in endpoints and takes_task_id,
        has_schedulers="/sdapi/v1/schedulers" in endpoints,
        vae=_vae(endpoints),
        adetailer=await _adetailer(transport, scripts),
        options=frozenset(options),
        scripts=scripts,
        request_fields={path: frozenset(names) for path, names in fields.items()},
    )


async def _gather(transport: Transport) -> dict[str, Any]:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def ask(path: str) -> Any:
        async with gate:
            try:
                return await transport.get(path)
            except (CallFailed, UnexpectedAnswer, NotAWebUI) as error:
                # It has no such path, or its web page stands there, or it failed on this one: that is the
                # finding.
                return error

    return dict(zip(_PROBED, await asyncio.gather(*map(ask, _PROBED)), strict=True))


def _options(answers: Mapping[str, Any], transport: Transport) -> dict[str, Any]:
    options = answers["/sdapi/v1/options"]
    if isinstance(options, dict) and "sd_model_checkpoint" in options:
        return options
    site = transport.site("GET", "/sdapi/v1/options")
    if isinstance(options, AuthenticationFailed | NotAWebUI):
        raise options
    if isinstance(options, CallFailed) and options.status >= 500:
        # Recorded: a value of a wrong type, once set, makes this path fail until it is repaired.
        advice = "Set the option that it names to a right value, in its settings or by POST /sdapi/v1/options"
        reason = "the server cannot read its own options"
        raise CallFailed(reason, site, said=options.said, advice=advice, status=options.status)
    advice = "Check address and port; a WebUI must be started with --api"
    said = options.said if isinstance(options, WebUIError) else ""
    raise NotAWebUI("what answers here is no WebUI, or one without its API", site, said=said, advice=advice)


def _list(answer: Any, kind: type[Item]) -> tuple[Item, ...]:
    try:
        return TypeAdapter(tuple[kind, ...]).validate_python(answer)  # type: ignore[valid-type]
    except ValidationError:
        return ()


def _request_fields(document: Any) -> dict[str, set[str]]:
    """Field names per path, from the OpenAPI document."""
    found: dict[str, set[str]] = {}
    for path in ("/sdapi/v1/txt2img", "/sdapi/v1/img2img", "/sdapi/v1/extra-single-image"):
        body = _inside(
            document, "paths", path, "post", "requestBody", "content", "application/json", "schema"
        )
        name = str(body.get("$ref", "")).rpartition("/")[2]
        if properties := _inside(document, "components", "schemas", name, "properties"):
            found[path] = set(properties)
    return found


def _inside(document: Any, *keys: str) -> Mapping[str, Any]:
    """The mapping at that path; empty where the server has something else there, or nothing."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, dict) else {}


def _family(endpoints: set[str], options: Mapping[str, Any], fields: Mapping[str, set[str]]) -> Family:
    txt2img = fields.get("/sdapi/v1/txt2img", set())
    if "/sdapi/v1/sd-modules" in endpoints or any(key.startswith("forge_") for key in options):
        return Family.FORGE
    if "/sdapi/v1/version" in endpoints or any(key.startswith("diffusers_") for key in options):
        return Family.SDNEXT
    if "hr_cfg" in txt2img:
        return Family.REFORGE
    if "samples_format" in options:
        return Family.A1111
    return Family.UNKNOWN


def _version(answer: Any) -> str | None:
    if isinstance(answer, dict):
        for key in ("version", "commit", "updated"):
            if isinstance(answer.get(key), str):
                return str(answer[key])
    return None


def _vae(endpoints: set[str]) -> Literal["list", "modules", "none"]:
    if "/sdapi/v1/sd-vae" in endpoints:
        return "list"
    return "modules" if "/sdapi/v1/sd-modules" in endpoints else "none"


async def _adetailer(transport: Transport, scripts: tuple[ScriptInfo, ...]) -> ADetailerSupport | None:
    script = next((script for script in scripts if script.name.casefold() == ADETAILER), None)
    if script is None:
        return None
    documents: dict[str, Any] = {}
    for name in ("version", "schema", "ad_model"):
        try:
            documents[name] = await transport.get(f"/adetailer/v1/{name}")
        except (CallFailed, UnexpectedAnswer, NotAWebUI):
            documents[name] = None  # versions before 23.11 have no such routes
    try:
        return ADetailerSupport(
            version=_inside(documents, "version").get("version"),
            args=dict(_inside(documents, "schema", "properties")),
            models=_inside(documents, "ad_model").get("ad_model") or (),
            max_units=max(0, len(script.args) - _LEADING_ARGS),
        )
    except ValidationError as error:
        reason = f"ADetailer says of itself what it cannot be: {error.errors()[0]['msg']}"
        raise UnexpectedAnswer(reason, transport.site("GET", "/adetailer/v1")) from error
