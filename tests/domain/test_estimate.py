"""The estimate: learnt on one job and judged on others, on the sandbox's own idea of what takes time.

The sandbox runs on a clock of its own here: its waits (steps, loads) are added up instead of slept, so that a
machine that is busy with something else changes nothing. What overlaps with depth 2 follows from them: the
server renders one call after the other, and encodes outside its lock. The same on a real clock is in
`benchmarks/`.
"""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from stableflows.calls import FirstSeeds, StageCall, next_request
from stableflows.durations import Pace, Times
from stableflows.entries import Entry
from stableflows.estimate import Countdown, Estimate, duration_text, estimate, estimate_text
from stableflows.loads import Loaded, Weights
from stableflows.payload import SourceImage
from stableflows.sandbox import SandboxSettings, run_sandbox
from stableflows.sandbox.webui import WebUI
from stableflows.schedule import schedule
from stableflows.work import Work, work_of
from tests.domain.schedule_cases import detailed, entries_of, extras, first, second

BASE, PORTRAIT, ANIME = "sandbox_base_v1", "sandbox_portrait_v2", "sandbox_anime_xl"
START = Weights(BASE)
ENCODING = 0.2
LOADING = 6.0


class Clock:
    """A sandbox whose waits are added up."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.seconds = 0.0

    def render(self, entries: Sequence[Entry], calls: Sequence[StageCall]) -> list[float]:
        """Send the calls one by one: the seconds that each has kept the server's lock."""
        images: dict[str, list[str]] = {}
        seconds = []
        for call in calls:
            before = self.seconds
            images[call.call_id] = self._send(entries[call.entry], call, images)
            seconds.append(self.seconds - before)
        return seconds

    def _send(self, entry: Entry, call: StageCall, images: dict[str, list[str]]) -> list[str]:
        source = None
        if call.after:
            data = images[call.after][call.take]
            with Image.open(io.BytesIO(base64.b64decode(data))) as image:
                source = SourceImage(data, image.size, seed=7)
        execution = entry.plan.stages[call.stage]
        request = next_request(execution, entry.texts, first=FirstSeeds(7), source=source, n=call.n)
        answer = self.http.post(request.path, json=request.body).raise_for_status().json()
        return answer.get("images") or [answer["image"]]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    settings = SandboxSettings(step_seconds=0.05, load_seconds=LOADING)
    with run_sandbox(settings) as sandbox, httpx.Client(base_url=sandbox.url, timeout=60) as http:
        clock = Clock(http)

        def sleep(_: WebUI, seconds: float, *, heed_interrupt: bool = True) -> None:
            clock.seconds += seconds

        monkeypatch.setattr(WebUI, "sleep", sleep)
        yield clock


Ran = list[tuple[StageCall, float, float]]
"""Calls with the times at which each left and at which its images were there."""


def timeline(calls: Sequence[StageCall], seconds: Sequence[float], depth: int) -> Ran:
    """How the calls run: the server renders one after the other and encodes outside its lock; a call leaves
    when fewer than `depth` are at the server and the one that it continues is done."""
    free_at, ends, done_at = 0.0, [0.0] * depth, {"": 0.0}
    ran: Ran = []
    for call, taken in zip(calls, seconds, strict=True):
        leaves = max(sorted(ends)[-depth], done_at[call.after or ""])
        free_at = max(free_at, leaves) + taken
        done_at[call.call_id] = free_at + ENCODING
        ends.append(free_at + ENCODING)
        ran.append((call, leaves, free_at + ENCODING))
    return ran


def sized(width: int, height: int, steps: int, **more: Any) -> dict[str, Any]:
    return {"width": width, "height": height, "steps": steps, **more}


