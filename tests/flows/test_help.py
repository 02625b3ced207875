"""`--help` answers at once: it loads of ours only what it prints."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli import COMMANDS

ROOT = Path(__file__).parents[2]
LIGHT = {"flows", "flows.command", "flows.priority", "stableflows", "stableflows.errors"}
HEAVY = {"prefect", "httpx", "fastapi", "uvicorn", "starlette", "PIL", "dynamicprompts", "jinja2", "yaml"}


def python(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout


@pytest.mark.parametrize(
    ("module", "arguments", "loaded"),
    [
        ("flows.run", ["--help"], {"flows.run"}),
        ("flows.cli", ["--help"], {"flows.cli"}),
        ("flows.cli", ["run", "--help"], {"flows.cli", "flows.run"}),
    ],
    ids=["flows.run", "stableflows", "stableflows run"],
)
def test_help_loads_no_packs_and_no_settings(module: str, arguments: list[str], loaded: set[str]) -> None:
    code = f"""
import sys
from {module} import app
app({arguments!r}, result_action="return_value")
ours = [name for name in sys.modules if name.partition(".")[0] in ("flows", "tasks", "blocks", "stableflows")]
print()
print(*ours, *({HEAVY!r} & set(sys.modules)))
"""
    text, _, modules = python(code).strip().rpartition("\n")
    assert "Usage: " in text
    assert loaded <= set(modules.split()) <= LIGHT | loaded


def test_the_console_script_says_of_each_command_what_it_says_of_itself() -> None:
    code = """
import json, sys
from importlib import import_module
print(json.dumps({name: import_module(f"flows.{name}").app.help for name in sys.argv[1:]}))
"""
    assert json.loads(python(code, *COMMANDS)) == COMMANDS
