"""The demo pack, whole, on every flavour of WebUI."""

from __future__ import annotations

from pathlib import Path

import pytest

from stableflows.errors import ExitCode
from stableflows.sandbox import SandboxSettings, run_sandbox
from tests.flows.conftest import RunningServer
from tests.flows.ran import run_command

DEMO = Path(__file__).parent.parent.parent / "packs" / "demo.yaml"


@pytest.mark.parametrize("flavour", ["a1111", "forge", "api-only", "sdnext"])
def test_the_demo_renders(flavour: str, tmp_path: Path, running_server: RunningServer) -> None:
    with run_sandbox(SandboxSettings.model_validate({"flavour": flavour})) as sandbox:
        ran = run_command(str(DEMO), "--server", sandbox.url, "--json", root=tmp_path, prefect=running_server)
    assert ran.code == ExitCode.OK, ran.err
    assert set(ran.statuses) == {"ok"}
    assert sum(entry["image_count"] for entry in ran.results) == 9
    assert ran.folder.gallery_file.exists()
