"""The demo pack, every call of it, on a sandbox of each flavour, through the stage runner."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stableflows.arrangement import arrange
from stableflows.durations import Times
from stableflows.executor import execute
from stableflows.identity import CallIdentity
from stableflows.preflight import preflight
from stableflows.request import Prepared, RenderRequest, prepare
from stableflows.results import StageOutput
from stableflows.run.folder import RunFolder
from stableflows.sandbox import SandboxSettings, run_sandbox
from stableflows.sandbox.settings import FlavourName
from stableflows.settling import settle
from stableflows.stage_runner import StageRunner
from stableflows.store import Store
from stableflows.timekeeping import Timekeeper
from stableflows.webui.client import WebUIClient
from stableflows.webui.server import ServerConfig

DEMO = Path(__file__).parents[2] / "packs" / "demo.yaml"
FLAVOURS: tuple[FlavourName, ...] = ("a1111", "forge", "api-only", "sdnext")


@dataclass(frozen=True)
class Rendered:
    job: Prepared
    outputs: Mapping[str, StageOutput]
    requests: tuple[tuple[str, Mapping[str, Any]], ...]
    options_before: Mapping[str, Any]
    options_after: Mapping[str, Any]


async def render(
    url: str, job: Prepared, root: Path, *, depth: int = 2
) -> tuple[dict[str, StageOutput], Any, Any]:
    async with WebUIClient(ServerConfig(base_url=url, poll_seconds=0.05)) as client:
        before = await client.options()
        server = await preflight(client, job.entries, root=root, say=lambda line: None)
        entries = settle(job.entries, server.options)
        server.will_override(entries)
        times = Times()
        calls, cost = arrange(entries, server, times, done=(), window=None)
        runner = StageRunner(
            client=client,
            identity=CallIdentity(entries, server),
            images=job.images,
            folder=RunFolder.create(root, "demo", "0" * 8, datetime.now(UTC)),
            store=Store(root),
            depth=depth,
            cancel=asyncio.Event(),
            stop=asyncio.Event(),
            on_state=lambda call, state: None,
            time=Timekeeper(cost, times, entries),
        )
        outputs: dict[str, StageOutput] = {}

        async def run_call(call: Any, source: Any) -> StageOutput:
            outputs[call.call_id] = await runner.run(call, source)
            return outputs[call.call_id]

        await execute(calls, run_call, stop=asyncio.Event(), depth=depth, ahead=2)
        await server.changes.put_back(client, print)
        return outputs, before, await client.options()


@pytest.fixture(scope="module", params=FLAVOURS)
def demo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    job = prepare(RenderRequest(packs=(str(DEMO),)))
    settings = SandboxSettings(flavour=request.param, step_seconds=0, load_seconds=0)
    with run_sandbox(settings) as sandbox:
        root = tmp_path_factory.mktemp(request.param)
        outputs, before, after = asyncio.run(render(sandbox.url, job, root))
        sent = tuple((entry.path, entry.body) for entry in sandbox.generating())
    return Rendered(job, outputs, sent, before, after)


@pytest.fixture
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["demo"])


def test_every_call_renders_and_verifies(demo: Rendered) -> None:
    assert demo.outputs
    assert set(demo.outputs) == {call.call_id for call in demo.job.calls}
    assert sum(len(output.images) for output in demo.outputs.values()) == sum(c.n for c in demo.job.calls)
    assert len({image.sha256 for output in demo.outputs.values() for image in output.images}) == sum(
        len(output.images) for output in demo.outputs.values()
    )


def test_the_last_images_are_as_large_as_the_plan_says(demo: Rendered) -> None:
    sizes = {
        (call.entry, image.width, image.height)
        for call in demo.job.calls
        if call.stage == len(demo.job.entries[call.entry].plan) - 1
        for image in demo.outputs[call.call_id].images
    }
    assert {(width, height) for _, width, height in sizes} == {
        (1024, 1024),  # lighthouse, harbour, dunes
        (960, 672),  # tide pools
        (768, 768),  # ink, night
        (896, 1152),  # keeper
        (720, 960),  # evening
    }


def test_only_forge_is_sent_what_only_forge_needs(demo: Rendered, flavour: str) -> None:
    hires = [body for path, body in demo.requests if path.endswith("/txt2img") and body.get("enable_hr")]
    assert hires
    assert all(
        ("hr_additional_modules" in body) is (flavour == "forge" and bool(body.get("enable_hr")))
        for _, body in demo.requests
    )


def test_only_sdnext_details_by_its_own_detailer(demo: Rendered, flavour: str) -> None:
    details = [body for path, body in demo.requests if path == "/sdapi/v1/detail"]
    units = [body for _, body in demo.requests if "ADetailer" in (body.get("alwayson_scripts") or {})]
    assert (len(details), len(units)) == ((2, 0) if flavour == "sdnext" else (0, 2))
    unverified = [note for output in demo.outputs.values() for note in output.unverified]
    assert any(note.startswith("detailer face_yolov8n") for note in unverified) is (flavour == "sdnext")


def test_the_refiner_and_the_second_pass_are_done(demo: Rendered, flavour: str) -> None:
    images = [image.infotext for output in demo.outputs.values() for image in output.images]
    assert any("Refiner: sandbox_portrait_v2" in text for text in images)
    latent = "Latent Bilinear" if flavour == "sdnext" else "Latent"
    assert any(f"Hires upscaler: {latent}," in text for text in images)
    word = "Sampler sigma: karras" if flavour == "sdnext" else "Schedule type: Karras"
    assert sum(word in text for text in images) >= len(demo.job.entries) - 1
    warned = {note for output in demo.outputs.values() for note in output.warnings}
    assert any(note.startswith("refiner: SD.Next") for note in warned) is (flavour == "sdnext")


def test_the_server_is_left_as_it_was(demo: Rendered) -> None:
    # The hash follows what is loaded; no client sets it.
    changed = {name for name in demo.options_after if demo.options_after[name] != demo.options_before[name]}
    assert changed <= {"sd_checkpoint_hash"}


PORTRAITS = """
config:
  txt2img: { enabled: true, width: 128, height: 128, steps: 2 }
  adetailer: { enabled: true, steps: 3 }
