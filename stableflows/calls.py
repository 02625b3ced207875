"""Calls: the requests that a job's plans come to, and the next one from an output.

A call is the unit of work, of identity and of retry: one request for one stage. n images of an entry are
ceil(n / batch size) txt2img calls; each image then goes alone through the later stages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from stableflows.config import Txt2ImgConfig
from stableflows.config.base import Strict
from stableflows.entries import Entry
from stableflows.payload import SourceImage, StageRequest, Texts, build_request
from stableflows.stages import StageExecution, StageType

__all__ = ["FirstSeeds", "StageCall", "calls_of", "next_request"]


class StageCall(Strict):
    """One request to come.

    Attributes:
        call_id: `0001/txt2img/0`: entry from 1, stage type, index of the first image.
        entry: index of the entry, from 0.
        stage: index of the stage in the entry's plan.
        index: of the call's first image among the entry's, from 0.
        n: images it asks for.
        after: the call whose output it continues, and `take`, which image of that output.
        input: index of the entry's input image that it continues, if it is the first stage.
        label: what a person reads in a list of task runs.
        group: calls of one number need nothing loaded between them, and may overtake one another.
    """

    call_id: str
    entry: int
    stage: int
    stage_type: StageType
    index: int
    n: int = 1
    after: str | None = None
    take: int = 0
    input: int | None = None
    label: str
    group: int = 0


@dataclass(frozen=True)
class FirstSeeds:
    """Seeds with which an entry's first stage begins; None where it needs none."""

    seed: int | None = None
    subseed: int | None = None


def calls_of(entry: Entry) -> Iterator[StageCall]:
    """An entry's calls, each behind the one that it continues."""
    makers: list[tuple[str, int]] = []  # of each image: the call that makes it, and its place in that call
    for number, execution in enumerate(entry.plan):
        made: list[tuple[str, int]] = []
        for call in _stage_calls(entry, number, execution, makers):
            made += [(call.call_id, place) for place in range(call.n)]
            yield call
        makers = made


def _stage_calls(
    entry: Entry, number: int, execution: StageExecution, makers: Sequence[tuple[str, int]]
) -> Iterator[StageCall]:
    total = len(makers) if number else entry.count * max(1, len(entry.inputs))
    config = execution.config
    batch = config.batch_size if isinstance(config, Txt2ImgConfig) else 1
    for first in range(0, total, batch):
        n = min(batch, total - first)
        nth = f" {first // batch + 1}/{ceil(total / batch)}" if total > batch else ""
        after, take = makers[first] if number else (None, 0)
        yield StageCall(
            call_id=f"{entry.index + 1:04d}/{execution.stage_type}/{first}",
            entry=entry.index,
            stage=number,
            stage_type=execution.stage_type,
            index=first,
            n=n,
            after=after,
            take=take,
            input=first // entry.count if entry.inputs and not number else None,
            label=f"{entry.index + 1:04d} {entry.title[:48]} · {execution.stage_type}{nth}",
        )


def next_request(
    execution: StageExecution,
    texts: Texts,
    *,
    first: FirstSeeds = FirstSeeds(),
    source: SourceImage | None = None,
    variant: int = 0,
    n: int = 1,
) -> StageRequest:
    """The next request from a stage and the output before it. Every run goes through here.

    Args:
        first: the entry's seeds, for its first stage; a later stage takes its config's, else the seed of
            the image that it continues.
        source: the image to continue, None for txt2img.
        variant: which of the entry's seeds (seed + variant) the call begins with.
        n: images to ask for.
    """
    config = execution.generation
    if config is None:
        return build_request(execution, texts, source=source)
    seed = first.seed if first.seed is not None else config.seed
    if seed is None and source is not None:
        seed, variant = source.seed, 0
    subseed = first.subseed if first.subseed is not None else config.subseed
    # The WebUI counts up the variation seed instead of the seed where there is a variation.
    if config.subseed_strength and subseed is not None:
        subseed += variant
    elif seed is not None and first.seed is not None:
        seed += variant
    return build_request(execution, texts, seed=seed, subseed=subseed, n=n, source=source)
