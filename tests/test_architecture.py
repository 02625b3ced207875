"""Imports run one way, as ARCHITECTURE.md says: flows -> tasks -> blocks -> stableflows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("flows", "tasks", "blocks", "stableflows")
FILES = sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py"))

PLAN = (
    "stableflows/config",
    "stableflows/packs",
    "stableflows/prompts",
    *(
        f"stableflows/{module}.py"
        for module in (
            "calls",
            "entries",
            "errors",
            "executor",
            "inputs",
            "items",
            "job",
            "keys",
            "payload",
            "request",
            "results",
            "run_plan",
            "schedule",
            "seeds",
            "sequencer",
            "stages",
        )
    ),
)
"""What is decided before a server is asked."""

HTTP = ("httpx", "starlette", "uvicorn", "prefect")
CLIENT = "stableflows.webui"
NAME_KINDS = "stableflows.webui.kinds"
"""The one thing that config models take from the client's package: a list of words."""


def test_there_is_something_to_look_at() -> None:
    assert len(FILES) > 80
    assert all((ROOT / part).exists() for part in PLAN)


def _imports(file: Path) -> Iterator[str]:
    """Every module that a file imports, also inside functions; relative ones made absolute."""
    package = file.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _faults(room: str, *forbidden: str, but: tuple[str, ...] = ()) -> list[str]:
    """`file imports module` for each import in a room (a folder, or a file) of what is forbidden there."""
    files = [file for file in FILES if (ROOT / room) in (file, *file.parents)]
    assert files, room
    return [
        f"{file.relative_to(ROOT)} imports {module}"
        for file in files
        for module in _imports(file)
        if _within(module, *forbidden) and not _within(module, *but)
    ]


def test_the_rules_find_what_they_forbid() -> None:
    """So that a rule that has stopped seeing anything does not pass."""
    assert _faults("flows/render.py", "prefect", "tasks", "stableflows.executor")
    assert _faults("stableflows/webui/calls.py", "stableflows.webui.errors"), "a relative import"
    assert _faults("flows/run.py", "stableflows.jobs"), "an import inside a function"


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("stableflows", ("prefect", "flows", "tasks", "blocks")),
        ("blocks", ("flows", "tasks")),
        ("tasks", ("flows",)),
    ],
)
def test_a_room_imports_none_above_it(room: str, forbidden: tuple[str, ...]) -> None:
    assert _faults(room, *forbidden) == []


def test_the_client_knows_nothing_of_packs_or_plans() -> None:
    """Of ours it imports itself and the error tree."""
    assert _faults("stableflows/webui", *ROOMS, but=(CLIENT, "stableflows.errors")) == []


@pytest.mark.parametrize("part", PLAN)
def test_the_plan_knows_nothing_of_http(part: str) -> None:
    assert _faults(part, *HTTP, CLIENT, but=(NAME_KINDS,)) == []


def test_the_sandbox_shares_no_code_with_what_it_tests() -> None:
    """Else one mistake would stand on both sides of the wire and no test would see it."""
    assert _faults("stableflows/sandbox", *ROOMS, but=("stableflows.sandbox",)) == []


def test_nothing_of_a_run_imports_the_sandbox_but_where_the_server_is_chosen() -> None:
    users = {
        fault.partition(" ")[0]
        for room in ROOMS
        for fault in _faults(room, "stableflows.sandbox")
        if not fault.startswith("stableflows/sandbox/")
    }
    assert users == {"flows/server.py"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["run", "packs/demo.yaml", "--plan"]], ids=" ".join
)
def test_help_and_plan_load_neither_prefect_nor_the_client(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from flows.cli import main\n"
        f"sys.argv = ['stableflows', *{arguments!r}]\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        f"print('loaded:', sorted({{'prefect', 'httpx', '{CLIENT}.client'}} & set(sys.modules)))\n"
    )
    environment = {"PATH": "", "PYTHONPATH": str(ROOT)}  # no STABLEFLOWS_SERVER that --plan would ask
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "loaded: []"


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "README.md"])
def test_every_file_that_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    named = set(re.findall(r"`((?:\w+/)+[\w.]*|\w+\.(?:toml|yaml|lock))`", text))
    named = {name for name in named if not name.startswith(("outputs/", "store/", "stages/"))}
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
