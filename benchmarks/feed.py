"""Does the GPU wait for us? Walls against peers, and how often a checkpoint is loaded."""

from __future__ import annotations

from typing import Any

from benchmarks.bench import Bench, prompt, request
from benchmarks.processes import ours, peer
from benchmarks.servers import sandbox
from benchmarks.timing import FAST, SCALED, STEPS, USUAL, Timing

__all__ = ["alternating", "fast_model", "usual_model"]

SIZE = 1024
BASE, OTHER, REFINER = "sandbox_base_v1", "sandbox_portrait_v2", "sandbox_anime_xl"
PEERS = {
    "sequential": "(a) httpx loop",
    "naive_prefect": "(b) naive Prefect flow",
    "webuiapi_loop": "(c) webuiapi loop",
}


def fast_model(bench: Bench) -> None:
    """60 calls of 0.3 s, whose encoding takes 0.2 s."""
    _walls(bench, FAST, "fast model", PEERS, of_a=0.75, of_optimum=1.05, idle=5.0)


def usual_model(bench: Bench) -> None:
    """60 calls of 2 s."""
    _walls(bench, USUAL, "2 s a call", {"sequential": PEERS["sequential"]}, of_a=0.97)


def _walls(
    bench: Bench,
    timing: Timing,
    case: str,
    peers: dict[str, str],
    *,
    of_a: float,
    of_optimum: float | None = None,
    idle: float | None = None,
) -> None:
    n = bench.sizes.walls
    named = f"{n} calls, {case}"
    optimum = n * timing.call + timing.encode
    entries = [{"prompt": prompt(number)} for number in range(n)]
    pack = bench.pack({"checkpoint": BASE, "txt2img": _txt2img()}, entries)
    chains = [[["txt2img", request(number, SIZE, BASE)]] for number in range(n)]
    with sandbox(timing) as server:
        mine = ours(server, pack, bench.place("out"), bench.prefect_url)
        bench.wall(named, "Stableflows", mine.wall, optimum)
        walls = {}
        for module, who in peers.items():
            server.restart()
            walls[module] = peer(server, module, chains, bench.place(module), bench.prefect_url).wall
            bench.wall(named, who, walls[module], optimum)
    a = walls["sequential"]
    bench.figure(f"wall, {named}, over (a)", mine.wall / a, of_a, f"{mine.wall / a:.3f}")
    over = mine.wall / optimum
    bench.figure(f"wall, {named}, over the optimum", over, of_optimum, f"{over:.3f}")
    shown = f"{mine.idle * 1000:.1f} ms; {mine.waited:.0%} of the calls waited"
    bench.figure(f"server idle between two calls, {case}, median", mine.idle * 1000, idle, shown, "ms")


def alternating(bench: Bench) -> None:
    """40 entries alternating between two checkpoints, a refiner on a third, ADetailer on the first."""
    n = bench.sizes.alternating
    named = f"{n} alternating entries"
    unit = {"ad_model": "face_yolov8n.pt", "ad_denoising_strength": 0.4}
    config = {
        "txt2img": {**_txt2img(), "refiner": {"enabled": True, "checkpoint": REFINER, "switch_at": 0.8}},
        "adetailer": {"enabled": True, "checkpoint": BASE, "steps": STEPS, "units": [unit]},
    }
    checkpoints = [(BASE, OTHER)[number % 2] for number in range(n)]
    entries = [
        {"prompt": prompt(number), "config": {"txt2img": {"checkpoint": checkpoint}}}
        for number, checkpoint in enumerate(checkpoints)
    ]
    pack = bench.pack(config, entries)
    chains = [
        [
            ["txt2img", request(number, SIZE, name, refiner_checkpoint=REFINER, refiner_switch_at=0.8)],
            ["img2img", _adetailer(number, unit)],
        ]
        for number, name in enumerate(checkpoints)
    ]
    # The refiner ends each txt2img call, so each needs two loads, but for the first, whose base is there; and
    # ADetailer, which may ride along wherever its checkpoint is loaded anyway, needs one after the last.
    bound = 2 * n
    # ADetailer on a finished image, at the sandbox: one step that is thrown away, and one for the face.
    steps = STEPS + 2
    optimum = n * steps * SCALED.call / STEPS + bound * SCALED.load + SCALED.encode
    with sandbox(SCALED) as server:
        mine = ours(server, pack, bench.place("out"), bench.prefect_url)
        bench.wall(named, "Stableflows", mine.wall, optimum, mine.loads)
        for module in ("sequential", "naive_prefect"):
            server.restart()
            found = peer(server, module, chains, bench.place(module), bench.prefect_url)
            bench.wall(named, PEERS[module], found.wall, optimum, found.loads)
            over = mine.wall / found.wall
            bench.figure(f"wall, {named}, over {PEERS[module][:3]}", over, 1.0, f"{over:.3f}")
    bench.figure(f"checkpoint loads, {named}", mine.loads, bound, f"{mine.loads}, lower bound {bound}")


def _txt2img() -> dict[str, Any]:
    return {"width": SIZE, "height": SIZE, "steps": STEPS, "sampler": "Euler"}


def _adetailer(number: int, unit: dict[str, Any]) -> dict[str, Any]:
    """ADetailer on a finished image, as one asks for it at the API."""
    body = request(number, SIZE, BASE, denoising_strength=0.4)
    body["alwayson_scripts"] = {"ADetailer": {"args": [True, True, unit]}}
    return body
