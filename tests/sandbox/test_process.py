"""The sandbox as a process of its own, and its control surface."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from stableflows.sandbox import Catalog

BODY = {"prompt": "a lighthouse", "seed": 1, "steps": 2, "width": 64, "height": 64}


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "stableflows.sandbox", "--port", "0", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as child:
        try:
            assert child.stdout is not None
            yield child, child.stdout.readline().strip()
        finally:
            if child.poll() is None:
                child.kill()


def test_it_tells_its_url_and_ends_quietly() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        with process() as (child, url):
            assert httpx.get(url + "/internal/ping").json() == {}
            child.send_signal(number)
            out, errors = child.communicate(timeout=20)
            assert (child.returncode, out, errors) == (0, "", "")


def test_settings_log_and_faults_from_another_process(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    catalog = tmp_path / "catalog.json"
    catalog.write_text(Catalog(styles=()).model_dump_json(), encoding="utf-8")
    arguments = (
        "--flavour",
        "forge",
        "--auth",
        "me:secret",
        "--request-log",
        str(log),
        "--catalog",
        str(catalog),
    )
    with process(*arguments) as (_, url), httpx.Client(base_url=url, auth=("me", "secret")) as client:
        assert client.get("/sdapi/v1/prompt-styles").json() == []
        armed = client.post("/__sandbox__/faults", json={"kind": "oom", "at": 2}).json()
        assert [fault["kind"] for fault in armed] == ["oom"]
        statuses = [client.post("/sdapi/v1/txt2img", json=BODY).status_code for _ in range(2)]
        assert statuses == [200, 500]
        seen = httpx.get(url + "/__sandbox__/requests?generating=1").json()
        assert [entry["status"] for entry in seen] == [200, 500]
        assert len(seen[0]["images"][0]) == 64
        assert seen[0]["body"] == BODY
        httpx.post(url + "/__sandbox__/restart", json={})
        for _ in range(200):
            try:
                assert httpx.get(url + "/sdapi/v1/progress").status_code == 401
                break
            except httpx.HTTPError:
                continue
        assert client.post("/__sandbox__/options", json={"jpeg_quality": 33}).status_code == 200
        assert client.get("/sdapi/v1/options").json()["jpeg_quality"] == 33
        disk = client.get("/__sandbox__/catalog").json()
        disk["loras"] = []
        assert client.post("/__sandbox__/catalog", json=disk).json()["loras"] == []
        assert client.post("/__sandbox__/faults", json={"kind": "nope"}).status_code == 422
        assert client.delete("/__sandbox__/faults").json() == []
        assert client.get("/__sandbox__/nothing").status_code == 404
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    posts = [line["event"] for line in lines if line["path"].endswith("/txt2img")]
    assert posts == ["start", "end", "start", "end"]


def test_bad_arguments_are_told() -> None:
    command = [sys.executable, "-m", "stableflows.sandbox", "--auth", "nobody"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "USER:PASSWORD" in done.stderr
