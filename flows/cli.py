"""The console script `stableflows`: the same commands as `python -m flows.run` and its siblings."""

from __future__ import annotations

from importlib.metadata import version

from cyclopts import App

from flows import command

__all__ = ["COMMANDS", "app", "main"]

COMMANDS = {
    "run": "Render prompt packs, or a prompt, through a Stable Diffusion WebUI.",
    "doctor": "Examine a WebUI: what it is, what works, what it would need. Changes nothing there.",
    "pack": "Look at prompt packs: what they were read as, what is wrong with them, what they come to.",
    "reprocess": "Take the images of a folder through further stages, with the prompt and settings found in "
    "them.",
    "finish": "Take picked images of an earlier run through the stages that it left out.",
    "store": "Look after the store of an output folder: what was rendered, so that it is not rendered again.",
    "up": "Start the queue: a Prefect server and a worker, in the background. Again: bring it up to date.",
    "down": "Stop what `up` started. A job that renders is put back, and goes on at the next `up`.",
    "queue": "The queue: what runs and what waits. Subcommands steer it.",
    "history": "Earlier runs: list them, show one, render one again, see what failed.",
    "job": "Drafts of jobs, which `run ... --save FILE` makes; `run FILE` plans, renders or queues one.",
}
"""What each command of `flows/` says of itself; a module is loaded only when its command is given."""

app = App(
    name="stableflows",
    help="Render prompt packs through Stable Diffusion WebUI servers, overnight.",
    version=lambda: version("stableflows"),
)
for name, said in COMMANDS.items():
    app.command(f"flows.{name}:app", name=name, help=said)


def main() -> None:
    """What the console script calls."""
    command.main(app)
