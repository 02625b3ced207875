"""The order of the tests, and who runs which."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

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


class ByFile(LoadFileScheduling):
    """A file goes to one worker, those of the queue all to the same: each worker would start a queue."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "tests/queue" if file.startswith("tests/queue/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)
