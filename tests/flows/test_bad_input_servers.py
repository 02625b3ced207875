"""A server that cannot be used, names that it does not have, a disk that is too small: told before anything
is rendered, with the documented exit code."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stableflows.sandbox import Sandbox, SandboxSettings, run_sandbox
from tests.flows.conftest import RunningServer
from tests.flows.ran import Ran, run_command, task_runs

PROMPT = ("--prompt", "a lighthouse", "--set", "txt2img.steps=2")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may be starting; these will never be up."""
    monkeypatch.setattr("stableflows.preflight.CONNECT_SECONDS", 0.0)
    monkeypatch.setattr("stableflows.preflight.STARTING_SECONDS", 0.0)


@contextmanager
def answering(status: int, kind: str, body: str) -> Iterator[str]:
    """Something at a URL that answers everything with the same."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET  # noqa: N815 (the base class calls it so)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def refused(ran: Ran, prefect: RunningServer, code: int, *, lines: int = 1) -> str:
    """The message of a run that ended before its first request: no folder, but a line in the history."""
    assert ran.code == code, ran.out + ran.err
    assert list(ran.printed) == ["error"]
    message: str = ran.printed["error"]
    assert len(message.splitlines()) == lines
    assert message.splitlines()[0] in ran.err
    assert "Traceback" not in ran.err
    [line] = ran.history
    assert (line.status, line.error, line.result) == ("FAILED", message, None)
    assert not any(path.endswith((".png", ".part", "plan.json")) for path in ran.files())
    assert {state for _, state in task_runs(prefect, line.flow_run_ids[0])} <= {"Failed"}
    return message


def test_a_server_that_is_down(running_server: RunningServer, tmp_path: Path) -> None:
    """Someone who has configured a server never gets pictures of the sandbox."""
    ran = run_command(
        *PROMPT, "--json", root=tmp_path, prefect=running_server, STABLEFLOWS_SERVER="http://127.0.0.1:9"
    )
    message = refused(ran, running_server, 3)
    assert message.startswith("no connection: ")
    assert "Is the WebUI of http://127.0.0.1:9 running, and started with --api?" in message
    assert "sandbox" not in ran.err


@pytest.mark.parametrize("credentials", ["", "someone:wrong@"])
def test_a_server_that_needs_a_password(
    credentials: str, running_server: RunningServer, tmp_path: Path
) -> None:
    with run_sandbox(SandboxSettings(auth=("someone", "s3cret"))) as sandbox:
        url = sandbox.url.replace("://", f"://{credentials}")
        ran = run_command(*PROMPT, "--json", root=tmp_path, prefect=running_server, STABLEFLOWS_SERVER=url)
        assert sandbox.generating() == []
    message = refused(ran, running_server, 2)
    assert "password" in message
    assert "wrong@" not in message
    assert ":wrong" not in ran.err


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "text/html", "<html><title>A home page</title></html>"),
        (200, "application/json", '{"hello": "world"}'),
        (404, "text/html", "<html>Not Found</html>"),
        (404, "application/json", '{"detail": "Not Found"}'),
        (302, "text/html", ""),
    ],
    ids=["web page", "another JSON API", "web server", "FastAPI of another", "login page"],
)
def test_something_that_is_no_webui(
    status: int, kind: str, body: str, running_server: RunningServer, tmp_path: Path
) -> None:
    with answering(status, kind, body) as url:
        ran = run_command(*PROMPT, "--json", "--server", url, root=tmp_path, prefect=running_server)
    message = refused(ran, running_server, 3)
    assert url in message


def test_every_unknown_name_is_told_at_once(running_server: RunningServer, tmp_path: Path) -> None:
    pack = tmp_path / "pack.yaml"
    pack.write_text(
        "config:\n"
        "  checkpoint: sandbox_bass_v1\n"
        "  txt2img: {enabled: true, sampler: Eulr}\n"
        "entries:\n"
        "- a <lora:film_grian:1>\n"
        "- prompt: b\n"
        "  config:\n"
        "    adetailer:\n"
        "      enabled: true\n"
        "      units: [{ad_model: face_yolov8m.pt}]\n"
        "    upscale: {enabled: true, upscaler: R-ESRGAN 4x}\n"
    )
    with run_sandbox() as sandbox:
        arguments = (str(pack), "--server", sandbox.url)
        ran = run_command(*arguments, "--json", root=tmp_path / "out", prefect=running_server)
        planned = run_command(*arguments, "--plan", root=tmp_path / "planned")
        assert sandbox.generating() == []
    message = refused(ran, running_server, 2, lines=5)
    assert planned.code == 2
    assert planned.err.rstrip("\n") == message
    found = {line.split("the server has no ")[1] for line in message.splitlines()}
    assert found == {
        "checkpoint 'sandbox_bass_v1'. Did you mean 'sandbox_base_v1'?",
        "sampler 'Eulr'. Did you mean 'Euler'?",
        "LoRA 'film_grian'. Did you mean 'film_grain'?",
        "ADetailer model 'face_yolov8m.pt'. Did you mean 'face_yolov8s.pt' or 'face_yolov8n.pt'?",
        "upscaler 'R-ESRGAN 4x'. Did you mean 'R-ESRGAN 4x+'?",
    }
    assert re.search(r"pack.yaml:3: config.txt2img.sampler: ", message)


def test_a_sampler_that_is_misspelt_on_the_command_line(
    running_server: RunningServer, tmp_path: Path
) -> None:
    with run_sandbox() as sandbox:
        ran = run_command(
            *("--prompt", "x", "--set", "txt2img.sampler=Eulr", "--json", "--server", sandbox.url),
            root=tmp_path,
            prefect=running_server,
        )
        assert sandbox.generating() == []
    message = refused(ran, running_server, 2)
    assert message.endswith("the server has no sampler 'Eulr'. Did you mean 'Euler'?")


def test_a_disk_that_is_too_small_is_a_warning(
    running_server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stableflows.budget.free_space", lambda _: 100_000)
    with run_sandbox() as sandbox:
        ran = run_command(*PROMPT, "--server", sandbox.url, root=tmp_path, prefect=running_server)
        large = ("--set", "txt2img.width=2048", "--set", "txt2img.height=2048", "--count", "1000")
        planned = run_command(*PROMPT, *large, "--plan", "--json", "--server", sandbox.url, root=tmp_path)
    assert ran.code == 0
    assert [line for line in ran.out.splitlines() if line.startswith("Warning: the plan needs about ")]
    assert f"about 9.2 GB of disk, and {tmp_path} has 0.0 GB free" in json.dumps(planned.printed)


def test_a_job_without_packs_is_no_error(running_server: RunningServer, tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    job.write_text('{"packs": [], "pipeline": {}, "run_config": {}}')
    with run_sandbox() as sandbox:
        ran = run_command(
            str(job), "--json", "--server", sandbox.url, root=tmp_path / "out", prefect=running_server
        )
        assert sandbox.log == []
    assert ran.code == 0
    assert ran.printed["result"]["total_entries"] == 0
    assert [line.status for line in ran.history] == ["COMPLETED"]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with run_sandbox() as sandbox:
        yield sandbox


def test_a_disk_that_fills_up_ends_the_run(
    running_server: RunningServer, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on disk stays; no half of an image is left, and it is said what happened."""
    import errno

    from stableflows import store

    pack = tmp_path / "pack.yaml"
    pack.write_text("entries: [a, b, c]\nconfig: {txt2img: {width: 64, height: 64, steps: 2}}\n")
    written: list[Path] = []
    whole = store.write_new

    def write_new(path: Path, data: bytes) -> None:
        if path.suffix == ".png" and len(written) == 1:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        whole(path, data)
        if path.suffix == ".png":
            written.append(path)

    monkeypatch.setattr("stableflows.store.write_new", write_new)
    ran = run_command(
        str(pack), "--json", "--server", sandbox.url, root=tmp_path / "out", prefect=running_server
    )
    assert ran.code == 1
    assert "No space left on device" in ran.printed["error"]
    assert ran.statuses[:2] == ["ok", "cancelled"]
    assert ran.statuses[2] != "ok"
    assert len(ran.pictures) == 1
    assert "Traceback" not in ran.err
