"""The benchmarks work: each case runs, tiny, and yields its rows. No figure is judged here."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.__main__ import CASES
from benchmarks.bench import SMALL, Bench
from benchmarks.servers import prefect_server
from benchmarks.table import page_with, tables

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
ROWS = {
    "fast": 3,
    "usual": 3,
    "alternating": 3,
    "cost": 1,
    "many": 2,
    "starts": 1,
    "starts-alone": 1,
    "commands": 2,
    "hits": 4,
    "estimates": 1,
    "queue": 2,
}
"""How many figures each case yields."""
EVERY = "STABLEFLOWS_EVERY_BENCHMARK"
"""Set, all cases are run, which takes two minutes; else the one that has every kind of process in it."""
RUN = tuple(CASES) if os.environ.get(EVERY) else ("fast",)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    (folder / "prefect").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", "")  # which it sets itself: put back afterwards
        with prefect_server(folder / "prefect") as url:
            yield Bench(folder, url, SMALL)


def test_every_case_is_listed() -> None:
    assert list(CASES) == list(ROWS)


@pytest.mark.parametrize("case", RUN)
def test_a_case_yields_its_rows(bench: Bench, case: str) -> None:
    before = len(bench.figures)
    CASES[case](bench)
    found = bench.figures[before:]
    assert len(found) == ROWS[case]
    assert all(math.isfinite(figure.value) for figure in found)
    text = tables(bench.figures, bench.walls, load="0.0", took=60)
    assert all(figure.shown in text for figure in found)


def test_a_part_is_not_written_as_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main("fast", write=True) == command.main(small=True, write=True) == 2
    assert capsys.readouterr().err.count("--write") == 2


def test_a_case_that_fails_costs_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(_bench: Bench) -> None:
        raise RuntimeError("the peer is gone")

    def works(into: Bench) -> None:
        into.figure("what works", 1.0, 2.0)

    monkeypatch.setattr(command, "prefect_server", lambda _home: nullcontext("http://127.0.0.1:9"))
    for name, case in {"fast": breaks, "hits": works}.items():
        monkeypatch.setitem(CASES, name, case)
    assert command.main("fast", "hits") == 1
    said = capsys.readouterr()
    assert "**Not measured:** fast (RuntimeError)." in said.out
    assert "| what works | 1.00 | 2 | yes |" in said.out
    assert "the peer is gone" in said.err


def test_the_page_keeps_what_stands_around_the_tables(tmp_path: Path) -> None:
    page = ROOT / "docs" / "benchmarks.md"
    whole = page.read_text("utf-8")
    head, _, rest = whole.partition("<!-- benchmarks: begin -->")
    tail = rest.partition("<!-- benchmarks: end -->")[2]
    new = page_with("| new |", page)
    assert new.startswith(head)
    assert new.endswith(tail)
    assert "| new |" in new
    broken = tmp_path / "page.md"
    broken.write_text("no markers", "utf-8")
    with pytest.raises(ValueError, match="no block"):
        page_with("| new |", broken)
