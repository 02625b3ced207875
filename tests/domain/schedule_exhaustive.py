"""The fewest loads of a job by trying everything: written apart from the schedule, as a check on it.

Dijkstra over (which calls are sent, what the server holds). It shares nothing with `stableflows.schedule`:
needs are read from the configs here, every call is one of its own, and nothing is called alike or skipped.
It is exponential in the number of calls.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence
from typing import Any

from stableflows.calls import StageCall
from stableflows.entries import Entry
from stableflows.stages import StageType

Held = tuple[str, str]
Price = tuple[int, int]


def needs(entry: Entry, call: StageCall, at_start: Held) -> list[Held]:
    """The weights that a call passes through."""
    stage = entry.plan.stages[call.stage]
    config: Any = stage.config
    if stage.stage_type is StageType.UPSCALE and config.mode == "extras":
        return []
    checkpoint, vae = config.checkpoint or at_start[0], config.vae or at_start[1]
    passed = [(checkpoint, vae)]
    if stage.stage_type is StageType.TXT2IMG:
        if config.hires.enabled and config.hires.checkpoint:
            passed.append((config.hires.checkpoint, vae))
        if config.refiner.enabled:
            passed.append((config.refiner.checkpoint, vae))
    if stage.stage_type is StageType.ADETAILER:
        passed += [(unit.ad_checkpoint or checkpoint, unit.ad_vae or vae) for unit in config.units]
    return passed


def price(held: Held, passed: Sequence[Held]) -> tuple[Price, Held]:
    checkpoints = vaes = 0
    for wanted in passed:
        if wanted[0] != held[0]:
            checkpoints += 1
        elif wanted[1] != held[1]:
            vaes += 1
        held = wanted
    return (checkpoints, vaes), held


def price_of(
    entries: Sequence[Entry], calls: Sequence[StageCall], at_start: Held, done: Collection[str] = ()
) -> Price:
    """Loads of checkpoints and of VAEs, if the calls are sent in this order."""
    held, checkpoints, vaes = at_start, 0, 0
    for call in calls:
        if call.call_id not in done:
            (more, more_vaes), held = price(held, needs(entries[call.entry], call, at_start))
            checkpoints, vaes = checkpoints + more, vaes + more_vaes
    return checkpoints, vaes


def fewest(
    entries: Sequence[Entry], calls: Sequence[StageCall], at_start: Held, done: Collection[str] = ()
) -> Price:
    """The fewest loads of checkpoints of all orders, and of those the fewest loads of VAEs."""
    number = {call.call_id: n for n, call in enumerate(calls)}
    passed = [[] if call.call_id in done else needs(entries[call.entry], call, at_start) for call in calls]
    before = [1 << number[call.after] if call.after else 0 for call in calls]
    everything = (1 << len(calls)) - 1
    queue: list[tuple[Price, int, Held]] = [((0, 0), 0, at_start)]
    settled: set[tuple[int, Held]] = set()
    while queue:
        paid, sent, held = heapq.heappop(queue)
        if sent == everything:
            return paid
        if (sent, held) in settled:
            continue
        settled.add((sent, held))
        for n in range(len(calls)):
            if not sent >> n & 1 and before[n] & sent == before[n]:
                more, then = price(held, passed[n])
                heapq.heappush(queue, ((paid[0] + more[0], paid[1] + more[1]), sent | 1 << n, then))
    raise AssertionError("some call continues one that is not there")
