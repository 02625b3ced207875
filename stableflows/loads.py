"""Which weights a call needs, and what a sequence of calls loads.

The model: a server holds one checkpoint with one VAE. A call enters with the weights that its request
names, may load others on its way (a refiner, a hires checkpoint, an ADetailer unit's own), and leaves the
last of them there. So its own loads are always paid, and between two calls one is paid if the second does
not enter with what the first has left. Extras need none, and leave what is there.

A checkpoint's VAE is loaded with it; only a VAE that changes under the same checkpoint counts as a load of
its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from stableflows.calls import StageCall
from stableflows.config import ADetailerConfig, Txt2ImgConfig
from stableflows.entries import Entry
from stableflows.stages import StageExecution

__all__ = [
    "OPEN",
    "Canonical",
    "Loads",
    "Route",
    "Weights",
    "loads_between",
    "loads_of",
    "route_of",
    "routes_of",
]

Canonical = Callable[[str], str]
"""One name for all aliases of a checkpoint (title, file name, hash)."""


class Weights(NamedTuple):
    """A checkpoint and a VAE, by name. Empty: the one that the server has when the run starts."""

    checkpoint: str = ""
    vae: str = ""


OPEN = Weights()

Route = tuple[Weights, ...]
"""The weights of one call, in the order in which it needs them; empty for extras."""


class Loads(NamedTuple):
    """How many loads of checkpoints, and of VAEs under a checkpoint that stays; the fewer checkpoints the
    less."""

    checkpoints: int = 0
    vaes: int = 0

    def __add__(self, other: object) -> Loads:
        if not isinstance(other, Loads):
            return NotImplemented
        return Loads(self.checkpoints + other.checkpoints, self.vaes + other.vaes)


@dataclass(frozen=True)
class Loaded:
    """What a call made the server load: checkpoints by name, and how many VAEs under one that stayed."""

    checkpoints: tuple[str, ...] = ()
    vaes: int = 0

    def then(self, now: Weights, wanted: Weights) -> Loaded:
        """This, and what must be loaded to come from one to the other."""
        loads = loads_between(now, wanted)
        return Loaded(self.checkpoints + (wanted.checkpoint,) * loads.checkpoints, self.vaes + loads.vaes)

    @property
    def loads(self) -> Loads:
        return Loads(len(self.checkpoints), self.vaes)


NOTHING = Loaded()


def loads_between(now: Weights, wanted: Weights) -> Loads:
    """What must be loaded to come from one to the other."""
    if now.checkpoint != wanted.checkpoint:
        return Loads(checkpoints=1)
    return Loads(vaes=int(now.vae != wanted.vae))


def route_of(execution: StageExecution, loaded: Weights = OPEN, canonical: Canonical = str) -> Route:
    """The weights that a stage's calls need.

    Args:
        loaded: what stands for a checkpoint or VAE that the stage leaves open.
        canonical: maps the names of a checkpoint to one.
    """
    config = execution.generation
    if config is None:
        return ()
    base = Weights(
        canonical(config.checkpoint) if config.checkpoint else loaded.checkpoint, config.vae or loaded.vae
    )
    steps = [base]
    if isinstance(config, Txt2ImgConfig):
        # The WebUI's own order: a hires pass begins with its checkpoint, a refiner ends it.
        hires = config.hires.checkpoint if config.hires.enabled else None
        refiner = config.refiner.checkpoint if config.refiner.enabled else None
        steps += [base._replace(checkpoint=canonical(name)) for name in (hires, refiner) if name]
    if isinstance(config, ADetailerConfig):
        # A unit without a checkpoint of its own takes the request's again.
        steps += [
            Weights(
                canonical(unit.ad_checkpoint) if unit.ad_checkpoint else base.checkpoint,
                unit.ad_vae or base.vae,
            )
            for unit in config.units
        ]
    return tuple(steps[:1]) + tuple(then for now, then in pairwise(steps) if then != now)


def routes_of(
    entries: Iterable[Entry], loaded: Weights = OPEN, canonical: Canonical = str
) -> Mapping[tuple[int, int], Route]:
    """The routes of all stages, by (index of the entry, index of the stage)."""
    known: dict[int, Route] = {}  # entries of a pack share their configs' content, often the objects too

    def cached(execution: StageExecution) -> Route:
        found = known.get(id(execution.config))
        if found is None:
            found = known[id(execution.config)] = route_of(execution, loaded, canonical)
        return found

    return {
        (entry.index, number): cached(execution)
        for entry in entries
        for number, execution in enumerate(entry.plan)
    }


def loads_of(
    calls: Iterable[StageCall], routes: Mapping[tuple[int, int], Route], loaded: Weights = OPEN
) -> Iterator[tuple[StageCall, Loaded]]:
    """Each call with what it makes the server load, if they are sent in this order."""
    now = loaded
    for call in calls:
        found = NOTHING
        for wanted in routes[call.entry, call.stage]:
            if wanted != now:
                found = found.then(now, wanted)
                now = wanted
        yield call, found
