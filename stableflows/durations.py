"""How long a server takes, learnt from what it took.

    seconds = fixed + a * steps + b * megapixel-steps + c * megapixels [+ d * megapixels] + its loads

c is decoding and whatever grows with an image, d the server's encoding of the PNG, which shows only where no
other call renders meanwhile. None is below zero. A server's rates for a sampler on a checkpoint are fitted to
what such calls took; where those say nothing (a first job of one size says nothing of another), what all
calls of that stage took decides, then what all sampling took, then the defaults, scaled.

Of each kind of call the last few durations are kept and their median counts, so that a call that stood
still for minutes spoils nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from stableflows.calls import StageCall
from stableflows.entries import Entry
from stableflows.loads import NOTHING, Loaded
from stableflows.run.files import write_whole
from stableflows.stages import StageType
from stableflows.work import Work, work_of

__all__ = ["LOAD_SECONDS", "Pace", "Times"]

LOAD_SECONDS = 15.0
"""A checkpoint's load while none was measured: 12 to 20 s were, on a 12 GB card with an ordinary disk."""
VAE_LOAD_SECONDS = 1.0
"""A VAE's, likewise: a hundredth of a checkpoint's size, and some work on it."""

_SAMPLING = (0.3, 0.15, 0.3, 0.2, 0.2)
"""Fixed, a step, a megapixel-step, a megapixel, a megapixel alone; in seconds, for a 12 GB card and SDXL:
10 to 14 s were measured for 26 to 36 steps of 768x1024. How much of a step grows with the image differs
from server to server, so the two share it, until calls of different sizes tell."""
_UPSCALING = (0.5, 0.0, 0.0, 18.0, 0.2)
"""The same for extras: 66 s were measured for an image of 3.5 megapixels."""

_KEPT = 7
"""Durations kept of calls that do the same."""
_POINTS = 400
"""Different such calls that are kept; the file stays below 100 kB."""
_PULLS = (0.2, 0.02, 0.02, 0.2, 0.02)
"""Weights of what is known in general, for each rate, against one measured kind of call. What does not grow
with the steps is small everywhere, so what calls differ by is first laid to the steps."""
_WITH_LOADS = 0.05
"""Weight of calls that also loaded something: what they took says little of the rest."""
_VAE = "(vae)"


class _Point(NamedTuple):
    """Calls that do the same under the same circumstances."""

    work: Work
    alone: bool
    loaded: Loaded

    @property
    def terms(self) -> tuple[float, ...]:
        work = self.work
        return (
            1.0,
            work.steps,
            work.megapixel_steps,
            work.megapixels,
            work.megapixels if self.alone else 0.0,
        )


