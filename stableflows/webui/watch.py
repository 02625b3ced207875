"""Is it still moving? The watch over one generating call: stall, not time.

A call may take hours, if it moves: reads are unbounded, and the server's progress is looked at instead. How
long it may stand still depends on what it does: sampling reports each step, loading a checkpoint reports
nothing, nor do extras, ADetailer and the VAE. A call that waits in the server's own queue never stalls.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from .models import Progress, TaskProgress
from .server import StallLimits

__all__ = ["CallState", "Phase", "QuietTimes", "Sighting", "Watch"]

_FACTOR_OF_OBSERVED = 5.0


class Phase(StrEnum):
    """Where a call is."""

    SENT = "sent"
    """On its way: the server has not been seen to know it."""
    QUEUED = "queued"
    """In the server's queue, behind another call."""
    LOADING = "loading"
    """Running, before its first step: checkpoint, LoRA and text encoder."""
    SAMPLING = "sampling"
    OTHER = "other"
    """Running without steps: extras, VAE, ADetailer, the pause before a hires pass."""

    @property
    def running(self) -> bool:
        return self in (Phase.LOADING, Phase.SAMPLING, Phase.OTHER)

    @property
    def at_server(self) -> bool:
        """The server has it: running, or in its queue."""
        return self is not Phase.SENT


@dataclass(frozen=True, slots=True)
class CallState:
    """What is known of a call that runs, for a progress display.

    Args:
        phase: where it is.
        progress: 0 to 1 of the running job, if it is ours.
        step, steps: of the sampler, as far as it reports them.
        seconds: since it was sent.
    """

    phase: Phase
    progress: float | None = None
    step: int | None = None
    steps: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """One look at the server.

    Args:
        progress: the running job of whomever; None if the server did not answer the look.
        task: our own task, where the server has task ids.
        oldest: no earlier call of ours is under way. Where there are no task ids, this decides whose job it
        is.
    """

    progress: Progress | None
    task: TaskProgress | None
    oldest: bool


@dataclass(slots=True)
class QuietTimes:
    """The longest time, in seconds, that calls which ended well stood without any sign; kept per server."""

    longest: float = 0.0

    def saw(self, seconds: float) -> None:
        self.longest = max(self.longest, seconds)


class Watch:
    """Follows one call from one sighting to the next.

    Args:
        limits: how long it may stand still in each phase.
        quiet: what earlier calls of this server took without a sign.
        steps_expected: the call has a sampler at all (extras have none).
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        limits: StallLimits,
        quiet: QuietTimes,
        *,
        steps_expected: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits, self._quiet, self._steps_expected, self._clock = limits, quiet, steps_expected, clock
        self._began = self._moved = clock()
        self._mark: tuple[object, ...] = ()
        self._quiet_here = 0.0
        self.state = CallState(Phase.SENT)

    def see(self, sighting: Sighting) -> CallState:
        """Takes a look into account."""
        now = self._clock()
        phase = self._phase(sighting)
        mark = _mark(phase, sighting)
        if mark != self._mark or phase is Phase.QUEUED:
            self._mark, self._moved = mark, now
        elif phase is Phase.OTHER:
            self._quiet_here = max(self._quiet_here, now - self._moved)
        self.state = _state(phase, sighting.progress, now - self._began)
        return self.state

    def finished(self) -> None:
        """The call ended well: what it took without a sign is what such calls take."""
        if self.state.phase is Phase.OTHER:
            self._quiet_here = max(self._quiet_here, self._clock() - self._moved)
        self._quiet.saw(self._quiet_here)

    @property
    def limit(self) -> float:
        """Seconds that the call may stand still where it is now."""
        if self.state.phase is Phase.SAMPLING:
            return self._limits.sampling
        if self.state.phase is Phase.OTHER:
            return max(self._limits.other, _FACTOR_OF_OBSERVED * self._quiet.longest)
        return self._limits.loading

    @property
    def standing(self) -> float:
        """Seconds since anything moved."""
        return self._clock() - self._moved

    @property
    def stalled(self) -> bool:
        return self.state.phase is not Phase.QUEUED and self.standing > self.limit

    def _phase(self, sighting: Sighting) -> Phase:
        progress, task = sighting.progress, sighting.task
        if progress is None:
            # It does not even answer a look: keep the phase, but never call this "queued", which would wait
            # for ever.
            return Phase.SENT if self.state.phase is Phase.QUEUED else self.state.phase
        if task is not None:
            if task.queued:
                return Phase.QUEUED
            if not task.active:
                return _phase_of_inactive(self.state.phase)
        elif not sighting.oldest:
            return Phase.QUEUED
        if not self._steps_expected:
            return Phase.OTHER
        return _phase_of_steps(progress, self.state.phase)


def _phase_of_inactive(before: Phase) -> Phase:
    """No job: either ours has not begun, or it is over and its answer is being encoded."""
    return Phase.OTHER if before in (Phase.SAMPLING, Phase.OTHER) else before


def _phase_of_steps(progress: Progress, before: Phase) -> Phase:
    state = progress.state
    if progress.idle:
        return _phase_of_inactive(before)
    if state.sampling_step <= 0:
        return Phase.LOADING if before in (Phase.SENT, Phase.QUEUED, Phase.LOADING) else Phase.OTHER
    # sampling_step counts from 0: after the last one come VAE and ADetailer, which report none.
    return Phase.SAMPLING if state.sampling_step < state.sampling_steps - 1 else Phase.OTHER


def _mark(phase: Phase, sighting: Sighting) -> tuple[object, ...]:
    """What changes when something moves."""
    if sighting.progress is None:
        return ("silent",)
    state = sighting.progress.state
    return (
        phase,
        sighting.progress.progress,
        state.job,
        state.job_no,
        state.job_count,
        state.job_timestamp,
        state.sampling_step,
        state.sampling_steps,
    )


def _state(phase: Phase, progress: Progress | None, seconds: float) -> CallState:
    if progress is None or not phase.running:
        return CallState(phase, seconds=seconds)
    if phase is not Phase.SAMPLING:
        return CallState(phase, progress.progress, seconds=seconds)  # its step count is still the last job's
    state = progress.state
    return CallState(phase, progress.progress, state.sampling_step, state.sampling_steps, seconds)
