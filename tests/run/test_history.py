"""The history, and the run's own log."""

from __future__ import annotations

import json
import logging
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from stableflows.results import RunStatus
from stableflows.run import history
from stableflows.run.history import HistoryLine
from stableflows.run.runlog import Event, RunLog


def line(run_id: str, status: RunStatus = RunStatus.COMPLETED, **more: Any) -> HistoryLine:
    fields = {
        "job_id": "j",
        "timestamp": "2026-11-21T01:30:00+00:00",
        "run_mode": "direct",
        "source": "cli",
        "prompt_source": "pack",
    }
    return HistoryLine.model_validate({**fields, "run_id": run_id, "status": status, **more})


def test_a_line_has_the_published_fields(tmp_path: Path) -> None:
    history.append(tmp_path, line("a"))
    written = json.loads((tmp_path / "history.jsonl").read_text())
    published = (
        "job_id run_id flow_run_ids timestamp status error run_mode source prompt_source prompt_pack_id "
        "config_hash duration resumed result"
    )
    assert set(written) == set(published.split())


def test_the_last_line_of_a_run_counts(tmp_path: Path) -> None:
    history.append(tmp_path, line("a", RunStatus.CRASHED))
    history.append(tmp_path, line("b"))
    history.append(tmp_path, line("a", resumed=True, flow_run_ids=("1", "2")))
    assert [(one.run_id, one.status) for one in history.read(tmp_path)] == [
        ("b", RunStatus.COMPLETED),
        ("a", RunStatus.COMPLETED),
    ]
    assert history.last(tmp_path) == line("a", resumed=True, flow_run_ids=("1", "2"))


def test_no_history_is_empty(tmp_path: Path) -> None:
    assert history.read(tmp_path) == []
    assert history.last(tmp_path) is None


def test_a_line_that_is_none_is_skipped_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    history.append(tmp_path, line("a"))
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"run_id": "b", "status": "GREAT"}\n{"torn')
    history.append(tmp_path, line("c"))
    with caplog.at_level(logging.WARNING):
        assert [one.run_id for one in history.read(tmp_path)] == ["a", "c"]
    assert "status" in caplog.text


def test_a_later_versions_fields_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text(
        json.dumps({**line("a").model_dump(mode="json"), "new": 1}) + "\n"
    )
    assert history.read(tmp_path) == [line("a")]


def _append_many(root: Path, who: str, start: Any) -> None:
    start.wait()
    for number in range(50):
        history.append(root, line(f"{who}{number}", error="x" * 20_000))


def test_two_processes_append_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Event()
    writers = [context.Process(target=_append_many, args=(tmp_path, who, start)) for who in "ab"]
    for writer in writers:
        writer.start()
    start.set()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    runs = [one.run_id for one in history.read(tmp_path)]
    assert sorted(runs) == sorted(f"{who}{number}" for who in "ab" for number in range(50))
    for who in "ab":
        assert [run for run in runs if run.startswith(who)] == [f"{who}{number}" for number in range(50)]


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_events_reach_file_and_callback_alike(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    log = RunLog(tmp_path / "run.jsonl", heard.append)
    log.emit(Event.RUN_START, run_id="r", config_hash="c")
    log.emit(Event.EARLY_EXIT, reason="until", folder=Path("x"))
    assert heard == events(log.path)
    assert [event["event"] for event in heard] == ["run_start", "early_exit"]
    assert heard[1]["folder"] == "x"
    assert heard[0]["timestamp"].endswith("+00:00")


def test_a_callback_that_raises_is_logged_once_and_ends_nothing(tmp_path: Path) -> None:
    heard = []

    def guest(event: dict[str, Any]) -> None:
        heard.append(event)
        raise RuntimeError("no more" if event["event"] == "run_complete" else "not today")

    log = RunLog(tmp_path / "run.jsonl", guest)
    for event in (Event.RUN_START, Event.STAGE_START, Event.RUN_COMPLETE):
        log.emit(event)
    assert len(heard) == 3
    assert [(e["event"], e.get("error")) for e in events(log.path)] == [
        ("run_start", None),
        ("error", "RuntimeError: not today"),
        ("stage_start", None),
        ("run_complete", None),
        ("error", "RuntimeError: no more"),
    ]