class _Measured(BaseModel):
    """A line of the file: a kind of call and what the last ones took."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: str
    model: str
    sampler: str
    steps: int
    megapixel_steps: float
    megapixels: float
    alone: bool
    checkpoints: tuple[str, ...] = ()
    vaes: int = 0
    seconds: tuple[float, ...]

    @classmethod
    def of(cls, point: _Point, seconds: Sequence[float]) -> _Measured:
        return cls(
            **vars(point.work),
            alone=point.alone,
            checkpoints=point.loaded.checkpoints,
            vaes=point.loaded.vaes,
            seconds=tuple(round(value, 3) for value in seconds),
        )

    @property
    def point(self) -> _Point:
        work = Work(self.kind, self.model, self.sampler, self.steps, self.megapixel_steps, self.megapixels)
        return _Point(work, self.alone, Loaded(self.checkpoints, self.vaes))


class Times:
    """What calls at one server take. Without a file it knows the defaults only."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._points: dict[_Point, list[float]] = {}
        self._fit: _Fit | None = None

    @classmethod
    def load(cls, root: Path, server_identity: str) -> Times:
        """What earlier runs measured at that server; a file that cannot be read is as good as none, for it
        decides no picture."""
        name = sha256(server_identity.encode()).hexdigest()[:16]
        times = cls(root / "store" / "times" / f"{name}.json")
        try:
            lines: Any = json.loads(times._file.read_text()) if times._file else []
            times._points = {
                measured.point: list(measured.seconds)
                for measured in (_Measured.model_validate(line) for line in lines)
                if measured.seconds
            }
        except (OSError, ValueError, TypeError, ValidationError):
            times._points = {}
        return times

    def save(self) -> None:
        """Keep what was learnt.

        Raises:
            OSError: as the system says.
        """
        if self._file is None or not self._points:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        lines = [_Measured.of(point, seconds).model_dump() for point, seconds in self._points.items()]
        write_whole(self._file, json.dumps(lines, indent=0).encode())

    def learn(
        self, call: StageCall, entry: Entry, seconds: float, *, loaded: Loaded = NOTHING, alone: bool = False
    ) -> None:
        """Take in a finished call.

        Args:
            seconds: by which it moved the run on, see `Pace`; not its time in the server's queue.
            loaded: what was loaded for it.
            alone: no other call was waiting at the server when it came there.
        """
        point = _Point(work_of(call, entry), alone, loaded)
        taken = self._points.pop(point, [])
        self._points[point] = [*taken, max(0.0, seconds)][-_KEPT:]  # the one learnt last stands last
        while len(self._points) > _POINTS:
            del self._points[next(iter(self._points))]
        self._fit = None

    def knows(self, kind: str) -> bool:
        """Whether such calls (`Work.kind`) were measured."""
        return any(point.work.kind == kind for point in self._points)

    @property
    def load_seconds(self) -> float:
        """What a load of a checkpoint takes, of all that were measured."""
        return self._fitted.load_seconds("")

    def seconds(self, work: Work, *, loaded: Loaded = NOTHING, alone: bool = False) -> float:
        """What a call will take."""
        return self._fitted.seconds(_Point(work, alone, loaded))

    @property
    def _fitted(self) -> _Fit:
        if self._fit is None:
            self._fit = _Fit({point: median(seconds) for point, seconds in self._points.items()})
        return self._fit


class Pace:
    """By how much each call moves the run on: the time from the end of the call before it to its own. So
    the seconds of a run's calls add up to the run, however many wait at the server, with all that we do
    between them."""

    def __init__(self) -> None:
        self._sent: dict[str, float] = {}
        self._alone: set[str] = set()
        self._last_end: float | None = None

    def sent(self, call_id: str, now: float | None = None) -> None:
        """A call leaves for the server."""
        if not self._sent:
            self._alone.add(call_id)
        self._sent[call_id] = time.monotonic() if now is None else now

    def ended(self, call_id: str, now: float | None = None) -> tuple[float, bool]:
        """A call is done: its seconds, and whether no other was at the server when it came."""
        end = time.monotonic() if now is None else now
        sent = self._sent.pop(call_id)
        begun = sent if self._last_end is None else self._last_end
        alone = call_id in self._alone
        self._alone.discard(call_id)
        self._last_end = end
        return max(0.0, end - begun), alone

    def forget(self, call_id: str) -> None:
        """A call failed, or needed no request: it says nothing, and the next one counts from its own
        start."""
        self._sent.pop(call_id, None)
        self._alone.discard(call_id)
        self._last_end = None


_Rates = tuple[float, ...]


