"""Prefect's database stays bounded: what is older than prefect.toml says goes, what is younger stays."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows.up_state import running
from tests.queue.conftest import Queue, eventually, processes_of

AGE = """
update flow_run set end_time = datetime('now', '-31 days') where name = 'old';
update events set occurred = datetime('now', '-4 days') where resource_id = 'old';
update event_resources set occurred = datetime('now', '-4 days') where resource_id = 'old';
"""


def event(name: str) -> dict[str, Any]:
    return {
        "occurred": datetime.now(UTC).isoformat(),
        "event": "stableflows.test",
        "resource": {"prefect.resource.id": name},
        "id": f"00000000-0000-4000-8000-00000000000{len(name)}",
    }


@pytest.mark.queue
@pytest.mark.timeout(300)
def test_old_runs_and_events_are_deleted(tmp_path: Path) -> None:
    """As the queue's server does it every hour; here every second."""
    queue = Queue(tmp_path / "home", "", tmp_path)
    up = queue.command("up", PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS="1")
    assert up.returncode == 0, up.stderr
    try:
        state = running(queue.home)
        assert state
        queue = Queue(queue.home, state.url, tmp_path)
        flow = queue.api("/flows/", {"name": "test"})["id"]
        for name in ("old", "young"):
            run = {"flow_id": flow, "name": name, "state": {"type": "COMPLETED"}}
            flow_run = queue.api("/flow_runs/", run)["id"]
            line = {"name": "test", "level": 20, "message": name, "timestamp": datetime.now(UTC).isoformat()}
            queue.api("/logs/", [{**line, "flow_run_id": flow_run}])
        queue.api("/events", [event("old"), event("young")])

        def names(select: str) -> list[str]:
            with closing(sqlite3.connect(queue.home / "prefect.db", timeout=30)) as database:
                return [name for (name,) in database.execute(select)]

        events = "select resource_id from events where event = 'stableflows.test' order by 1"
        eventually(lambda: names(events) == ["old", "young"], "the events are not in the database")
        with closing(sqlite3.connect(queue.home / "prefect.db", timeout=30)) as database:
            database.executescript(AGE)
        for select in (events, "select name from flow_run", "select message from log where name = 'test'"):
            eventually(lambda select=select: names(select) == ["young"], select)  # type: ignore[misc]
    finally:
        down = queue.command("down")
    assert down.returncode == 0, down.stderr
    assert processes_of(queue.home) == []
