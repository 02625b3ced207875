"""When a call counts as stalled: by what it does, not by how long it takes. The clock is the test's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from stableflows.webui.models import Progress, TaskProgress
from stableflows.webui.server import StallLimits
from stableflows.webui.watch import Phase, QuietTimes, Sighting, Watch

LIMITS = StallLimits(sampling=60, loading=300, other=300)
ACTIVE, QUEUED, DONE = TaskProgress(active=True), TaskProgress(queued=True), TaskProgress(completed=True)
UNKNOWN = TaskProgress()


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Scene:
    """A watch with its clock."""

    quiet: QuietTimes = field(default_factory=QuietTimes)
    steps_expected: bool = True
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.watch = Watch(LIMITS, self.quiet, steps_expected=self.steps_expected, clock=self.clock)

    def after(
        self, seconds: float, progress: Progress | None, task: TaskProgress | None, oldest: bool = True
    ) -> Phase:
        self.clock.now += seconds
        return self.watch.see(Sighting(progress, task, oldest)).phase


def running(step: int, steps: int = 20, **state: Any) -> Progress:
    done = {"job": "scripts_txt2img", "job_count": 1, "sampling_step": step, "sampling_steps": steps}
    return Progress.model_validate({"progress": max(0.01, step / steps), "state": done | state})


IDLE = Progress()


def test_a_call_in_the_queue_never_stalls() -> None:
    scene = Scene()
    for _ in range(100):
        assert scene.after(1000, running(3), QUEUED) is Phase.QUEUED
        assert not scene.watch.stalled
    # Its own time counts from when it begins.
    assert scene.after(1, running(0), ACTIVE) is Phase.LOADING
    assert scene.watch.standing == 0


def test_sampling_may_stand_for_a_minute() -> None:
    scene = Scene()
    assert scene.after(1, running(5), ACTIVE) is Phase.SAMPLING
    scene.after(59, running(5), ACTIVE)
    assert not scene.watch.stalled
    scene.after(2, running(5), ACTIVE)
    assert scene.watch.stalled


def test_each_step_begins_a_new_minute() -> None:
    scene = Scene()
    for step in range(1, 19):
        assert scene.after(59, running(step), ACTIVE) is Phase.SAMPLING
        assert not scene.watch.stalled


def test_loading_may_stand_for_five() -> None:
    scene = Scene()
    assert scene.after(1, running(0), ACTIVE) is Phase.LOADING
    scene.after(299, running(0), ACTIVE)
    assert not scene.watch.stalled
    scene.after(2, running(0), ACTIVE)
    assert scene.watch.stalled


def test_after_the_last_step_come_vae_and_adetailer() -> None:
    scene = Scene()
    scene.after(1, running(18), ACTIVE)
    assert scene.after(1, running(19), ACTIVE) is Phase.OTHER
    scene.after(299, running(19), ACTIVE)
    assert not scene.watch.stalled
    scene.after(2, running(19), ACTIVE)
    assert scene.watch.stalled


def test_between_the_passes_of_hires_it_is_not_loading_again() -> None:
    scene = Scene()
    scene.after(1, running(18, job_count=2), ACTIVE)
    assert scene.after(1, running(0, job_count=2, job_no=1), ACTIVE) is Phase.OTHER
    assert scene.after(1, running(1, job_count=2, job_no=1), ACTIVE) is Phase.SAMPLING


def test_extras_have_no_steps_and_take_what_they_took() -> None:
    quiet = QuietTimes()
    first = Scene(quiet, steps_expected=False)
    assert first.after(1, IDLE, None) is Phase.OTHER
    first.after(200, IDLE, None)
    assert not first.watch.stalled
    first.watch.finished()
    second = Scene(quiet, steps_expected=False)
    second.after(1, IDLE, None)
    second.after(990, IDLE, None)
    assert not second.watch.stalled  # five times 200 s
    second.after(20, IDLE, None)
    assert second.watch.stalled


def test_without_task_ids_the_oldest_of_ours_is_the_one_that_runs() -> None:
    scene = Scene()
    assert scene.after(1, running(4), None, oldest=False) is Phase.QUEUED
    assert scene.after(1, running(4), None, oldest=True) is Phase.SAMPLING


def test_a_server_that_answers_no_look_stands_still_even_while_queued() -> None:
    scene = Scene()
    scene.after(1, running(4), QUEUED)
    assert scene.after(1, None, None) is Phase.SENT
    scene.after(299, None, None)
    assert not scene.watch.stalled
    scene.after(2, None, None)
    assert scene.watch.stalled


def test_a_task_that_the_server_does_not_know_yet_is_only_sent() -> None:
    scene = Scene()
    assert scene.after(1, running(9), UNKNOWN) is Phase.SENT
    assert scene.watch.state.step is None


def test_when_its_job_is_over_the_answer_is_being_encoded() -> None:
    scene = Scene()
    scene.after(1, running(9), ACTIVE)
    assert scene.after(1, IDLE, DONE) is Phase.OTHER


def test_steps_are_told_only_while_they_are_its_own() -> None:
    scene = Scene()
    scene.after(1, running(0, steps=99), ACTIVE)  # the count of the job before
    assert scene.watch.state.steps is None
    scene.after(1, running(3), ACTIVE)
    state = scene.watch.state
    assert (state.step, state.steps, state.seconds) == (3, 20, 2.0)


@pytest.mark.parametrize("name", ["sampling", "loading", "other", "interrupt"])
def test_limits_are_positive(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        StallLimits(**{name: 0})
