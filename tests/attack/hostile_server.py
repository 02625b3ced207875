"""A WebUI that answers as a recorded one does, but for one value, which is anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import httpx
from hypothesis import strategies as st

from stableflows.webui.client import WebUIClient
from stableflows.webui.server import ServerConfig, StallLimits
from tests.webui import recorded_servers as recorded

__all__ = ["ANYTHING", "Change", "changed", "client_of", "recorded_answers"]

Change = Callable[[Any], Any]

ANYTHING: list[Any] = [
    None, True, False, 0, -1, -7, 3, 2**70, -(2**70), 1e308, float("nan"), float("inf"), 0.5,
    "", "x", "\ud83d", "\x1b[2J", "a\nb", "a " * 2000, "9" * 5000, "<script>", "../../x", "1e999", "\x00",
    [], {}, [[]], [None], [{}], {"": None}, [1, "x"], {"name": 3}, ["x"] * 50,
]  # fmt: skip
"""Values of every type, and those that break who takes them for granted."""


OPENAPI = {
    "paths": {
        "/sdapi/v1/txt2img": {
            "post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/schemas/T"}}}}}
        }
    },
    "components": {"schemas": {"T": {"properties": {"prompt": {}, "force_task_id": {}}}}},
}


def _places(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at]
    if isinstance(document, dict):
        for key, value in document.items():
            found += _places(value, (*at, key))
    elif isinstance(document, list):
        for index, value in enumerate(document[:5]):
            found += _places(value, (*at, index))
    return found


def _put(document: Any, at: tuple[Any, ...], value: Any) -> Any:
    if not at:
        return value
    copy = deepcopy(document)
    inner = copy
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return copy


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    """`document` with one of its values, at any depth, replaced by anything."""
    return _put(document, draw(st.sampled_from(_places(document))), draw(st.sampled_from(ANYTHING)))


def recorded_answers(family: str) -> dict[str, Any]:
    """What each path of a recorded server answers, by path."""
    answers = {path: document for path, document in recorded.lists(family).items() if path.startswith("/")}
    return {
        **answers,
        "/internal/ping": {},
        "/openapi.json": OPENAPI,
        "/sdapi/v1/progress": {"progress": 0, "eta_relative": 0, "state": {"job": "", "job_count": 0}},
    }


def client_of(answers: dict[str, Any]) -> WebUIClient:
    """A client of a server that answers so, and 404 to all else."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path not in answers:
            return httpx.Response(404, json={"detail": "Not Found"})
        return httpx.Response(200, content=json.dumps(answers[request.url.path]))

    limits = StallLimits(sampling=5, loading=5, other=5, interrupt=1)
    config = ServerConfig(base_url="http://webui.test:7860", poll_seconds=0.01, stall=limits)
    return WebUIClient(config, http=httpx.AsyncClient(transport=httpx.MockTransport(answer)))
