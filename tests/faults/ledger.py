"""What the sandbox was asked to render, by its own log, which outlives it; and what was asked twice."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stableflows.sandbox.faults import GENERATING

__all__ = ["Asked", "Ledger"]


@dataclass
class Asked:
    """One generating request.

    Attributes:
        call: what it renders; equal for requests that render the same.
        stage: the stage that asked.
        status: None: it never got an answer.
        images: SHA-256 of each, as they were sent.
        fault: the kind of the fault that it met.
    """

    call: str
    stage: str
    status: int | None = None
    images: tuple[str, ...] = ()
    fault: str | None = None

    @property
    def counts(self) -> bool:
        """Whether pictures were rendered for it, or may have been: not where a fault spoiled them."""
        return self.fault is None and self.status in (None, 200)


class Ledger:
    """Reads the request log of a sandbox as it grows."""

    def __init__(self, request_log: Path) -> None:
        self._log = request_log
        self._read_to = request_log.stat().st_size  # what other jobs asked before is not ours
        self._open: dict[int, Asked] = {}
        self.asked: list[Asked] = []

    def read(self) -> list[Asked]:
        """All generating requests so far."""
        with self._log.open("rb") as file:
            file.seek(self._read_to)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read_to += len(line)
                self._note(line)
        return self.asked

    def _note(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
        except ValueError:
            return  # the sandbox was killed while it wrote
        if entry["path"] not in GENERATING:
            return
        if entry["event"] == "start":
            self._open[entry["n"]] = Asked(
                _identity(entry["path"], entry["body"]), _stage(entry["path"], entry["body"])
            )
            self.asked.append(self._open[entry["n"]])
        elif asked := self._open.get(entry["n"]):
            asked.status, asked.fault = entry["status"], entry["fault"]
            asked.images = tuple(entry["images"])

    def waiting(self) -> bool:
        """Whether a request is being rendered, as far as this can be told of a sandbox that may be dead."""
        return any(asked.status is None and asked.fault is None for asked in self.read())

    def struck(self, kind: str) -> Counter[str]:
        """How many calls of each stage met a fault of that kind."""
        return Counter(asked.stage for asked in self.read() if asked.fault == kind)

    def rendered_again(self) -> int:
        """Requests beyond the first for the same pictures."""
        times = Counter(asked.call for asked in self.read() if asked.counts)
        return sum(times.values()) - len(times)


def _stage(path: str, body: dict[str, Any]) -> str:
    if path.endswith("/img2img"):
        return "adetailer" if "ADetailer" in (body.get("alwayson_scripts") or {}) else "img2img"
    return "txt2img" if path.endswith("/txt2img") else "upscale"


def _identity(path: str, body: dict[str, Any]) -> str:
    images = [body["image"]] if "image" in body else body.get("init_images", [])
    content = {
        "path": path,
        "prompt": body.get("prompt"),
        "seed": body.get("seed"),
        "steps": body.get("steps"),
        "images": [hashlib.sha256(image.encode()).hexdigest() for image in images],
    }
    return json.dumps(content)
