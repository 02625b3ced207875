"""The findings of the suite for people: what was injected, where the kills fell, what was found."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.suite import Findings

__all__ = ["report"]


def report(found: Findings) -> str:
    return "\n".join(_lines(found))


def _lines(found: Findings) -> Iterator[str]:
    yield f"{found.rounds} jobs in {found.seconds:.0f} s"
    for word, count in sorted(found.kills.items()):
        yield f"{count:5} kills: {word}"
    for word, count in sorted(found.server_kills.items()):
        yield f"{count:5} kills: {word}"
    kinds = dict.fromkeys(kind for kind, _ in found.faults)
    yield f"{sum(found.faults.values()):5} faults of the server: {', '.join(kinds)}"
    yield ""
    yield "Kills by how much of the job was done:"
    most = max(found.fell.values(), default=1)
    for tenth in range(10):
        count = found.fell[tenth]
        yield f"  {10 * tenth:3} to {10 * tenth + 10:3} % {count:4} {'#' * round(40 * count / most)}".rstrip()
    yield "Kills at places:"
    for place, count in sorted(found.at_places.items()):
        yield f"  {place:30} {count:4}"
    yield ""
    lost = len([line for line in found.wrong if "lost" in line or "is not done" in line])
    yield f"{found.images:5} images looked at, {lost} lost"
    yield f"{found.again:5} calls rendered again, of {found.in_flight} in flight; beyond: {found.beyond}"
    yield f"{len(found.wrong):5} things wrong"
    yield from (f"  {line}" for line in found.wrong)
