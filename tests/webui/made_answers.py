"""Answers as AUTOMATIC1111 makes them, but for one thing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stableflows.webui.calls import read_reply
from stableflows.webui.models import WebUIReply, WebUIRequest
from stableflows.webui.names import ServerNames
from stableflows.webui.verify import Verdict, verify

from .recorded_servers import SITE, base64_picture, capabilities, names

HASHES = {"sandbox_tiny_a": "2961c70a87", "sandbox_tiny_b": "96b753969e"}


def infotext(params: Mapping[str, Any], prompt: str = "a cat") -> str:
    pairs = {key: value for key, value in params.items() if value is not None}
    return f"{prompt}\n" + ", ".join(f"{key}: {value}" for key, value in pairs.items())


def answer(
    body: Mapping[str, Any],
    *,
    sizes: tuple[tuple[int, int], ...] = ((64, 64),),
    first: int = 0,
    params: Mapping[str, Any] | None = None,
    info: Mapping[str, Any] | None = None,
    own_infotext: bool = True,
) -> WebUIReply:
    """What AUTOMATIC1111 answers to `body` when it does it, but for what the arguments change."""
    model = "sandbox_tiny_a"
    texts = []
    for place in range(len(sizes)):
        pairs = {
            "Steps": 1,
            "Sampler": body.get("sampler_name", "Euler"),
            "Schedule type": body.get("scheduler", "Automatic"),
            "Seed": body.get("seed", 7) + max(0, place - first),
            "Size": "128x128",
            "Model hash": HASHES[model],
            "Model": model,
        }
        texts.append(infotext(pairs | dict(params or {})))
    reported = {
        "all_seeds": [99] * len(sizes),  # never looked at: it is wrong for SD upscale
        "width": 128,
        "height": 128,
        "steps": 1,
        "sampler_name": body.get("sampler_name", "Euler"),
        "sd_model_name": model,
        "sd_model_hash": HASHES[model],
        "sd_vae_name": None,
        "index_of_first_image": first,
        "infotexts": texts,
    }
    images = [
        base64_picture(size, infotext=text if own_infotext else None)
        for size, text in zip(sizes, texts, strict=True)
    ]
    document = {"images": images, "info": json.dumps(reported | dict(info or {}))}
    return read_reply(document, SITE, max_pixels=10**7)


BODY = {"prompt": "a cat", "width": 64, "height": 64, "seed": 7, "steps": 20, "sampler_name": "Euler"}


def check(
    body: Mapping[str, Any],
    reply: WebUIReply,
    *,
    n: int = 1,
    known: ServerNames | None = None,
    **request: Any,
) -> Verdict:
    asked = WebUIRequest(request.pop("path", "/sdapi/v1/txt2img"), body, n, **request)
    return verify(asked, reply, capabilities("a1111"), known or names("a1111"))


def fields(verdict: Verdict) -> list[str]:
    return [mismatch.field for mismatch in verdict.mismatches]


HIRES = {"enable_hr": True, "hr_scale": 1.0, "hr_upscaler": "Latent"}
HIRES_PARAMS = {"Hires upscale": 1.0, "Hires upscaler": "Latent"}
REFINER = {"refiner_checkpoint": "sandbox_tiny_b", "refiner_switch_at": 0.8}
