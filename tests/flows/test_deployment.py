"""prefect.yaml deploys as it stands, and Prefect's form for it says what each field is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.flows.conftest import RunningServer

ROOT = Path(__file__).parent.parent.parent


def prefect(server: RunningServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PREFECT_API_URL": server.url, "PREFECT_HOME": str(server.home)}
    return subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )


@pytest.mark.timeout(300)
def test_the_deployment_and_its_form(running_server: RunningServer) -> None:
    pool = prefect(running_server, "work-pool", "create", "stable-diffusion", "--type", "process")
    assert pool.returncode == 0, pool.stderr
    deployed = prefect(running_server, "--no-prompt", "deploy", "--all")
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    found = httpx.get(f"{running_server.url}/deployments/name/render/render-pack", timeout=30).json()
    assert found["entrypoint"] == "flows/render.py:render"
    assert found["enforce_parameter_schema"]
    schema = found["parameter_openapi_schema"]["definitions"]["RenderRequest"]
    assert schema["additionalProperties"] is False
    for name, field in schema["properties"].items():
        assert field.get("title"), name
        assert field.get("description"), name


@pytest.mark.timeout(300)
def test_the_block_registers_and_hides_its_password(running_server: RunningServer) -> None:
    registered = prefect(running_server, "block", "register", "-m", "blocks")
    assert registered.returncode == 0, registered.stdout + registered.stderr
    found = httpx.get(f"{running_server.url}/block_types/slug/webui-server", timeout=30).json()
    assert found["name"] == "WebUI Server"
    (schema,) = httpx.post(
        f"{running_server.url}/block_schemas/filter",
        json={"block_schemas": {"block_type_id": {"any_": [found["id"]]}}},
        timeout=30,
    ).json()
    assert schema["fields"]["secret_fields"] == ["password"]
