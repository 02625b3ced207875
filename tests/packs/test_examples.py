"""The example packs are what the docs say they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stableflows.config import PipelineConfig
from stableflows.config.base import named_fields
from stableflows.config.layers import merge
from stableflows.job import RunConfig
from stableflows.packs import read_sources
from stableflows.sequencer import StageSequencer
from stableflows.stages import StageType
from stableflows.webui.kinds import NameKind
from tests.packs.conftest import Write

ROOT = Path(__file__).parents[2]
PACKS, DOCS = ROOT / "packs", ROOT / "docs"

SANDBOX = {
    NameKind.CHECKPOINT: {"sandbox_base_v1", "sandbox_portrait_v2", "sandbox_anime_xl"},
    NameKind.UPSCALER: {"R-ESRGAN 4x+", "Lanczos"},
    NameKind.HIRES_UPSCALER: {"R-ESRGAN 4x+", "Latent"},
    NameKind.AD_MODEL: {"face_yolov8n.pt", "hand_yolov8n.pt"},
    NameKind.SAMPLER: {"Euler", "Euler a", "DPM++ 2M"},
    NameKind.SCHEDULER: {"Karras", "Automatic"},
}


def configs(name: str) -> list[PipelineConfig]:
    source = read_sources([PACKS / name])
    assert source.warnings == ()
    return [
        merge([*source.pipeline, *pack.layers, *entry.layers])
        for pack in source.packs
        for entry in pack.entries
    ]


def test_the_demo_uses_everything() -> None:
    demo = configs("demo.yaml")
    plans = [StageSequencer().build_plan(config) for config in demo]
    assert len(demo) >= 6
    assert {stage for plan in plans for stage in plan.get_stage_types()} == set(StageType)
    assert any(list(plan.get_stage_types()) == list(StageType) for plan in plans)
    assert any(config.txt2img.hires.enabled for config in demo)
    assert any(config.txt2img.refiner.enabled for config in demo)
    assert any(config.adetailer.enabled and len(config.adetailer.units) == 2 for config in demo)
    assert {config.checkpoint for config in demo} == {"sandbox_base_v1", "sandbox_portrait_v2"}
    assert any(config.count > 1 for config in demo)


@pytest.mark.parametrize("name", ["demo.yaml", "demo.csv", "../deployments/nightly.json"])
def test_every_name_is_one_of_the_sandbox(name: str) -> None:
    used = [each for config in configs(name) for each in named_fields(config)]
    assert used
    for field, kind, value in used:
        assert value in SANDBOX[kind], field


def test_every_entry_of_the_nightly_job_renders() -> None:
    nightly = configs("../deployments/nightly.json")
    assert len(nightly) == len(configs("demo.yaml")) + len(configs("demo.txt")) + 1
    assert all(StageSequencer().build_plan(config).has_generation_stage() for config in nightly)
    run_config = read_sources([PACKS / "../deployments/nightly.json"]).run_config
    assert run_config is not None
    assert RunConfig.read(run_config).source == "schedule"


def test_the_text_demo_is_three_entries_with_its_embeddings_as_tags() -> None:
    (pack,) = read_sources([PACKS / "demo.txt"]).packs
    assert [bool(entry.negative_prompt) for entry in pack.entries] == [True, True, False]
    assert pack.entries[0].negative_prompt == "text, watermark, <embedding:easynegative_sb>"
    assert "(<embedding:sharp_sb>:0.87)" in pack.entries[1].prompt


EXAMPLES = re.findall(
    r"^```(yaml|json|csv|prompts)\n(.*?)^```", (DOCS / "packs.md").read_text("utf-8"), re.M | re.DOTALL
)
assert EXAMPLES


@pytest.mark.parametrize(("suffix", "text"), EXAMPLES)
def test_every_example_of_the_docs_is_read(write: Write, suffix: str, text: str) -> None:
    write("a.txt", "a\n")
    write("portraits/b.yaml", "entries: [b]\n")
    write("keepers/c.png", b"\x89PNG")
    text = text.replace('"a.txt', '"../a.txt').replace('"portraits', '"../portraits')
    source = read_sources([write(f"here/example.{suffix}", text)])
    for pack in source.packs:
        for entry in pack.entries:
            merge([*source.pipeline, *pack.layers, *entry.layers])
    assert source.packs
    if source.run_config:
        RunConfig.read(source.run_config)
