"""Settings in one line."""

from __future__ import annotations

from typing import Any

import pytest

from stableflows.run.describe import stage_settings
from stableflows.run.plan_record import PlannedStage
from stableflows.sequencer import StageSequencer

TXT2IMG = {
    "enabled": True,
    "sampler": "DPM++ 2M",
    "scheduler": "Karras",
    "steps": 30,
    "cfg_scale": 6.5,
    "width": 1024,
    "height": 1408,
    "checkpoint": "sdxl/juggernaut.safetensors",
}


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"txt2img": TXT2IMG}, "DPM++ 2M Karras · 30 steps · CFG 6.5 · 1024×1408 · juggernaut"),
        (
            {
                "txt2img": {
                    "enabled": True,
                    "hires": {"enabled": True, "scale": 1.5, "upscaler": "Latent"},
                    "refiner": {"enabled": True, "checkpoint": "r.ckpt", "switch_step": 20},
                }
            },
            "Euler · 20 steps · CFG 7 · 512×512 · hires ×1.5 Latent · refiner r from step 20",
        ),
        (
            {"img2img": {"enabled": True, "denoising_strength": 0.4, "sampler": "Euler", "mask": "m.png"}},
            "denoising 0.4 · masked · Euler · 20 steps · CFG 7",
        ),
        ({"upscale": {"enabled": True, "factor": 1.5, "upscaler": "Lanczos"}}, "×1.5 · Lanczos"),
        (
            {
                "upscale": {
                    "enabled": True,
                    "width": 2048,
                    "height": 1024,
                    "upscaler_2": "Nearest",
                    "upscaler_2_visibility": 0.5,
                    "gfpgan_visibility": 1,
                    "tile_size": 192,
                }
            },
            "2048×1024 · R-ESRGAN 4x+ · Nearest 50% · GFPGAN 100% · tile 192",
        ),
        (
            {"upscale": {"enabled": True, "mode": "sd_upscale", "sampler": "Euler", "steps": 12}},
            "×2 · R-ESRGAN 4x+ · SD upscale · denoising 0.2 · Euler · 12 steps · CFG 7 · tile 512",
        ),
    ],
)
def test_a_stage_in_one_line(config: dict[str, Any], line: str) -> None:
    (stage,) = StageSequencer().build_plan(config)
    assert stage_settings(PlannedStage.model_validate(stage.model_dump(mode="json"))) == line


def test_adetailer_names_its_models() -> None:
    units = [{"ad_model": "face_yolov8n.pt"}, {"ad_model": "hand_yolov8n.pt"}]
    plan = StageSequencer().build_plan(
        {"txt2img": {"enabled": True}, "adetailer": {"enabled": True, "units": units}}
    )
    stage = PlannedStage.model_validate(plan.stages[1].model_dump(mode="json"))
    assert stage_settings(stage).startswith("face_yolov8n · hand_yolov8n")


def test_what_an_older_version_left_out_is_no_error() -> None:
    for stage_type in ("txt2img", "img2img", "upscale", "adetailer"):
        stage = PlannedStage.model_validate({"stage_type": stage_type, "config_key": stage_type})
        assert isinstance(stage_settings(stage), str)
