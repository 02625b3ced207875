"""Is the estimate right? Learnt on one job, judged on others of another mix, in real time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, prompt
from benchmarks.processes import ours, process
from benchmarks.servers import Sandbox, sandbox
from benchmarks.timing import SCALED

__all__ = ["estimates"]

BASE, OTHER, THIRD = "sandbox_base_v1", "sandbox_portrait_v2", "sandbox_anime_xl"
FACE = {"enabled": True, "units": [{"ad_model": "face_yolov8n.pt"}]}


def estimates(bench: Bench) -> None:
    """Told by `--plan` beforehand against what the run took."""
    n = bench.sizes.learnt
    out = bench.place("out")
    learnt = _entries(0, n, checkpoints=(BASE, OTHER), steps=(8, 16, 24), adetailer=True)
    mixes = {
        "one checkpoint, more steps, no ADetailer": _entries(
            100, n, checkpoints=(OTHER,), steps=(12, 30), adetailer=False
        ),
        "three checkpoints, fewer steps, ADetailer": _entries(
            200, n, checkpoints=(OTHER, THIRD, BASE), steps=(6, 10), adetailer=True
        ),
    }
    worst, shown = 0.0, []
    with sandbox(SCALED) as server:
        ours(server, bench.pack({}, learnt), out, bench.prefect_url, name="learnt")
        for mix, entries in mixes.items():
            pack = bench.pack({}, entries)
            told = _told(bench, server, pack, out)
            took = ours(server, pack, out, bench.prefect_url, name="judged").wall
            worst = max(worst, abs(told / took - 1))
            shown.append(f"{told:.1f} s for {took:.1f} s ({mix})")
    text = f"{worst:.0%}: {'; '.join(shown)}"
    bench.figure("estimate of a mix that it was not learnt on, off by", worst * 100, 15, text, "%")


def _entries(
    first: int, n: int, *, checkpoints: tuple[str, ...], steps: tuple[int, ...], adetailer: bool
) -> list[dict[str, Any]]:
    return [
        {
            "prompt": prompt(number),
            "config": {
                "checkpoint": checkpoints[number % len(checkpoints)],
                "txt2img": {
                    "width": 512,
                    "height": 512 + 256 * (number % 2),
                    "steps": steps[number % len(steps)],
                },
                **({"adetailer": FACE} if adetailer else {}),
            },
        }
        for number in range(first, first + n)
    ]


def _told(bench: Bench, server: Sandbox, pack: Path, out: Path) -> float:
    command = ["-m", "flows.run", str(pack), "--server", server.url, "--out", str(out), "--plan", "--json"]
    return float(json.loads(process(command, bench.place("plan")).said)["seconds"])
