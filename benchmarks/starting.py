"""How long until the first request leaves, and how long what needs no server takes."""

from __future__ import annotations

from statistics import median

from benchmarks.bench import Bench, prompt
from benchmarks.processes import ours, process
from benchmarks.servers import sandbox
from benchmarks.timing import NO_TIME

__all__ = ["commands", "start_up", "start_up_alone"]

TRIVIAL = ["-m", "benchmarks.peers.trivial_flow"]


def start_up(bench: Bench) -> None:
    """With a Prefect server that runs."""
    _compared(bench, "server running", bench.prefect_url, 1.3, bench.sizes.starts)


def start_up_alone(bench: Bench) -> None:
    """Without one: ours starts its own, Prefect its ephemeral one."""
    _compared(bench, "none running", None, 0.7, bench.sizes.own_server_starts)


def _compared(bench: Bench, case: str, url: str | None, goal: float, times: int) -> None:
    pack = bench.pack({"txt2img": {"width": 64, "height": 64, "steps": 2}}, [{"prompt": prompt(0)}])
    environment = {"PREFECT_API_URL": url} if url else {}
    mine, theirs = [], []
    with sandbox(NO_TIME) as server:
        for _ in range(times):  # in turns, for the machine is not the same from minute to minute
            mine.append(ours(server, pack, bench.place("out"), url).start_up)
            theirs.append(process(TRIVIAL, bench.place("trivial"), **environment).seconds)
    ratio = median(mine) / median(theirs)
    shown = f"{ratio:.2f} ({median(mine):.1f} s, the trivial flow {median(theirs):.1f} s)"
    bench.figure(f"start-up to the first request, {case}, over Prefect's trivial flow", ratio, goal, shown)


def commands(bench: Bench) -> None:
    """`--help` and `--plan`."""
    n = bench.sizes.planned
    pack = bench.pack({}, [{"prompt": prompt(number)} for number in range(n)])
    out = bench.place("out")
    cases = {
        "imports": ["-c", "import cyclopts, pydantic"],
        "help": ["-m", "flows.run", "--help"],
        "plan": ["-m", "flows.run", str(pack), "--plan", "--out", str(out)],
    }
    took: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(bench.sizes.starts):
        for name, command in cases.items():
            took[name].append(process(command, bench.place(name)).seconds)
    imports, helped, planned = (median(took[name]) for name in cases)
    shown = f"{helped / imports:.2f} ({helped:.2f} s and {imports:.2f} s)"
    bench.figure('`--help` over `python -c "import cyclopts, pydantic"`', helped / imports, 3, shown)
    bench.figure(f"`--plan` of {n:,} entries", planned, 2, f"{planned:.2f} s", "s")
