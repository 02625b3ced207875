"""A server's password stands nowhere but in the request's header."""

from __future__ import annotations

import base64
import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.server import by_url
from stableflows.errors import ExitCode, InputError
from stableflows.sandbox import SandboxSettings, run_sandbox
from stableflows.webui.server import ServerConfig
from tests.flows.conftest import RunningServer, running_server
from tests.flows.ran import run_command

__all__ = ["running_server"]  # a fixture

SECRET = "s3cr3t-hush"


@pytest.mark.parametrize(
    "url",
    [
        "http://ann:{}@127.0.0.1:9",
        "ann:{}@127.0.0.1:9",
        "http://ann:{}/x@127.0.0.1:9",
        "http://ann:a/{}@127.0.0.1:9",
        "http://ann:{}#x@127.0.0.1:9",
        "http://ann:{}?x@127.0.0.1:9",
        "http://ann:{}@",
        "http://ann:{}@127.0.0.1:port",
        "http://ann:{}@[::1",
        "http://ann:{}@h\u2100:1",
        "http:/ann:{}@127.0.0.1",
        "ftp://ann:{}@127.0.0.1",
        "://ann:{}@127.0.0.1",
        "//ann:{}@127.0.0.1",
        "http://127.0.0.1/ann:{}@x",
    ],
)
def test_no_message_about_a_url_quotes_its_password(url: str) -> None:
    written = url.format(SECRET)
    try:
        config = ServerConfig(base_url=written)
    except ValidationError as error:
        assert SECRET not in "".join(traceback.format_exception(error))
        with pytest.raises(InputError) as refused:
            by_url(written, "STABLEFLOWS_SERVER")
        assert SECRET not in str(refused.value)
    else:
        assert config.password
        assert config.password.get_secret_value() == SECRET
        assert SECRET not in repr(config)
        assert SECRET not in config.server_identity


@pytest.mark.parametrize("url", ["ann:{}@127.0.0.1:9", "http://ann:{}@127.0.0.1:9"])
def test_a_password_on_the_command_line_is_refused_also_without_a_scheme(url: str) -> None:
    """Prefect stores the command's parameters in the clear."""
    with pytest.raises(InputError, match="would be stored") as refused:
        by_url(url.format(SECRET), "--server")
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("right", [True, False])
def test_a_run_writes_no_password_anywhere(
    running_server: RunningServer, tmp_path: Path, *, right: bool
) -> None:
    """Neither where it renders nor where it fails: files, output, Prefect's database."""
    password = SECRET if right else f"{SECRET}-wrong"
    with run_sandbox(SandboxSettings(auth=("ann", SECRET))) as sandbox:
        ran = run_command(
            *("--prompt", "a cat", "--set", "txt2img.width=64", "--set", "txt2img.height=64", "--json"),
            root=tmp_path / "out",
            prefect=running_server,
            STABLEFLOWS_SERVER=sandbox.url.replace("://", f"://ann:{password}@"),
        )
    assert ran.code == (ExitCode.OK if right else ExitCode.BAD_INPUT), ran.err
    files = [path for path in (*ran.root.rglob("*"), *running_server.home.rglob("*")) if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    assert any(path.name == "history.jsonl" for path in files)
    header = base64.b64encode(f"ann:{password}".encode())
    for secret in (SECRET.encode(), header):
        assert [str(path) for path in files if secret in path.read_bytes()] == []
        assert secret.decode() not in ran.out + ran.err
