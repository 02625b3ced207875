"""Which calls of a job the store has: told before the first request, by the keys of the calls alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stableflows.calls import StageCall
from stableflows.identity import CallIdentity
from stableflows.results import ImageRecord, StageOutput
from stableflows.store import Store, StoredImage, StoreRecord

__all__ = ["Forecast", "forecast"]

Images = tuple[ImageRecord, ...] | tuple[StoredImage, ...]


@dataclass(frozen=True)
class Forecast:
    """What the store has of a job.

    Attributes:
        hits: ids of the calls that need no request, as far as the images' sizes tell; their SHA-256 is
            compared when they are taken.
        needs_hashes: more may be hits, if the server told the hashes of its LoRAs and embeddings.
    """

    hits: frozenset[str] = frozenset()
    needs_hashes: bool = False


def forecast(
    calls: Iterable[StageCall],
    identity: CallIdentity,
    store: Store,
    done: Mapping[str, StageOutput | None] | None = None,
) -> Forecast:
    """Look up every call of which it is known what it continues.

    Args:
        calls: each behind the one that it continues.
        done: calls that an earlier part of the run has made.
    """
    brought: dict[str, Images] = {
        call_id: output.images for call_id, output in (done or {}).items() if output is not None
    }
    hits: set[str] = set()
    needs_hashes = False
    for call in calls:
        if done and call.call_id in done:
            continue
        if call.after is not None and call.after not in brought:
            continue
        before = brought[call.after][call.take] if call.after else None
        request = identity.request(call, before)
        found = store.find(identity.key(call, request), whole=False)
        if isinstance(found, StoreRecord):
            hits.add(call.call_id)
            brought[call.call_id] = found.images
        elif not needs_hashes and identity.lacks_hashes(request):
            name_key = identity.name_key(call, request)
            needs_hashes = name_key is not None and store.knows_name(name_key)
    return Forecast(frozenset(hits), needs_hashes)
