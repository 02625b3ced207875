"""One measured process: ours or a peer's, from its start to its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.servers import Sandbox
from stableflows.run.files import read_lines

__all__ = ["Measured", "Process", "ours", "peer", "process"]

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Process:
    """A process that ended.

    Attributes:
        began, ended: of the machine's monotonic clock, which all processes share.
        cpu: seconds of it and its children.
        peak: its largest memory, in MB; children not included. The system counts from before the program was
            loaded, so that it is never below what this process had then.
        said: its standard output.
    """

    began: float
    ended: float
    cpu: float
    peak: float
    said: str

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def process(command: Sequence[str], folder: Path, **environment: str) -> Process:
    """Run a Python command in this checkout.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    out, errors = folder / "said.txt", folder / "errors.txt"
    folder.mkdir(parents=True, exist_ok=True)
    with out.open("wb") as said, errors.open("wb") as wrong:
        began = time.monotonic()
        child = subprocess.Popen(  # noqa: S603 (our own commands)
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=wrong,
        )
        _, status, usage = os.wait4(child.pid, 0)
        ended = time.monotonic()
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        text = out.read_text(errors="replace")[-1500:] + errors.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}:\n{text}")
    cpu = usage.ru_utime + usage.ru_stime
    return Process(began, ended, cpu, usage.ru_maxrss / 1024, out.read_text(errors="replace"))


@dataclass(frozen=True)
class Measured:
    """A process that rendered.

    Attributes:
        requests: those that it made, by the sandbox's log.
        last: when its last image was on disk; None if it made no request and tells none.
        loads: checkpoints that the server loaded meanwhile.
    """

    process: Process
    requests: list[dict[str, Any]]
    last: float | None
    loads: int

    @property
    def first(self) -> float:
        """When its first request arrived."""
        return min(float(request["t_start"]) for request in self.requests)

    @property
    def wall(self) -> float:
        """From the first request to the last synced image."""
        if self.last is None:
            raise ValueError("it made no request")
        return self.last - self.first

    @property
    def start_up(self) -> float:
        """From the start of the process to its first request."""
        return self.first - self.process.began

    @property
    def idle(self) -> float:
        """Seconds between two calls during which the server had nothing to do, where the next one was there
        before the last gave back the lock: the median. Infinite if none ever was."""
        runs = sorted(self.requests, key=lambda request: float(request["t_run"]))
        gaps = [
            later["t_run"] - earlier["t_ran"]
            for earlier, later in pairwise(runs)
            if later["t_start"] < earlier["t_ran"]
        ]
        return median(gaps) if gaps else float("inf")

    @property
    def waited(self) -> float:
        """The share of calls that were there before the one before them was done."""
        runs = sorted(self.requests, key=lambda request: float(request["t_run"]))
        pairs = list(pairwise(runs))
        there = sum(later["t_start"] < earlier["t_ran"] for earlier, later in pairs)
        return there / len(pairs) if pairs else 0.0

    @property
    def images(self) -> int:
        return sum(len(request["images"]) for request in self.requests)


def _measured(server: Sandbox, command: Sequence[str], folder: Path, **environment: str) -> Measured:
    loads = server.loads
    since = time.monotonic()
    done = process(command, folder, **environment)
    return Measured(done, server.rendered(since), None, server.loads - loads)


def ours(
    server: Sandbox, pack: Path, out: Path, prefect_url: str | None, *options: str, name: str = "ours"
) -> Measured:
    """`stableflows run PACK`, as a user starts it.

    Args:
        out: the output root; what is in its store is not rendered again.
        prefect_url: of a Prefect server that runs; None: the run starts its own.
    """
    runs = set(out.glob("*/run.jsonl"))
    command = ["-m", "flows.run", str(pack), "--server", server.url, "--out", str(out), *options]
    environment = {"PREFECT_API_URL": prefect_url} if prefect_url else {}
    found = _measured(server, command, out.with_name(f"{out.name}-{name}"), **environment)
    new = set(out.glob("*/run.jsonl")) - runs
    last = max((_last_stop(log) for log in new), default=None)
    return Measured(found.process, found.requests, last, found.loads)


def _last_stop(run_log: Path) -> float:
    """When the last call was recorded, which is after its image was synced."""
    stops = [line["timestamp"] for line in read_lines(run_log) if line["event"] == "stage_stop"]
    return datetime.fromisoformat(stops[-1]).timestamp() - (time.time() - time.monotonic())


def peer(
    server: Sandbox, module: str, chains: Sequence[Any], folder: Path, prefect_url: str | None = None
) -> Measured:
    """One of `benchmarks.peers`.

    Args:
        chains: for each entry its calls: the endpoint's name and the request.
    """
    folder.mkdir(parents=True)
    job = folder / "job.json"
    job.write_text(json.dumps(list(chains)))
    environment = {"PREFECT_API_URL": prefect_url} if prefect_url else {}
    command = ["-m", f"benchmarks.peers.{module}", server.url, str(job), str(folder)]
    found = _measured(server, command, folder / "process", **environment)
    told: Mapping[str, float] = json.loads(found.process.said.splitlines()[-1])
    return Measured(found.process, found.requests, told["last"], found.loads)
