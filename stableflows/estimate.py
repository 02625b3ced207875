"""What a job will cost, told before it starts, and corrected while it runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stableflows.calls import StageCall
from stableflows.durations import Times
from stableflows.entries import Entry
from stableflows.loads import OPEN, Canonical, Loaded, Weights, loads_of, routes_of
from stableflows.work import Work, work_of

__all__ = ["Countdown", "Estimate", "duration_text", "estimate", "estimate_text"]


@dataclass(frozen=True)
class Estimate:
    """What the calls of a job come to, in the order in which they are sent.

    Attributes:
        calls: all of them.
        hits: those of them that the store answers.
        checkpoint_loads, vae_loads: at the server.
        seconds: until the last image is there.
        known: all kinds of calls in it were measured at this server; `measured`: some were.
        by_call: seconds of each call, its loads included, by call id; 0 for a hit.
        loaded: what each call that is sent makes the server load.
    """

    calls: int
    hits: int
    checkpoint_loads: int
    vae_loads: int
    seconds: float
    known: bool
    measured: bool
    by_call: Mapping[str, float] = field(repr=False)
    loaded: Mapping[str, Loaded] = field(repr=False)


def estimate(
    calls: Sequence[StageCall],
    entries: Sequence[Entry],
    times: Times,
    *,
    loaded: Weights | None = None,
    depth: int = 2,
    canonical: Canonical = str,
    hits: Collection[str] = frozenset(),
) -> Estimate:
    """What these calls will cost in this order.

    Args:
        loaded: what the server has loaded now.
        depth: calls at the server at once. With one, its encoding of an image is waited for; so it is where a
            call continues the one just before it.
        canonical: maps the names of a checkpoint to one, as for `schedule`.
        hits: ids of calls that the store answers; they cost nothing.
    """
    start = loaded or OPEN
    sent = [call for call in calls if call.call_id not in hits]
    by_index = {entry.index: entry for entry in entries}
    found = dict.fromkeys((call.call_id for call in calls), 0.0)
    made: dict[str, Loaded] = {}
    works: dict[tuple[int, int, int, int], Work] = {}
    kinds: set[str] = set()
    seconds_of: dict[tuple[Work, Loaded, bool], float] = {}
    alone = _alone(sent, depth)
    for call, loads in loads_of(sent, routes_of(entries, start, canonical), start):
        same = (call.entry, call.stage, call.n, call.index if by_index[call.entry].inputs else 0)
        work = works.get(same)
        if work is None:
            work = works[same] = work_of(call, by_index[call.entry])
            kinds.add(work.kind)
        circumstances = (work, loads, next(alone))
        if circumstances not in seconds_of:
            seconds_of[circumstances] = times.seconds(work, loaded=loads, alone=circumstances[2])
        found[call.call_id] = seconds_of[circumstances]
        made[call.call_id] = loads
    measured = [times.knows(kind) for kind in sorted(kinds)]
    return Estimate(
        calls=len(calls),
        hits=len(calls) - len(sent),
        checkpoint_loads=sum(len(loads.checkpoints) for loads in made.values()),
        vae_loads=sum(loads.vaes for loads in made.values()),
        seconds=sum(found.values()),
        known=all(measured),
        measured=any(measured),
        by_call=found,
        loaded=made,
    )


def _alone(sent: Sequence[StageCall], depth: int) -> Iterator[bool]:
    """Whether each call finds the server idle."""
    before = None
    for call in sent:
        yield depth < 2 or before is None or call.after == before
        before = call.call_id


class Countdown:
    """The time that is left of a run, corrected by what its calls took so far."""

    _TRUST = 3.0
    """Calls that must have ended before what they took counts as much as what was expected."""

    def __init__(self, estimate: Estimate) -> None:
        self._expected = dict(estimate.by_call)
        sent = [seconds for seconds in self._expected.values() if seconds > 0]
        usual = sum(sent) / len(sent) if sent else 0.0
        self._took = self._said = self._TRUST * usual
        self._left = sum(sent)

    def ended(self, call_id: str, seconds: float | None = None) -> None:
        """A call is done with, whatever became of it.

        Args:
            seconds: what it took (`Pace`); None if that says nothing: it failed, or needed no request.
        """
        expected = self._expected.pop(call_id, 0.0)
        self._left = self._left - expected if self._expected else 0.0  # to the bit: floats leave a rest
        if seconds is not None and expected > 0:
            self._took += seconds
            self._said += expected

    @property
    def seconds_left(self) -> float:
        correction = self._took / self._said if self._said > 0 else 1.0
        return max(0.0, self._left) * correction


def estimate_text(found: Estimate) -> str:
    """`about 1 h 20 min: 240 calls (12 from the store), 3 checkpoint loads (times measured on this
    server)`."""
    stored = f" ({found.hits} from the store)" if found.hits else ""
    loads = [_counted(found.checkpoint_loads, "checkpoint load")]
    if found.vae_loads:
        loads.append(_counted(found.vae_loads, "VAE load"))
    if found.hits == found.calls:
        source = "nothing is rendered"
    elif found.known:
        source = "times measured on this server"
    elif found.measured:
        source = "times measured on this server for some stages, default times for others"
    else:
        source = "default times: nothing measured yet"
    counts = ", ".join([_counted(found.calls, "call") + stored, *loads])
    return f"{duration_text(found.seconds)}: {counts} ({source})"


def duration_text(seconds: float) -> str:
    """`about 40 s`, `about 12 min`, `about 1 h 20 min`, `about 2 d 3 h`: no more digits than it is good
    for."""
    if seconds < 1:
        return "less than a second"
    if seconds < 57.5:
        return f"about {round(seconds) if seconds < 20 else 5 * round(seconds / 5)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min"
    hours, minutes = divmod(5 * round(minutes / 5), 60)
    if hours < 48:
        return f"about {hours} h {minutes} min" if minutes else f"about {hours} h"
    days, hours = divmod(hours + round(minutes / 60), 24)
    return f"about {days} d {hours} h" if hours else f"about {days} d"


def _counted(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
