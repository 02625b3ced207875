"""How the tests are divided among the workers of pytest-xdist (`--dist loadgroup`)."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
SLOW = ("queue", "faults", "flows", "benchmarks")
"""Folders whose tests take longest: they begin first, so that no worker is left with them at the end."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests share its fixtures and stay on one worker; so do all that share the one queue."""
    for item in items:
        queue = "queue" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("queue" if queue else str(item.path.relative_to(HERE))))
        if queue:
            item.add_marker(pytest.mark.queue)
    items.sort(key=_begins)


def _begins(item: pytest.Item) -> int:
    folder = item.path.relative_to(HERE).parts[0]
    return SLOW.index(folder) if folder in SLOW else len(SLOW)
