"""Ten thousand entries are held once while they are rendered, and no longer when the run is written up."""

import gc
import signal
from pathlib import Path
from typing import Any

import pytest
from prefect.context import FlowRunContext

from flows import render
from stableflows.closing import close
from stableflows.entries import Entry
from stableflows.executor import execute
from stableflows.results import BatchResult
from stableflows.sandbox import run_sandbox
from tests.flows.conftest import RunningServer
from tests.flows.ran import run_command

PACK = """
name: Held
config: {txt2img: {width: 64, height: 64, steps: 1}, upscale: {enabled: true}}
entries: [{prompt: a brig}, {prompt: a yawl}]
"""


def held() -> int:
    """Entries of the pack that anything keeps."""
    gc.collect()
    return sum(isinstance(thing, Entry) and thing.item.name == "Held" for thing in gc.get_objects())


@pytest.mark.usefixtures("one_at_a_time")
def test_entries_are_held_once(
    running_server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, int] = {}

    async def counted_execute(*arguments: Any, **options: Any) -> None:
        found["rendering"] = held()
        await execute(*arguments, **options)

    def counted_close(*arguments: Any, **options: Any) -> Any:
        context = FlowRunContext.get()
        found["results at Prefect"] = len(context.run_results) if context else -1
        found["closing"] = held()
        return close(*arguments, **options)

    def counted_repr(_: BatchResult) -> str:
        found["made a text of"] += 1
        return ""

    found["made a text of"] = 0
    monkeypatch.setattr(BatchResult, "__repr__", counted_repr)
    # With this handler, as in a terminal, `asyncio.run` makes a repr of what its coroutine returned.
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.setattr(render, "execute", counted_execute)
    monkeypatch.setattr(render, "close", counted_close)
    (tmp_path / "held.yaml").write_text(PACK)
    with run_sandbox() as sandbox:
        ran = run_command(
            str(tmp_path / "held.yaml"),
            "--server",
            sandbox.url,
            root=tmp_path / "out",
            prefect=running_server,
        )
    assert ran.code == 0, ran.err
    assert found == {"rendering": 2, "results at Prefect": 0, "closing": 0, "made a text of": 0}
