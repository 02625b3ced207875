"""The console script `stableflows`: the same commands as `python -m flows.run` and its siblings."""

from __future__ import annotations

from importlib.metadata import version

from cyclopts import App

from flows import command, doctor, pack, run, store
from flows.down import app as down
from flows.finish import app as finish
from flows.history import app as history
from flows.job import app as job
from flows.queue import app as queue
from flows.reprocess import app as reprocess
from flows.up import app as up

__all__ = ["app", "main"]

app = App(
    name="stableflows",
    help="Render prompt packs through Stable Diffusion WebUI servers, overnight.",
    version=lambda: version("stableflows"),
)
app.command(run.app, name="run")
app.command(doctor.app, name="doctor")
app.command(pack.app, name="pack")
app.command(reprocess, name="reprocess")
app.command(finish, name="finish")
app.command(store.app, name="store")
app.command(up, name="up")
app.command(down, name="down")
app.command(queue, name="queue")
app.command(history, name="history")
app.command(job, name="job")


def main() -> None:
    """What the console script calls."""
    command.main(app)