def typical(n: int) -> tuple[Entry, ...]:
    """What is learnt on: two checkpoints, three sizes, extras and ADetailer."""
    plans = []
    for i in range(n):
        checkpoint = [BASE, PORTRAIT][i % 2]
        size = [sized(128, 128, 20), sized(192, 128, 28), sized(192, 192, 24)][i // 2 % 3]
        plans.append([first(checkpoint, **size), extras(), detailed(checkpoint)])
    return entries_of(*plans)


JUDGED: dict[str, Callable[[], tuple[Entry, ...]]] = {
    "other steps, sizes and shares": lambda: entries_of(
        *(
            [[first(BASE, **sized(160, 128, 36))]] * 9
            + [[first(PORTRAIT, **sized(128, 192, 12)), extras()]] * 3
        )
    ),
    "hires": lambda: entries_of(
        *[[first(BASE, **sized(192, 192, 24), hires={"enabled": True, "scale": 1.5})]] * 6
    ),
    "img2img, never seen": lambda: entries_of(
        *[[first(PORTRAIT, **sized(128, 128, 20)), second(BASE), detailed(BASE)]] * 6
    ),
    "a third checkpoint and a refiner": lambda: entries_of(
        *(
            [[first(ANIME, **sized(128, 128, 20)), extras()]] * 5
            + [[first(BASE, ANIME, **sized(128, 128, 30))]] * 4
        )
    ),
    "batches": lambda: entries_of(*[[first(PORTRAIT, **sized(128, 128, 20), batch_size=4)]] * 4, count=4),
}


def learn(times: Times, entries: Sequence[Entry], ran: Ran) -> None:
    calls = [call for call, _, _ in ran]
    loaded = estimate(calls, entries, times, loaded=START).loaded
    pace = Pace()
    events = [(leaves, 1, call) for call, leaves, _ in ran] + [(done, 0, call) for call, _, done in ran]
    for at, leaves, call in sorted(events, key=lambda event: event[:2]):
        if leaves:
            pace.sent(call.call_id, at)
        else:
            seconds, alone = pace.ended(call.call_id, at)
            times.learn(call, entries[call.entry], seconds, loaded=loaded[call.call_id], alone=alone)


def test_learnt_on_one_job_it_tells_others_within_15_percent(clock: Clock, tmp_path: Path) -> None:
    learnt = typical(12)
    calls = schedule(learnt, loaded=START)
    seconds = clock.render(learnt, calls)
    for depth in (1, 2):
        times = Times.load(tmp_path, f"server {depth}")
        learn(times, learnt, timeline(calls, seconds, depth))
        times.save()
    warm = entries_of([first(BASE, **sized(64, 64, 1))])
    for name, job in JUDGED.items():
        clock.render(warm, schedule(warm))
        entries = job()
        calls = schedule(entries, loaded=START)
        seconds = clock.render(entries, calls)
        for depth in (1, 2):
            times = Times.load(tmp_path, f"server {depth}")
            told = estimate(calls, entries, times, loaded=START, depth=depth).seconds
            took = timeline(calls, seconds, depth)[-1][2]
            assert told == pytest.approx(took, rel=0.15), f"{name}, depth {depth}"


def card(rng: random.Random, work: Work, loaded: Loaded) -> float:
    """What a real card takes, roughly: most of it grows with the pixels, nothing is exact, some calls
    stall."""
    seconds = 0.6 + 0.02 * work.steps + 0.42 * work.megapixel_steps + 0.5 * work.megapixels
    if not work.steps:
        seconds = 1.2 + 9.0 * work.megapixels
    seconds += 14.0 * len(loaded.checkpoints)
    return seconds * rng.uniform(0.95, 1.05) * (8.0 if rng.random() < 0.03 else 1.0)


def test_the_same_with_times_that_grow_with_the_pixels() -> None:
    """Against a model of timing: the sandbox's steps take the same whatever the size."""
    rng = random.Random(5)  # noqa: S311
    times = Times()
    sizes = [(768, 1024, 30), (1024, 1024, 26), (832, 1216, 36), (512, 768, 20)]
    plans = [
        [first("AB"[n % 2], **sized(*sizes[n // 2 % 4])), extras(), detailed("AB"[n % 2])] for n in range(24)
    ]
    learnt = entries_of(*plans)
    calls = schedule(learnt, loaded=Weights("A"))
    for call in calls:
        loaded = estimate(calls, learnt, times, loaded=Weights("A")).loaded[call.call_id]
        times.learn(
            call, learnt[call.entry], card(rng, work_of(call, learnt[call.entry]), loaded), loaded=loaded
        )
    judged = entries_of(
        *[[first("B", **sized(1024, 1536, 30)), detailed("B")]] * 8,
        *[[first("A", "B", **sized(640, 640, 25)), extras()]] * 5,
        *[[first("A", **sized(512, 512, 20, hires={"enabled": True, "scale": 2.0}))]] * 5,
    )
    calls = schedule(judged, loaded=Weights("A"))
    found = estimate(calls, judged, times, loaded=Weights("A"))
    calm = random.Random(6)  # noqa: S311
    took = 0.0
    for call in calls:
        work = work_of(call, judged[call.entry])
        took += min(card(calm, work, found.loaded[call.call_id]) for _ in range(3))  # none that stalls
    assert found.seconds == pytest.approx(took, rel=0.15)
    assert times.load_seconds == pytest.approx(14, rel=0.1)


# -- what is kept


def test_what_was_measured_is_kept_for_a_server_by_its_identity(tmp_path: Path) -> None:
    entries = entries_of([first("A", **sized(512, 512, 20))])
    [call] = schedule(entries)
    times = Times.load(tmp_path, "http://one")
    for seconds in (3.0, 3.2, 300.0, 3.1):
        times.learn(call, entries[0], seconds)
    times.save()
    work = work_of(call, entries[0])
    assert [file.parent.name for file in tmp_path.rglob("*.json")] == ["times"]
    again = Times.load(tmp_path, "http://one")
    assert again.seconds(work) == times.seconds(work) == pytest.approx(3.15, rel=0.02)
    assert again.knows("txt2img")
    assert not again.knows("adetailer")
    assert not Times.load(tmp_path, "http://two").knows("txt2img")


@pytest.mark.parametrize("content", ["", "{", "[1]", '[{"kind": "txt2img"}]', '{"a": 1}', "null"])
def test_a_file_that_cannot_be_read_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    entries = entries_of([first("A")])
    [call] = schedule(entries)
    times = Times.load(tmp_path, "s")
    times.learn(call, entries[0], 5.0)
    times.save()
    [file] = tmp_path.rglob("*.json")
    file.write_text(content)
    assert Times.load(tmp_path, "s").seconds(work_of(call, entries[0])) == Times().seconds(
        work_of(call, entries[0])
    )


def test_the_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    times = Times.load(tmp_path, "s")
    for n in range(450):
        entries = entries_of([first("A", **sized(512, 64 + 8 * n, 20))])
        times.learn(schedule(entries)[0], entries[0], 1.0)
    times.save()
    [file] = tmp_path.rglob("*.json")
    assert file.stat().st_size < 120_000


def test_the_pace_of_calls_adds_up_to_the_run() -> None:
    pace = Pace()
    pace.sent("a", 0.0)
    pace.sent("b", 0.1)  # waits at the server
    assert pace.ended("a", 2.0) == (2.0, True)
    pace.sent("c", 2.1)
    assert pace.ended("b", 3.5) == (1.5, False)
    assert pace.ended("c", 6.0) == (2.5, False)
    pace.sent("d", 6.5)
    assert pace.ended("d", 7.0) == (1.0, True)
    pace.sent("e", 7.0)
    pace.forget("e")  # it failed
    pace.sent("f", 20.0)
    assert pace.ended("f", 21.0) == (1.0, True)


# -- what is told


def told(entries: Sequence[Entry], **more: Any) -> Estimate:
    return estimate(schedule(entries, loaded=Weights("A")), entries, Times(), loaded=Weights("A"), **more)


def test_counts_and_defaults() -> None:
    entries = entries_of(*[[first("A"), extras()], [first("B"), extras()]] * 3)
    found = told(entries)
    assert (found.calls, found.hits, found.checkpoint_loads, found.vae_loads) == (12, 0, 1, 0)
    assert not found.known
    assert sum(found.by_call.values()) == pytest.approx(found.seconds)
    assert told(entries, depth=1).seconds > found.seconds  # encoding is waited for


def test_hits_cost_nothing() -> None:
    entries = entries_of([first("A")], [first("B")])
    found = told(entries, hits={"0002/txt2img/0"})
    assert (found.calls, found.hits, found.checkpoint_loads) == (2, 1, 0)
    assert found.by_call["0002/txt2img/0"] == 0
    everything = told(entries, hits={"0001/txt2img/0", "0002/txt2img/0"})
    assert everything.seconds == 0


def test_a_run_that_is_slower_than_expected_corrects_what_is_left() -> None:
    found = told(entries_of(*[[first("A")]] * 40))
    each = found.seconds / 40
    left = Countdown(found)
    assert left.seconds_left == pytest.approx(found.seconds)
    ended = list(found.by_call)
    for call_id in ended[:20]:
        left.ended(call_id, each * 2)
    assert 1.7 * 20 * each < left.seconds_left < 2 * 20 * each
    for call_id in ended[20:39]:
        left.ended(call_id)  # failed: it says nothing of the time
    assert left.seconds_left < 2 * each
    left.ended(ended[39], each)
    assert left.seconds_left == 0


def test_an_estimate_in_words() -> None:
    shown = Estimate(
        calls=240,
        hits=12,
        checkpoint_loads=3,
        vae_loads=0,
        seconds=4790,
        known=True,
        measured=True,
        by_call={},
        loaded={},
    )
    assert estimate_text(shown) == (
        "about 1 h 20 min: 240 calls (12 from the store), 3 checkpoint loads (times measured on this server)"
    )
    guessed = replace(shown, known=False, measured=False, hits=0, calls=1, checkpoint_loads=1, seconds=18.2)
    assert (
        estimate_text(guessed)
        == "about 18 s: 1 call, 1 checkpoint load (default times: nothing measured yet)"
    )
    assert "some stages" in estimate_text(replace(shown, known=False))
    assert "1 VAE load" in estimate_text(replace(shown, vae_loads=1))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "less than a second"),
        (1, "about 1 s"),
        (43, "about 45 s"),
        (59.9, "about 1 min"),
        (61, "about 1 min"),
        (59 * 60, "about 59 min"),
        (59.7 * 60, "about 1 h"),
        (3600 * 1.99, "about 2 h"),
        (3600 * 30, "about 30 h"),
        (3600 * 49, "about 2 d 1 h"),
    ],
)
def test_a_duration_in_words(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
