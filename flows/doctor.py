"""`python -m flows.doctor --server URL`: what a WebUI is, what works on it, and what it would need.

The first thing to run against a new server. It changes nothing there.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.columns import Columns
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.command import main, refused
from flows.server import SANDBOX, SERVER_VARIABLE, by_url, named_server, sandbox_server
from stableflows.errors import ExitCode, InputError, StableflowsError

if TYPE_CHECKING:
    from stableflows.webui.doctor import Diagnosis
    from stableflows.webui.server import ServerConfig

__all__ = ["app", "diagnose"]

app = App(
    name="doctor",
    help="Examine a WebUI: what it is, what works, what it would need. Changes nothing there.",
    default_parameter=Parameter(negative=()),
    version_flags=(),
)


@app.default
def doctor(
    *, server: str | None = None, json_output: Annotated[bool, Parameter(name="--json")] = False
) -> int:
    """Examine a server.

    Parameters
    ----------
    server:
        URL of a WebUI, name of a saved block, or "sandbox". Left out: the variable STABLEFLOWS_SERVER.
    json_output:
        Print the diagnosis as JSON and nothing else.
    """
    try:
        diagnosis = diagnose(server)
    except StableflowsError as error:
        return refused(error, json_output)
    if json_output:
        sys.stdout.write(diagnosis.model_dump_json(indent=1) + "\n")
    else:
        _show(diagnosis, Console(highlight=False))
    return int(ExitCode.OK)


def diagnose(option: str | None) -> Diagnosis:
    """Examine the server that the option or the environment names.

    Raises:
        InputError: neither names one, or there is no such block.
        WebUIError: it cannot be reached, wants a password, or is no WebUI.
    """
    named = named_server(option)
    if named is None:
        raise InputError(f"name a server: --server http://127.0.0.1:7860, or the variable {SERVER_VARIABLE}.")
    name, source = named
    if name == SANDBOX:
        with sandbox_server() as config:
            return asyncio.run(_examine(config))
    config = by_url(name, source) or _of_block(name)
    return asyncio.run(_examine(config))


async def _examine(config: ServerConfig) -> Diagnosis:
    from stableflows.webui.client import WebUIClient
    from stableflows.webui.doctor import examine

    async with WebUIClient(config) as client:
        return await examine(client)


def _of_block(name: str) -> ServerConfig:
    """The server of a saved block; only this needs Prefect."""
    from flows.prefect_api import prefect_api
    from flows.server import choose_server

    with prefect_api():
        chosen = asyncio.run(choose_server(name))
    assert chosen.config is not None  # noqa: S101 (a block's name gives its config or raises)
    return chosen.config


def _show(diagnosis: Diagnosis, console: Console) -> None:
    version = f" {diagnosis.version}" if diagnosis.version else ""
    console.print(Text(f"{diagnosis.server}: {diagnosis.family.value}{version}", style="bold"))
    console.print(Text(f"loaded checkpoint: {diagnosis.checkpoint or 'none'}"))
    console.print(Text("idle" if diagnosis.idle else "busy: a job runs there"))
    console.print(Text(", ".join(f"{count} {kind}" for kind, count in diagnosis.counts.items() if count)))
    abilities = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for ability in diagnosis.abilities:
        works = Text("yes", style="green") if ability.works else Text("no", style="yellow")
        abilities.add_row(Text(ability.name), works, Text(ability.note))
    console.print(Text("\nWhat works", style="bold"), abilities)
    _list(console, "Cannot be verified here", diagnosis.unverifiable)
    console.print(Text("\nOptions that change pixels and stand in no request", style="bold"))
    options = (f"{name} = {json.dumps(value)}" for name, value in diagnosis.pixel_options.items())
    console.print(Columns([Text(option) for option in options], padding=(0, 3)))
    _list(
        console,
        "Would be better",
        [f"{advice.what}: {advice.effect}. {advice.how}" for advice in diagnosis.advice],
    )


def _list(console: Console, title: str, lines: list[str] | tuple[str, ...]) -> None:
    if lines:
        console.print(Text(f"\n{title}", style="bold"))
    for line in lines:
        console.print(Text(f"- {line}"), soft_wrap=True)


if __name__ == "__main__":
    main(app)
