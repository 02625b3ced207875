"""The schedule: as few loads as any order has, images finished early, neighbours independent."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import groupby, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stableflows import load_search
from stableflows import schedule as schedule_module
from stableflows.calls import StageCall, calls_of
from stableflows.durations import LOAD_SECONDS, Times
from stableflows.entries import Entry
from stableflows.loads import Loaded, Weights
from stableflows.schedule import schedule
from stableflows.stages import StageExecution, StageType
from stableflows.windows import fitting_window
from stableflows.work import work_of
from tests.domain.schedule_cases import detailed, entries_of, entry, extras, first, second
from tests.domain.schedule_exhaustive import fewest, needs, price_of

A = Weights("A")
ALL = 1000
"""A window that holds every job of these tests."""


def in_entry_order(entries: Sequence[Entry]) -> list[StageCall]:
    return [call for one in entries for call in calls_of(one)]


def loads(entries: Sequence[Entry], calls: Sequence[StageCall], at_start: Weights = A) -> int:
    return price_of(entries, calls, at_start)[0]


def ids(calls: Sequence[StageCall]) -> list[str]:
    return [call.call_id for call in calls]


# -- as few loads as any order has


def random_plan(rng: random.Random, checkpoints: str, vaes: Sequence[str | None]) -> list[StageExecution]:
    def name() -> str | None:
        return rng.choice([*checkpoints, None]) if rng.random() < 0.2 else rng.choice(checkpoints)

    base, vae = name(), rng.choice(vaes)
    refiner = rng.choice(checkpoints) if rng.random() < 0.35 else None
    plan = [first(base, refiner, vae, batch_size=rng.choice([1, 1, 2]))]
    if rng.random() < 0.1:
        hires = {"enabled": True, "checkpoint": rng.choice(checkpoints)}
        plan = [first(base, refiner, vae, hires=hires)]
    if rng.random() < 0.5:
        plan.append(second(name(), rng.choice(vaes)))
    if rng.random() < 0.3:
        plan.append(extras())
    if rng.random() < 0.5:
        units = [rng.choice([None, *checkpoints]) for _ in range(rng.choice([1, 1, 2]))]
        plan.append(detailed(name(), *units, vae=rng.choice(vaes)))
    return plan


def random_job(seed: int, most_calls: int = 9) -> tuple[Entry, ...]:
    rng = random.Random(seed)  # noqa: S311
    checkpoints = "ABCD"[: rng.randint(1, 4)]
    vaes: Sequence[str | None] = rng.choice([[None], [None], ["u", "v"], [None, "u"]])
    entries: list[Entry] = []
    plans = [random_plan(rng, checkpoints, vaes) for _ in range(rng.randint(1, 4))]
    while True:
        plan = rng.choice(plans)  # entries of one pack are alike
        one = entry(len(entries), plan, count=rng.choice([1, 1, 1, 2, 3]))
        if len(in_entry_order([*entries, one])) > most_calls:
            return tuple(entries)
        entries.append(one)


@pytest.mark.parametrize("hundred", range(8))
def test_no_order_has_fewer_loads(hundred: int) -> None:
    for seed in range(hundred * 100, hundred * 100 + 100):
        entries, start = random_job(seed), Weights("ABE"[seed % 3], ["", "u"][seed % 2])
        calls = schedule(entries, loaded=start, window=ALL)
        optimum = fewest(entries, in_entry_order(entries), start)
        assert price_of(entries, calls, start) == optimum, f"seed {seed}"


def test_the_search_says_when_a_job_is_too_much_for_it_and_keeps_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schedule_module, "SEARCH", 0)
    for seed in range(300):
        entries, start = random_job(seed), Weights("ABE"[seed % 3])
        calls = schedule(entries, loaded=start, window=ALL)
        best = fewest(entries, in_entry_order(entries), start)[0]
        most_stages = max(len(one.plan) for one in entries) if entries else 0
        assert price_of(entries, calls, start)[0] <= (most_stages + 2) * best + most_stages, f"seed {seed}"


def test_what_is_done_costs_nothing_and_comes_first() -> None:
    for seed in range(200):
        entries, rng = random_job(seed), random.Random(seed)  # noqa: S311
        everything = in_entry_order(entries)
        done: set[str] = set()
        for call in everything:
            if (call.after is None or call.after in done) and rng.random() < 0.4:
                done.add(call.call_id)
        calls = schedule(entries, loaded=Weights("A"), window=ALL, done=done)
        assert {call.call_id for call in calls[: len(done)]} == done
        assert price_of(entries, calls, Weights("A"), done) == fewest(entries, everything, Weights("A"), done)


def test_aliases_are_one_checkpoint() -> None:
    plans = [[first("model.safetensors")], [first("model")], [first("other")], [first("model")]]
    calls = schedule(
        entries_of(*plans), loaded=Weights("model"), canonical=lambda name: name.removesuffix(".safetensors")
    )
    assert ids(calls) == ["0001/txt2img/0", "0002/txt2img/0", "0004/txt2img/0", "0003/txt2img/0"]
    assert [call.group for call in calls] == [0, 0, 0, 1]


# -- what the order is like


def test_a_job_of_one_checkpoint_goes_by_entry_two_interleaved() -> None:
    calls = schedule(entries_of(*[[first(None), extras(), detailed(None)]] * 4))
    assert [call_id.removesuffix("/0") for call_id in ids(calls)] == [
        *("0001/txt2img", "0002/txt2img", "0001/upscale", "0002/upscale", "0001/adetailer", "0002/adetailer"),
        *("0003/txt2img", "0004/txt2img", "0003/upscale", "0004/upscale", "0003/adetailer", "0004/adetailer"),
    ]
    assert {call.group for call in calls} == {0}


def test_images_of_one_entry_interleave_too() -> None:
    calls = schedule(entries_of([first("A"), detailed("A")], count=2), loaded=Weights("A"))
    assert ids(calls) == ["0001/txt2img/0", "0001/txt2img/1", "0001/adetailer/0", "0001/adetailer/1"]


@pytest.mark.parametrize("n", [2, 3, 7])
def test_no_call_waits_for_the_one_just_before_it(n: int) -> None:
    calls = schedule(entries_of(*[[first("A", batch_size=2), extras(), detailed("A")]] * n, count=4))
    assert all(call.after != before.call_id for before, call in pairwise(calls))


def test_alternating_checkpoints_are_grouped_over_the_whole_job() -> None:
    entries = entries_of(*[[first(name), extras(), detailed(name)] for name in "AB" * 20])
    calls = schedule(entries, loaded=Weights("B"))
    assert loads(entries, calls, Weights("B")) == 1
    assert [name for name, _ in groupby("AB"[call.entry % 2] for call in calls)] == ["B", "A"]
    assert calls[4].stage == 2  # no window keeps finished images waiting


def test_stages_of_different_checkpoints_go_stage_by_stage_over_a_window() -> None:
    entries = entries_of(*[[first("A"), extras(), second("B")]] * 6)
    calls = schedule(entries, loaded=Weights("A"), window=3)
    assert [(call.entry < 3, call.stage == 2) for call in calls] == (
        [(True, False)] * 6 + [(True, True)] * 3 + [(False, False)] * 6 + [(False, True)] * 3
    )
    assert loads(entries, calls) == 3
    assert loads(entries, schedule(entries, loaded=Weights("A"), window=6)) == 1


def test_unlike_entries_do_not_share_a_window_where_that_costs_loads() -> None:
    entries = entries_of(*[[first("A"), second("B")], [first("C"), second("D")]] * 3)
    calls = schedule(entries, loaded=Weights("A"), window=3)
    assert [call.entry for call in calls] == [0, 2, 4, 0, 2, 4, 1, 3, 5, 1, 3, 5]
    assert loads(entries, calls) == 3


def test_the_entries_own_order_stands_where_windows_would_load_more() -> None:
    entries, start = random_job(10709, most_calls=14), Weights("E")
    calls = schedule(entries, loaded=start, window=1)
    assert ids(calls) == ids(in_entry_order(entries))
    assert price_of(entries, calls, start) == (8, 1)


def test_what_the_loaded_checkpoint_can_do_is_done_before_it_goes() -> None:
    entries = entries_of(*[[first("A"), second("B")]] * 3, [first("E"), extras()])
    calls = schedule(entries, loaded=Weights("E"), window=1)
    assert calls[0].entry == 3
    assert loads(entries, calls, Weights("E")) == 6


def test_a_window_is_so_wide_that_loading_is_a_tenth_of_the_time() -> None:
    assert fitting_window(loads=2, load_seconds=15, entry_seconds=30) == 9
    assert fitting_window(loads=2, load_seconds=0, entry_seconds=30) == 1
    assert fitting_window(loads=2, load_seconds=15, entry_seconds=0.3) == 240
    entries = entries_of(*[[first("A"), second("B")]] * 200)
    rendering = sum(Times().seconds(work_of(call, entries[0])) for call in calls_of(entries[0]))
    expected = fitting_window(2, LOAD_SECONDS, rendering)
    assert 1 < expected < 200
    calls = schedule(entries, loaded=Weights("A"))
    assert next(n for n, call in enumerate(calls) if call.stage == 1) == expected
    quick = Times()
    for call in calls[:3]:
        quick.learn(call, entries[0], 5.0)
    quick.learn(calls[0], entries[0], 7.0, loaded=Loaded(("A",)))
    assert quick.load_seconds == pytest.approx(2.0, rel=0.1)
    quickly = schedule(entries, loaded=Weights("A"), times=quick)
    assert next(n for n, call in enumerate(quickly) if call.stage == 1) < expected


def test_a_refiner_is_left_behind_and_others_use_it() -> None:
    # Each refiner call leaves R, so R's own entries are done there, and not for a load of their own.
    entries = entries_of([first("A", "R")], [first("R")], [first("A", "R")], [first("R")])
    calls = schedule(entries, loaded=Weights("A"))
    assert [call.entry for call in calls] == [0, 1, 3, 2]
    assert loads(entries, calls) == 3
    assert len({call.group for call in calls if call.entry in (0, 2)}) == 2  # nothing may overtake a refiner


def test_vaes_are_grouped_within_a_checkpoint() -> None:
    wanted = [("A", "u"), ("B", "u"), ("A", "v"), ("B", "v")] * 5
    entries = entries_of(*[[first(name, vae=vae)] for name, vae in wanted])
    calls = schedule(entries, loaded=Weights("A", "v"))
    assert price_of(entries, calls, ("A", "v")) == (1, 2)


def test_one_call_of_many_images_does_not_starve_the_others() -> None:
    calls = schedule(
        entries_of([first("A"), detailed("A")], [first("A"), detailed("A")]), loaded=Weights("B")
    )
    assert [call.entry for call in calls] == [0, 1, 0, 1]


def test_extras_fit_any_group() -> None:
    entries = entries_of(*[[first("A", "R"), extras()]] * 3)
    calls = schedule(entries, loaded=Weights("A"))
    assert [(call.entry, call.stage) for call in calls] == [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (2, 1)]
    assert loads(entries, calls) == 5


def test_nothing_to_do_is_an_empty_schedule() -> None:
    assert schedule(()) == ()


# -- what always holds

names = st.sampled_from(["A", "B", "C", None])
ORDER = list(StageType)
later = st.one_of(st.builds(second, names), st.just(extras()), st.builds(detailed, names, names))
plans = st.tuples(
    st.builds(first, names, st.sampled_from([None, None, "B", "R"]), st.sampled_from([None, "u"])),
    st.lists(later, max_size=3, unique_by=lambda stage: stage.stage_type),
).map(lambda parts: [parts[0], *sorted(parts[1], key=lambda stage: ORDER.index(stage.stage_type))])
jobs = st.lists(plans, min_size=1, max_size=14).map(lambda found: entries_of(*found, count=2))


@settings(max_examples=150, deadline=None)
@given(jobs, st.integers(1, 8), st.sampled_from(["", "A", "B", "Z"]))
def test_whatever_the_job(entries: tuple[Entry, ...], window: int, start: str) -> None:
    calls = schedule(entries, loaded=Weights(start), window=window)
    unscheduled = in_entry_order(entries)
    # Every call once, and otherwise as it was.
    by_id = {call.call_id: call.model_copy(update={"group": 0}) for call in calls}
    assert len(calls) == len(by_id)
    assert by_id == {call.call_id: call for call in unscheduled}
    # Behind the call that it continues.
    place = {call.call_id: n for n, call in enumerate(calls)}
    assert all(call.after is None or place[call.after] < place[call.call_id] for call in calls)
    # Never worse than the entries' own order, and the same again.
    assert price_of(entries, calls, (start, "")) <= price_of(entries, unscheduled, (start, ""))
    assert schedule(entries, loaded=Weights(start), window=window) == calls
    # Groups are numbered in order, and within one nothing is loaded between calls, in whatever order they go.
    assert all(now.group <= then.group for now, then in pairwise(calls))
    for _, group in groupby(calls, key=lambda call: call.group):
        needed = [passed for call in group if (passed := needs(entries[call.entry], call, (start, "")))]
        assert (
            len({held for passed in needed for held in (passed[0], passed[-1])} if len(needed) > 1 else {0})
            == 1
        )


@settings(max_examples=60, deadline=None)
@given(jobs)
def test_a_wider_window_never_holds_back_less_than_it_says(entries: tuple[Entry, ...]) -> None:
    """Entries that are begun and not done, at any time, of those that a window bounds: at most the window."""
    calls = schedule(entries, loaded=Weights("A"), window=2)
    several = {
        one.index
        for one in entries
        if len({held for call in calls_of(one) for held in needs(one, call, ("A", ""))}) > 1
    }
    left = {one.index: sum(call.entry == one.index for call in calls) for one in entries}
    total = dict(left)
    weighted = {call.call_id for call in calls if needs(entries[call.entry], call, ("A", ""))}
    for call in calls:
        left[call.entry] -= 1
        open_entries = {
            other.entry
            for other in calls
            if other.call_id in weighted
            and other.entry in several
            and 0 < left[other.entry] < total[other.entry]
        }
        # One more: the last extras of a window may be done within the next, which costs nothing.
        assert len(open_entries) <= 2 + 2


def test_ten_thousand_entries_take_no_longer_an_entry_than_a_hundred() -> None:
    """Counted in work, not in seconds, which this machine cannot promise. Measured: see docs/schedule.md."""
    looked_at: list[int] = []
    original = load_search._Search._least

    def counting(self: load_search._Search, node: load_search._Node) -> int:
        looked_at.append(1)
        return original(self, node)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load_search._Search, "_least", counting)
        entries = entries_of(
            *[[first("AB"[n % 2], "R"), extras(), detailed("AB"[n % 2], "A")] for n in range(1000)]
        )
        calls = schedule(entries, window=20)
    assert len(calls) == 3000
    assert len(looked_at) < 5000  # alike windows are searched once
