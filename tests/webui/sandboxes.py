"""Sandboxes, clients of them, and small requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from stableflows.sandbox import Sandbox, SandboxSettings, run_sandbox
from stableflows.webui.client import WebUIClient
from stableflows.webui.models import WebUIRequest
from stableflows.webui.server import ServerConfig, StallLimits

from .recorded_servers import base64_picture

FLAVOURS = ["a1111", "forge", "api-only", "sdnext"]
QUICK = StallLimits(sampling=0.6, loading=1.2, other=1.2, interrupt=5.0)


@contextmanager
def sandbox(flavour: str = "a1111", **settings: Any) -> Iterator[Sandbox]:
    with run_sandbox(SandboxSettings(flavour=flavour, **settings)) as server:  # type: ignore[arg-type]
        yield server


@asynccontextmanager
async def client_of(server: Sandbox, **config: Any) -> AsyncIterator[WebUIClient]:
    async with WebUIClient(
        ServerConfig(base_url=server.url, poll_seconds=0.05, stall=QUICK, **config)
    ) as client:
        yield client


def txt2img(n: int = 1, **changes: Any) -> WebUIRequest:
    body = {
        "prompt": "a lighthouse",
        "seed": 5,
        "steps": 4,
        "width": 64,
        "height": 64,
        "sampler_name": "Euler a",
        "batch_size": n,
    }
    return WebUIRequest("/sdapi/v1/txt2img", body | changes, n, (64, 64))


def img2img(**changes: Any) -> WebUIRequest:
    body = {
        "prompt": "a lighthouse",
        "seed": 5,
        "steps": 4,
        "width": 64,
        "height": 64,
        "denoising_strength": 0.5,
    }
    body["init_images"] = [base64_picture((64, 64))]
    return WebUIRequest("/sdapi/v1/img2img", body | changes, 1, (64, 64))


def extras(**changes: Any) -> WebUIRequest:
    body = {"image": base64_picture((64, 64)), "upscaler_1": "Lanczos", "upscaling_resize": 2}
    return WebUIRequest("/sdapi/v1/extra-single-image", body | changes, 1, (128, 128))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 (the sandbox's log has no event)
        await asyncio.sleep(0.01)
