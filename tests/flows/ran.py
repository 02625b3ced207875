"""The command, run in this process against a Prefect server that runs already, and what it left.

Quicker than a process of its own by the seconds that importing Prefect takes; `tests/flows/terminal.py` is
for what only a process shows.
"""

import base64
import csv
import gc
import hashlib
import io
import json
import sqlite3
import sys
import warnings
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pytest

from flows.run import app, main
from stableflows.results import CallRecord
from stableflows.run import history
from stableflows.run.folder import RunFolder
from stableflows.run.history import HistoryLine
from stableflows.sandbox import LoggedRequest
from tests.flows.conftest import RunningServer

__all__ = ["Ran", "inputs_of", "run_command", "stage_of", "task_runs"]


@dataclass
class Ran:
    """A command that ended: its exit code, what it printed, and its output root."""

    code: int
    out: str
    err: str
    root: Path

    @cached_property
    def printed(self) -> dict[str, Any]:
        """What `--json` printed; all of standard output must be that."""
        document: dict[str, Any] = json.loads(self.out)
        return document

    @property
    def results(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.printed["result"]["results"]
        return found

    @property
    def statuses(self) -> list[str]:
        return [entry["status"] for entry in self.manifest["result"]["results"]]

    @property
    def history(self) -> list[HistoryLine]:
        return history.read(self.root)

    @cached_property
    def folder(self) -> RunFolder:
        """The folder of the run that the command made, which must be the newest of the root."""
        lines = [line for line in self.history if line.result]
        assert lines[-1].result
        return RunFolder.open(self.root, Path(lines[-1].result.output_dir).name)

    @property
    def calls(self) -> list[CallRecord]:
        return self.folder.calls()

    @property
    def manifest(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.folder.manifest_file.read_bytes())
        return document

    @property
    def table(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.folder.csv_file.read_text())))

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.folder.log_file.read_text().splitlines()]

    @property
    def pictures(self) -> dict[str, bytes]:
        """Every image of the run, also of the stages in between, by its path in the run's folder."""
        return {str(path.relative_to(self.folder.path)): path.read_bytes() for path in self._images()}

    def _images(self) -> list[Path]:
        return sorted(self.folder.path.rglob("*.png"))

    def files(self) -> list[str]:
        """Everything below the output root."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))


def run_command(*arguments: str, root: Path, prefect: RunningServer | None = None, **environment: str) -> Ran:
    """`python -m flows.run ARGUMENTS --out ROOT`.

    Args:
        prefect: the Prefect server it uses. None: it has none, and a run that needs one ends with code 3.
        environment: variables of the command, besides those that Prefect needs.
    """
    out, err = io.StringIO(), io.StringIO()
    # Prefect leaves connections to be closed by the garbage collector.
    warnings.filterwarnings("ignore", "unclosed", ResourceWarning)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.delenv("STABLEFLOWS_SERVER", raising=False)
        patch.setenv("PREFECT_API_URL", prefect.url if prefect else "http://127.0.0.1:9/api")
        if prefect:
            patch.setenv("PREFECT_HOME", str(prefect.home))
        for name, value in environment.items():
            patch.setenv(name, value)
        if prefect_context := sys.modules.get(
            "prefect.context"
        ):  # it read the variables when it was imported
            prefect_context.refresh_global_settings_context()
        with pytest.raises(SystemExit) as ended:
            main(partial(app, [*arguments, "--out", str(root)]))  # type: ignore[arg-type]
    gc.collect()
    assert isinstance(ended.value.code, int)
    return Ran(ended.value.code, out.getvalue(), err.getvalue(), root)


def stage_of(request: LoggedRequest) -> str:
    """The stage that makes such a request."""
    if request.path == "/sdapi/v1/extra-single-image" or request.body.get("script_name"):
        return "upscale"
    if "ADetailer" in request.body.get("alwayson_scripts", {}):
        return "adetailer"
    return request.path.rsplit("/", 1)[-1]


def inputs_of(request: LoggedRequest) -> list[str]:
    """SHA-256 of each picture that the request brings to be continued."""
    texts = request.body.get("init_images", [request.body["image"]] if "image" in request.body else [])
    return [hashlib.sha256(base64.b64decode(text)).hexdigest() for text in texts]


def task_runs(prefect: RunningServer, flow_run_id: str) -> list[tuple[str, str]]:
    """(name, state) of a flow run's task runs in Prefect's database, in the order in which they began."""
    with closing(sqlite3.connect(prefect.home / "prefect.db")) as database:
        return database.execute(
            "select name, state_name from task_run where flow_run_id = ? order by start_time",
            (flow_run_id,),
        ).fetchall()
