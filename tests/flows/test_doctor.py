"""`doctor`: what a server is and has, told without changing anything there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from flows.doctor import app
from stableflows.errors import ExitCode
from stableflows.sandbox import SandboxSettings, run_sandbox
from stableflows.webui.doctor import Diagnosis

FLAVOURS = {"a1111": "a1111", "api-only": "a1111", "forge": "forge", "sdnext": "sdnext"}


def run(*arguments: str) -> int:
    code = app(list(arguments), result_action="return_value")
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_it_knows_each_flavour_and_only_reads(flavour: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = SandboxSettings.model_validate({"flavour": flavour})
    with run_sandbox(settings) as sandbox:
        assert run("--server", sandbox.url, "--json") == ExitCode.OK
        methods = {(entry.method, entry.path) for entry in sandbox.log}
    diagnosis = Diagnosis.model_validate_json(capsys.readouterr().out)
    assert diagnosis.family == FLAVOURS[flavour]
    assert diagnosis.counts["checkpoints"] == 3
    works = {ability.name: ability.works for ability in diagnosis.abilities}
    assert works["task ids"] is (flavour in ("a1111", "forge"))
    assert works["ADetailer"]
    assert diagnosis.pixel_options
    # Reading progress is a POST on these servers; nothing else may be one.
    assert {path for method, path in methods if method != "GET"} <= {"/internal/progress"}


def test_it_says_what_would_be_better_and_how_to_set_it(capsys: pytest.CaptureFixture[str]) -> None:
    with run_sandbox(SandboxSettings()) as sandbox:
        sandbox.set_options(samples_format="jpg", lora_add_hashes_to_infotext=False)
        assert run("--server", sandbox.url) == ExitCode.OK
    shown = capsys.readouterr().out
    assert "option samples_format is 'jpg'" in shown
    assert "POST /sdapi/v1/options {'samples_format': 'png'}" in shown
    assert "LoRA: the option lora_add_hashes_to_infotext is off" in shown


@pytest.fixture
def stranger(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that is no WebUI; it answers everything with the parameter (type, status, body)."""
    kind, status, body = request.param

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    "stranger",
    [
        ("text/html", 200, b"<html><head><title>Router login</title></head><body>Password</body></html>"),
        ("application/json", 200, b'{"hello": "world"}'),
        ("text/plain", 200, b"hello"),
        ("application/json", 404, b'{"detail": "no such thing"}'),
    ],
    indirect=True,
)
def test_a_stranger_is_told_apart(stranger: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--server", stranger) == ExitCode.SERVER_UNREACHABLE
    said = capsys.readouterr().err
    assert stranger in said
    assert "Traceback" not in said


def test_a_password_is_asked_for(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with run_sandbox(SandboxSettings(auth=("me", "secret"))) as sandbox:
        assert run("--server", sandbox.url) != ExitCode.OK
        assert "password" in capsys.readouterr().err.lower()
        with_password = sandbox.url.replace("://", "://me:secret@")
        assert run("--server", with_password) == ExitCode.BAD_INPUT
        assert "would be stored in Prefect's history" in capsys.readouterr().err
        monkeypatch.setenv("STABLEFLOWS_SERVER", with_password)
        assert run("--json") == ExitCode.OK
    shown = json.loads(capsys.readouterr().out)
    assert "secret" not in json.dumps(shown)


def test_nothing_named_and_nobody_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STABLEFLOWS_SERVER", raising=False)
    assert run() == ExitCode.BAD_INPUT
    assert "name a server" in capsys.readouterr().err
    with run_sandbox(SandboxSettings()) as sandbox:
        url = sandbox.url
    assert run("--server", url, "--json") == ExitCode.SERVER_UNREACHABLE
    outcome = json.loads(capsys.readouterr().out)
    assert url in outcome["error"]
