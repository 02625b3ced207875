"""What of the sandbox is there to be measured with."""

import base64
import io
from typing import Any

import httpx
from PIL import Image

from stableflows.sandbox import Sandbox, SandboxSettings, run_sandbox

BODY = {"prompt": "a lighthouse", "steps": 2, "width": 64, "height": 96}


def post(sandbox: Sandbox, **body: Any) -> Image.Image:
    answer = httpx.post(sandbox.url + "/sdapi/v1/txt2img", json={**BODY, **body}).json()
    picture = Image.open(io.BytesIO(base64.b64decode(answer["images"][0])))
    picture.load()
    return picture


def test_stock_pictures_have_the_pixels_of_a_drawing_and_a_text_of_their_own() -> None:
    with run_sandbox(SandboxSettings(stock_pictures=True)) as sandbox:
        first, second, wide = post(sandbox, seed=1), post(sandbox, seed=2), post(sandbox, width=128)
    assert first.tobytes() == second.tobytes()
    assert (first.size, wide.size) == ((64, 96), (128, 96))
    assert "Seed: 1," in first.info["parameters"]
    assert "Seed: 2," in second.info["parameters"]
    colours = first.convert("RGB").getcolors(64 * 96)
    assert colours is not None
    assert len(colours) > 1000, "as much to decode as a drawn picture"


def test_the_log_has_when_each_call_held_the_lock() -> None:
    with run_sandbox(SandboxSettings(step_seconds=0.01, encode_seconds=0.02)) as sandbox:
        post(sandbox)
        httpx.post(sandbox.url + "/sdapi/v1/txt2img", json={**BODY, "steps": 0})
        rendered, failed = sandbox.generating()
    assert rendered.t_run
    assert rendered.t_ran
    assert rendered.t_end
    assert rendered.t_start <= rendered.t_run
    assert rendered.t_ran - rendered.t_run >= 2 * 0.01
    assert rendered.t_end - rendered.t_ran >= 0.02, "encoding is outside the lock"
    assert failed.status == 500
    assert failed.t_run is None
