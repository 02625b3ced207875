"""The rounds of the fault suite: each a job that is killed, cut off or lied to, taken up until it is done,
and then looked at."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from stableflows.errors import StableflowsError
from stableflows.failpoints import VARIABLE
from stableflows.sandbox.faults import FaultKind
from tests.faults.ledger import Ledger
from tests.faults.processes import Forker, PrefectServer, Run, SandboxServer, wait_for
from tests.faults.world import DEPTH, Reference, World, pack_of

__all__ = ["FAILPOINTS", "Findings", "Suite"]

FAILPOINTS = {
    "after-answer": 20,
    "before-rename": 60,
    "before-store-record": 20,
    "before-line-of-calls.jsonl": 20,
    "before-line-of-run.jsonl": 40,
    "before-line-of-history.jsonl": 1,
    "before-manifest": 1,
}
"""Each place, and how often at most it is passed before the kill."""
STAGES: dict[str, dict[str, Any]] = {
    "txt2img": {"path": "/sdapi/v1/txt2img"},
    "img2img": {"path": "/sdapi/v1/img2img", "adetailer": False},
    "upscale": {"path": "/sdapi/v1/extra-single-image"},
    "adetailer": {"path": "/sdapi/v1/img2img", "adetailer": True},
}
"""How the sandbox tells the calls of each stage."""
TENTHS = 10
TRIES = 3
IMPATIENT = "impatient"
"""The block of the sandbox for which a call that stands still for 2 s has stalled."""
BLOCK = """
import sys
from blocks.webui import WebUIServer
stalls = dict.fromkeys(("sampling_stall", "loading_stall", "other_stall"), 2.0)
WebUIServer(base_url=sys.argv[2], **stalls).save(sys.argv[1], overwrite=True)
"""


@dataclass
class Findings:
    """What was injected, and what was found.

    Attributes:
        kills: of run processes, by how.
        fell: kills by the tenth of the job that was done.
        at_places: kills by the failpoint.
        server_kills: of the sandbox and of the Prefect server.
        faults: that calls met at the sandbox, by kind and stage.
        wrong: everything that is wrong, with the round in which it was found.
    """

    kills: Counter[str] = field(default_factory=Counter)
    fell: Counter[int] = field(default_factory=Counter)
    at_places: Counter[str] = field(default_factory=Counter)
    server_kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    rounds: int = 0
    images: int = 0
    in_flight: int = 0
    again: int = 0
    beyond: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


class Suite:
    """All that the rounds share: the servers, the starter of runs, the undisturbed run, the dice."""

    def __init__(self, folder: Path, *, seed: int, entries: int, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.dice = random.Random(seed)  # noqa: S311 (what to break, and when)
        self.say = say
        self.findings = Findings()
        self.entries = entries
        self._stack = ExitStack()

    def __enter__(self) -> Suite:
        enter = self._stack.enter_context
        home = self.folder / "home"
        home.mkdir()
        self.home = home
        self.prefect = enter(PrefectServer(self.folder))
        self.sandbox = enter(SandboxServer(self.folder))
        environment = {
            "PREFECT_API_URL": self.prefect.url,
            "PREFECT_HOME": str(self.prefect.home),
            "STABLEFLOWS_HOME": str(home),
        }
        self.forker = enter(Forker(environment, self.folder))
        command = [sys.executable, "-c", BLOCK, IMPATIENT, self.sandbox.url]
        subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True)
        self.pack = self.folder / "sailors.yaml"
        self.pack.write_text(pack_of(self.entries))
        with self.world("undisturbed") as world:
            run = self.forker.start(*world.command(self.sandbox.url))
            if run.wait() != 0:
                raise AssertionError(f"the undisturbed run failed:\n{run.said()}")
            self.reference: Reference = world.reference()
        if self.reference.calls != len(STAGES) * self.entries:
            raise AssertionError(f"{self.reference.calls} images of {len(STAGES) * self.entries} calls")
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @contextmanager
    def world(self, name: str) -> Iterator[World]:
        """A new output folder; deleted if nothing is wrong with it."""
        root = self.folder / name
        yield World(root, self.home, self.pack, self.forker, Ledger(self.sandbox.request_log))
        if not any(line.startswith(name) for line in self.findings.wrong):
            shutil.rmtree(root)

    # -- rounds

    def kill_at_any_time(self, kills: int, *, own_prefect: bool = False) -> None:
        """Runs are killed while they render, each a few calls on, until so many are dead."""
        word = "run with its own Prefect server" if own_prefect else "run"
        with self._round(f"{word} killed at any time") as world:
            for _ in range(kills):
                run = self._start(world, own_prefect=own_prefect)
                if not (self._some_calls_on(world, run, kills) and self._kill(world, run, word)):
                    break
            self._finish(world, run)

    def kill_at_places(self, places: list[str]) -> None:
        """Runs end themselves at a place, one after the other."""
        with self._round("run killed at " + ", ".join(places)) as world:
            for place in places:
                count = self.dice.randint(1, FAILPOINTS[place])
                run = self.forker.start(*world.command(self.sandbox.url), **{VARIABLE: f"{place}:{count}"})
                if run.wait() != -9:
                    break  # the job was done before it came by often enough
                self._count_kill(world, "run at a place")
                self.findings.at_places[place] += 1
            self._finish(world, run)

    def kill_sandbox(self, kills: int) -> None:
        """The sandbox is killed under a run, which waits for it, or is taken up again."""
        with self._round("sandbox killed") as world:
            run = self._start(world)
            for _ in range(kills):
                if not self._some_calls_on(world, run, kills):
                    break
                self.sandbox.kill()
                self.findings.server_kills["sandbox"] += 1
                time.sleep(self.dice.uniform(1.0, 2.0))  # what has reached the run is kept by then
                world.after_death()
                self.sandbox.start()
            self._finish(world, run)

    def kill_prefect(self, kills: int) -> None:
        """The Prefect server is killed under a run."""
        with self._round("Prefect server killed") as world:
            for _ in range(kills):
                run = self._start(world)
                if not self._some_calls_on(world, run, kills):
                    break
                self.prefect.kill()
                self.findings.server_kills["Prefect server"] += 1
                time.sleep(self.dice.uniform(0, 1.0))
                self.prefect.start()
                if self.dice.random() < 0.5:
                    self._kill(world, run, "run after its Prefect server")
                elif run.wait() != 0:
                    world.after_death()
            self._finish(world, run)

    def fault(self, kind: str) -> None:
        """The sandbox does one thing wrong at each stage that can have it; what failed is made again."""
        with self._round(f"sandbox: {kind}") as world:
            stages = ["adetailer"] if kind == "swallowed_adetailer" else list(STAGES)
            for stage in stages:
                # Each of the other faults may cost an entry, whose calls then do not come by.
                at = self.dice.randint(1, self.entries - len(stages) + 1)
                self.sandbox.arm(kind=kind, at=at, seconds=0.3, **STAGES[stage])
            run = self.forker.start(*world.command(IMPATIENT))
            while run.alive:
                if kind == "crash" and not self.sandbox.answers():
                    self.sandbox.kill()  # what is left of it does not listen
                    self.sandbox.start()
                    for stage in set(stages) - set(world.ledger.struck(kind)):  # they died with it
                        self.sandbox.arm(kind=kind, **STAGES[stage])
                time.sleep(0.1)
            struck = world.ledger.struck(kind)
            for stage in stages:
                self.findings.faults[kind, stage] += struck[stage]
                if not struck[stage]:
                    self.findings.wrong.append(f"{world.root.name}: no {stage} call met {kind}")
            world.in_flight += min(world.ledger.rendered_again(), DEPTH * len(stages))
            self.sandbox.disarm()
            self._finish(world, run)

    # -- what rounds are made of

    @contextmanager
    def _round(self, name: str) -> Iterator[World]:
        self.findings.rounds += 1
        name = f"round {self.findings.rounds}: {name}"
        began = time.monotonic()
        with self.world(f"round-{self.findings.rounds:03}") as world:
            try:
                yield world
                wrong = world.check(self.reference)
                if world.owes_options():
                    self.forker.start(str(world.pack), *world.options(self.sandbox.url)).wait()
                    wrong += ["the server's options were not put back"] * world.owes_options()
            except (AssertionError, OSError, StableflowsError) as error:
                wrong = [str(error)]
            self.findings.wrong += [f"{world.root.name}: {line}" for line in wrong]
            self.findings.images += self.reference.calls
            self.findings.in_flight += world.in_flight
            self.findings.again += world.ledger.rendered_again()
            self.findings.beyond += world.again()
        seconds = time.monotonic() - began
        self.findings.seconds += seconds
        self.say(f"{name}: {'ok' if not wrong else 'WRONG'} in {seconds:.0f} s")
        for line in wrong:
            self.say(f"    {line}")

    def _start(self, world: World, *, own_prefect: bool = False) -> Run:
        command = world.command(self.sandbox.url)
        if not own_prefect:
            return self.forker.start(*command)
        home = self.folder / "own-prefect"
        return self.forker.start_anew(*command, without=("PREFECT_API_URL",), PREFECT_HOME=str(home))

    def _kill(self, world: World, run: Run, word: str) -> bool:
        killed = run.kill()
        if killed:
            self._count_kill(world, word)
        return killed

    def _count_kill(self, world: World, word: str) -> None:
        self.findings.kills[word] += 1
        self.findings.fell[min(TENTHS - 1, TENTHS * world.done() // self.reference.calls)] += 1
        world.after_death()

    def _some_calls_on(self, world: World, run: Run, deaths: int) -> bool:
        """Wait until a drawn number of calls has begun, and a moment more; whether the run still lives."""
        most = max(1, 2 * self.reference.calls // (deaths + 1))
        target = len(world.ledger.read()) + self.dice.randint(0, most)
        wait_for(lambda: len(world.ledger.read()) >= target or not run.alive, "rendering")
        time.sleep(self.dice.uniform(0, 0.1))
        return run.alive

    def _finish(self, world: World, run: Run) -> None:
        """Take the run up again until it is done; what failed is made again, too."""
        for _ in range(TRIES):
            code = run.wait()
            if code == 0:
                return
            killed = code < 0 or not any(world.root.glob("*/plan.json"))
            run = self.forker.start(*(world.command if killed else world.retry)(self.sandbox.url))
        if run.wait() != 0:
            raise AssertionError(f"it does not come to its end:\n{run.said()[-3000:]}")


KINDS = tuple(kind for kind in get_args(FaultKind) if kind != "partial")
"""All but a partial image of somebody else's interrupt, of which an answer says nothing (docs/servers.md)."""
