"""Which calls of a job the store has: told before the first request, by the keys of the calls alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stableflows.calls import StageCall
from stableflows.identity import CallIdentity
from stableflows.results import ImageRecord, StageOutput
from stableflows.store import Store, StoredImage, StoreRecord

__all__ = ["forecast_hits"]

Images = tuple[ImageRecord, ...] | tuple[StoredImage, ...]


def forecast_hits(
    calls: Iterable[StageCall],
    identity: CallIdentity,
    store: Store,
    done: Mapping[str, StageOutput | None] | None = None,
) -> frozenset[str]:
    """The ids of the calls that need no request, as far as the images' sizes tell; their SHA-256 is compared
    when they are taken.

    Args:
        calls: each behind the one that it continues.
        done: calls that an earlier part of the run has made.
    """
    brought: dict[str, Images] = {
        call_id: output.images for call_id, output in (done or {}).items() if output is not None
    }
    hits: set[str] = set()
    for call in calls:
        if done and call.call_id in done:
            continue
        if call.after is not None and call.after not in brought:
            continue
        before = brought[call.after][call.take] if call.after else None
        found = store.find(identity.key(call, identity.request(call, before)), whole=False)
        if isinstance(found, StoreRecord):
            hits.add(call.call_id)
            brought[call.call_id] = found.images
    return frozenset(hits)