entries:
  - { prompt: a face, config: { checkpoint: sandbox_base_v1 } }
  - { prompt: a face, config: { checkpoint: sandbox_portrait_v2 } }
  - { prompt: a face, config: { checkpoint: sandbox_anime_xl } }
"""


@pytest.mark.parametrize("depth", [1, 2])
def test_sdnext_details_with_the_checkpoint_of_its_entry(tmp_path: Path, depth: int) -> None:
    """Its detailer takes the one that is loaded, while another call may ask for another one."""
    (tmp_path / "portraits.yaml").write_text(PORTRAITS)
    job = prepare(RenderRequest(packs=(str(tmp_path / "portraits.yaml"),)))
    mixed = replace(job, calls=tuple(sorted(job.calls, key=lambda call: (call.stage, call.entry))))
    settings = SandboxSettings(flavour="sdnext", step_seconds=0.005, load_seconds=0)
    with run_sandbox(settings) as sandbox:
        outputs, _, _ = asyncio.run(render(sandbox.url, mixed, tmp_path / "out", depth=depth))
    details = [outputs[call.call_id].images[0].sha256 for call in mixed.calls if call.stage == 1]
    assert details == expected_details(settings, tmp_path, job)


def expected_details(settings: SandboxSettings, root: Path, job: Prepared) -> list[str]:
    """What each entry looks like when it is rendered alone, on a server of its own."""
    found = []
    for entry in job.entries:
        calls = tuple(call for call in job.calls if call.entry == entry.index)
        with run_sandbox(settings) as sandbox:
            alone = replace(job, calls=calls)
            outputs, _, _ = asyncio.run(render(sandbox.url, alone, root / "alone"))
        found.append(outputs[calls[-1].call_id].images[0].sha256)
    return found
