"""The queue's priorities; apart from the queue, for `--help` names them."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Priority"]


class Priority(StrEnum):
    """Work queues of the pool, the first to go first."""

    URGENT = "urgent"
    DEFAULT = "default"
    NIGHTLY = "nightly"
