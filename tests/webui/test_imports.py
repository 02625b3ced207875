"""What `--help` and `--plan` import of this package is light."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module", ["stableflows.webui", "stableflows.webui.kinds", "stableflows.webui.errors"]
)
def test_names_and_errors_load_neither_http_nor_pictures(module: str) -> None:
    code = (
        f"import sys, {module}; print(sorted({{'httpx', 'PIL', 'pydantic', 'prefect'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
