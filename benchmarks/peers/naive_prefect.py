"""(b) A Prefect flow as one writes it first: a task a call, entry after entry."""

import base64
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from prefect import flow, task


@task(retries=2, task_run_name="{endpoint} {number}")
def render(url: str, endpoint: str, request: dict[str, Any], number: int, folder: Path) -> str:
    answer = httpx.post(f"{url}/sdapi/v1/{endpoint}", json=request, timeout=600).raise_for_status().json()
    image: str = answer["images"][0]
    with (folder / f"{number:04}-{endpoint}.png").open("wb") as file:
        file.write(base64.b64decode(image))
        file.flush()
        os.fsync(file.fileno())
    return image


@flow
def pack(url: str, job: Path, folder: Path) -> float:
    last = 0.0
    for number, calls in enumerate(json.loads(job.read_text()), 1):
        image = None
        for endpoint, request in calls:
            if image is not None:
                request["init_images"] = [image]
            image = render(url, endpoint, request, number, folder)
            last = time.monotonic()
    return last


if __name__ == "__main__":
    ended = pack(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    sys.stdout.write(json.dumps({"last": ended}) + "\n")
