"""A run taken up again: what of it is done, and stays done."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stableflows.calls import StageCall
from stableflows.results import CallRecord, ImageRecord, StageOutput
from stableflows.run.chains import latest
from stableflows.run.files import link_or_copy
from stableflows.run.folder import RunFolder
from stableflows.run.plan_record import PlanRecord
from stableflows.store import Store

__all__ = ["Continued"]


@dataclass(frozen=True)
class Continued:
    """An earlier run that goes on in its own folder, by its recorded plan.

    Attributes:
        retry: make again what failed, too.
    """

    folder: RunFolder
    plan: PlanRecord
    retry: bool = False

    def done(
        self, calls: Sequence[StageCall], store: Store, say: Callable[[str], None]
    ) -> dict[str, StageOutput | None]:
        """The calls that need not be made, by their id, with what they brought; None for those that failed.

        An image that is no longer in the run's folder is taken from the store; one that is nowhere as it was
        is made again, which is said.
        """
        records = latest(self.folder.calls())
        done: dict[str, StageOutput | None] = {}
        for call in calls:
            record = records.get(call.call_id)
            if record is None or record.status == "cancelled":
                continue
            if record.status == "error":
                if not self.retry:
                    done[call.call_id] = None
            elif record.output and len(record.output.images) == call.n and self._is_whole(record, store, say):
                done[call.call_id] = record.output
        return done

    def _is_whole(self, record: CallRecord, store: Store, say: Callable[[str], None]) -> bool:
        for image in record.output.images if record.output else ():
            if not self._there(image, store):
                say(f"Warning: {image.path} is gone or was changed; it is made again")
                return False
        return True

    def _there(self, image: ImageRecord, store: Store) -> bool:
        file = self.folder.root / image.path
        if _sha256(file) == image.sha256:
            return True
        stored = store.image_file(image.sha256, file.suffix)
        if file.exists() or _sha256(stored) != image.sha256:
            return False
        file.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(stored, file)
        return True


def _sha256(file: Path) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None
