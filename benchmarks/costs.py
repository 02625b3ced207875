"""What we cost where the server takes no time, with few entries and with very many; and what a hit costs."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.bench import Bench, prompt
from benchmarks.processes import ours, process
from benchmarks.servers import sandbox
from benchmarks.timing import NO_TIME

__all__ = ["hits", "many_entries", "own_cost"]


def own_cost(bench: Bench) -> None:
    """A call's cost in time over Prefect's own."""
    n = bench.sizes.own_cost
    pack = _pack(bench, n, 512)
    with sandbox(NO_TIME) as server:
        ours(server, _pack(bench, 2, 512), bench.place("out"), bench.prefect_url)  # warm
        mine = ours(server, pack, bench.place("out"), bench.prefect_url)
    told = process(
        ["-m", "benchmarks.peers.bare_tasks", str(n)], bench.place("bare"), PREFECT_API_URL=bench.prefect_url
    )
    bare = float(json.loads(told.said.splitlines()[-1])["seconds"]) * 1000
    cost = mine.wall / n * 1000
    shown = f"{cost:.1f} ms; the bare task {bare:.1f} ms"
    bench.figure(
        "own cost a call, 512x512, over Prefect's bare async task", cost - bare, 30, shown, "ms more"
    )


def many_entries(bench: Bench) -> None:
    """Does a call cost more in a large job? And the memory of one."""
    costs = {}
    for n in bench.sizes.many:
        with sandbox(NO_TIME) as server:
            mine = ours(server, _pack(bench, n, 64), bench.place("out"), bench.prefect_url)
        costs[n] = mine.wall / n * 1000
        peak = mine.process.peak
        bench.say(f"  {n} entries: {costs[n]:.1f} ms a call, start-up {mine.start_up:.1f} s, {peak:.0f} MB")
    few, many = bench.sizes.many
    ratio = costs[many] / costs[few]
    shown = f"{ratio:.2f} ({costs[many]:.1f} and {costs[few]:.1f} ms, 64x64)"
    bench.figure(f"cost a call at {many:,} entries over that at {few:,}", ratio, 1.15, shown)
    bench.figure(f"peak memory at {many:,} entries", peak, 350, f"{peak:.0f} MB", "MB")


def hits(bench: Bench) -> None:
    """A job that was rendered before, and what a change to it costs."""
    n = bench.sizes.hits
    config: dict[str, Any] = {
        "checkpoint": "sandbox_base_v1",
        "txt2img": {"width": 64, "height": 64, "steps": 2},
        "img2img": {"enabled": True, "steps": 2},
        "upscale": {"enabled": True, "upscaler": "Lanczos", "factor": 2},
    }
    other = {**config, "upscale": {**config["upscale"], "upscaler": "R-ESRGAN 4x+"}}
    entries = [{"prompt": prompt(number)} for number in range(n)]
    more = [*entries, *({"prompt": prompt(number)} for number in range(n, n + 3))]
    out = bench.place("out")
    with sandbox(NO_TIME) as server:

        def run(pack_config: dict[str, Any], pack_entries: list[dict[str, Any]], name: str) -> Any:
            pack = bench.pack(pack_config, pack_entries)
            return ours(server, pack, out, bench.prefect_url, name=name)

        first = run(config, entries, "first")
        alone = run(config, entries[:1], "one")
        again = run(config, entries, "again")
        changed = run(other, entries, "changed")
        added = run(config, more, "added")
    calls = 3 * n
    # Start-up is what the same command takes for one entry that is there already.
    cost = (again.process.seconds - alone.process.seconds) / (calls - 3) * 1000
    shown = (
        f"{cost:.1f} ms; {again.process.seconds:.1f} s for {calls} hits, {alone.process.seconds:.1f} s for 3"
    )
    bench.figure("a hit, on top of start-up", cost, 20, shown, "ms")
    bench.say(f"  first run: {first.process.seconds:.1f} s, {len(first.requests)} requests")
    for what, found, goal in (
        (f"requests of a {n}-entry, three-stage job run again", again, 0),
        ("the same with another upscaler", changed, n),
        ("the same with three entries added", added, 9),
    ):
        paths = sorted({str(request["path"]).rsplit("/", 1)[-1] for request in found.requests})
        shown = f"{len(found.requests)} {' '.join(paths)}".strip()
        bench.figure(what, abs(len(found.requests) - goal) + goal, goal, shown)


def _pack(bench: Bench, n: int, size: int) -> Any:
    config = {
        "checkpoint": "sandbox_base_v1",
        "txt2img": {"width": size, "height": size, "steps": 2, "sampler": "Euler"},
    }
    return bench.pack(config, [{"prompt": prompt(number)} for number in range(n)])