class _Fit:
    """Rates for each group of calls, from the general to the special, and seconds for each checkpoint's
    load."""

    def __init__(self, measured: Mapping[_Point, float]) -> None:
        self._measured = measured
        self._rates: dict[tuple[str, ...], _Rates] = {}
        self._loads: dict[str, float] = {}
        # Loads and rates explain one another; calls without loads, which count most, settle it in a few
        # rounds.
        for _ in range(4 if any(point.loaded != NOTHING for point in measured) else 1):
            self._rates = {}
            for group in sorted({group for point in measured for group in _groups(point.work)}, key=len):
                self._rates[group] = self._fitted(group)
            self._loads = self._load_times()

    def seconds(self, point: _Point) -> float:
        return _product(self._rates_of(point.work), point.terms) + self._for_loads(point)

    def load_seconds(self, checkpoint: str) -> float:
        return self._loads.get(checkpoint, self._loads.get("", LOAD_SECONDS))

    def _rates_of(self, work: Work) -> _Rates:
        for group in reversed(_groups(work)):
            if group in self._rates:
                return self._rates[group]
        return _SAMPLING if work.samples else _UPSCALING

    def _fitted(self, group: tuple[str, ...]) -> _Rates:
        points = [point for point in self._measured if group in _groups(point.work)]
        if len(group) == 1:
            # How much ADetailer repaints depends on what it finds: it tells nothing of the other stages.
            points = [point for point in points if point.work.kind != StageType.ADETAILER] or points
        rows = [
            (
                point.terms,
                # A call is never all load, whatever a load was thought to take.
                max(0.05 * self._measured[point], self._measured[point] - self._for_loads(point)),
                _WITH_LOADS if point.loaded != NOTHING else 1.0,
            )
            for point in points
        ]
        prior = self._rates.get(group[:-1]) or (_SAMPLING if points[0].work.samples else _UPSCALING)
        scale = median(seconds / max(1e-9, _product(prior, terms)) for terms, seconds, _ in rows)
        return _fit(rows, [rate * scale for rate in prior])

    def _for_loads(self, point: _Point) -> float:
        found = sum(self.load_seconds(name) for name in point.loaded.checkpoints)
        return found + point.loaded.vaes * self._loads.get(_VAE, VAE_LOAD_SECONDS)

    def _load_times(self) -> dict[str, float]:
        took: dict[str, list[float]] = {}
        for point, seconds in self._measured.items():
            loads = len(point.loaded.checkpoints)
            more = max(0.0, seconds - _product(self._rates_of(point.work), point.terms))
            if loads:
                vaes = point.loaded.vaes * self._loads.get(_VAE, VAE_LOAD_SECONDS)
                for name in dict.fromkeys(point.loaded.checkpoints):
                    took.setdefault(name, []).append(max(0.0, more - vaes) / loads)
            elif point.loaded.vaes:
                took.setdefault(_VAE, []).append(more / point.loaded.vaes)
        found = {name: median(values) for name, values in took.items()}
        checkpoints = [value for name, value in found.items() if name != _VAE]
        return {**found, **({"": median(checkpoints)} if checkpoints else {})}


def _groups(work: Work) -> tuple[tuple[str, ...], ...]:
    """The groups of a call, from the general to the special."""
    most = "sampling" if work.samples else work.kind
    return (
        (most,),
        (most, work.kind),
        (most, work.kind, work.model),
        (most, work.kind, work.model, work.sampler),
    )


def _product(rates: Iterable[float], terms: Iterable[float]) -> float:
    return sum(rate * term for rate, term in zip(rates, terms, strict=True))


def _fit(rows: Sequence[tuple[Sequence[float], float, float]], prior: Sequence[float]) -> _Rates:
    """Rates of least relative error, none negative, near `prior` where the rows leave them open.

    Args:
        rows: terms, seconds and weight of each.
    """
    size = len(prior)
    gram = [[0.0] * size for _ in range(size)]
    target = [0.0] * size
    for terms, seconds, weight in rows:
        # A relative error: ten calls of a second matter as much as one of ten.
        scale = weight / max(seconds, 0.05) ** 2
        for i in range(size):
            target[i] += scale * terms[i] * seconds
            for j in range(size):
                gram[i][j] += scale * terms[i] * terms[j]
    for i in range(size):
        # The pull is felt as far as a rate matters to these calls at all.
        pull = _PULLS[i] * gram[i][i] + 1e-9
        gram[i][i] += pull
        target[i] += pull * prior[i]
    rates = list(prior)
    for _ in range(300):  # coordinate descent: convex, and each step exact
        moved = 0.0
        for i in range(size):
            rest = sum(gram[i][j] * rates[j] for j in range(size) if j != i)
            rate = max(0.0, (target[i] - rest) / gram[i][i])
            moved = max(moved, abs(rate - rates[i]))
            rates[i] = rate
        if moved < 1e-7:
            break
    return tuple(rates)
