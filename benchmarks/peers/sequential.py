"""(a) A plain loop: send a request, write its image, send the next."""

import base64
import json
import os
import sys
import time
from pathlib import Path

import httpx

url, job, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
with httpx.Client(base_url=url, timeout=600) as client:
    for number, calls in enumerate(json.loads(job.read_text()), 1):
        image = None
        for endpoint, request in calls:
            if image is not None:
                request["init_images"] = [image]
            answer = client.post(f"/sdapi/v1/{endpoint}", json=request).raise_for_status().json()
            image = answer["images"][0]
            with (folder / f"{number:04}-{endpoint}.png").open("wb") as file:
                file.write(base64.b64decode(image))
                file.flush()
                os.fsync(file.fileno())
sys.stdout.write(json.dumps({"last": time.monotonic()}) + "\n")
