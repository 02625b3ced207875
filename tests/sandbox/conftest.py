"""A sandbox for a module's tests, and the shortest way to talk to it."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from stableflows.sandbox import Sandbox, run_sandbox


class Talk:
    """Requests to a sandbox, and their answers as a test wants them."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.http = httpx.Client(base_url=sandbox.url, timeout=60)

    def post(self, path: str, body: Any = None) -> httpx.Response:
        return self.http.post(f"/sdapi/v1/{path}", json=body)

    def get(self, path: str) -> Any:
        response = self.http.get(f"/sdapi/v1/{path}")
        assert response.status_code == 200, response.text
        return response.json()

    def render(self, kind: str = "txt2img", **fields: Any) -> dict[str, Any]:
        """The answer to a generation with quick defaults; ``info`` is decoded."""
        body = {"prompt": "a lighthouse", "seed": 7, "steps": 3, "width": 128, "height": 128, **fields}
        response = self.post(kind, body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        answer["info"] = json.loads(answer["info"])
        return answer

    def files(self, kind: str = "txt2img", **fields: Any) -> list[bytes]:
        return [base64.b64decode(text) for text in self.render(kind, **fields)["images"]]

    def pixels(self, kind: str = "txt2img", **fields: Any) -> list[bytes]:
        """The decoded pixels of each image: without the infotext."""
        return [picture(file).tobytes() for file in self.files(kind, **fields)]


def picture(file: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(file))
    image.load()
    return image


def encoded(image: Image.Image, **save: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **save)
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture(scope="module")
def talk() -> Iterator[Talk]:
    with run_sandbox() as sandbox:
        conversation = Talk(sandbox)
        yield conversation
        conversation.http.close()
