"""The order of the tests, and which of them need a queue."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SLOW = ("queue", "faults", "flows", "benchmarks")
"""Folders whose tests take longest: they begin first, so that no worker is left with them at the end."""


def pytest_configure() -> None:
    """What a script starts in the background ignores Ctrl-C, and so would every run that a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "queue" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.queue)
    items.sort(key=_begins)


def _begins(item: pytest.Item) -> int:
    folder = item.path.relative_to(HERE).parts[0]
    return SLOW.index(folder) if folder in SLOW else len(SLOW)
