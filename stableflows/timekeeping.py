"""The time of one run: what its calls took is learnt, and how long the rest takes is told."""

from __future__ import annotations

from collections.abc import Sequence

from stableflows.calls import StageCall
from stableflows.durations import Pace, Times
from stableflows.entries import Entry
from stableflows.estimate import Countdown, Estimate

__all__ = ["Timekeeper"]


class Timekeeper:
    """Between the calls of a run and what is known of its server's speed."""

    def __init__(self, estimate: Estimate, times: Times, entries: Sequence[Entry]) -> None:
        self.estimate = estimate
        self._times, self._entries = times, entries
        self._pace = Pace()
        self._countdown = Countdown(estimate)

    def sent(self, call: StageCall) -> None:
        """A call leaves for the server."""
        self._pace.sent(call.call_id)

    def answered(self, call: StageCall) -> float:
        """A call was answered: the seconds that the server took for it."""
        seconds, alone = self._pace.ended(call.call_id)
        loaded = self.estimate.loaded.get(call.call_id)
        if loaded is not None:  # else it was to be a hit, and its image was damaged
            self._times.learn(call, self._entries[call.entry], seconds, loaded=loaded, alone=alone)
        self._countdown.ended(call.call_id, seconds)
        return seconds

    def unanswered(self, call: StageCall) -> None:
        """A call failed, or needed no request."""
        self._pace.forget(call.call_id)
        self._countdown.ended(call.call_id)

    @property
    def seconds_left(self) -> float:
        return self._countdown.seconds_left

    def save(self) -> None:
        """Keep what was learnt, for the plans and runs to come.

        Raises:
            OSError: it cannot be written.
        """
        self._times.save()
