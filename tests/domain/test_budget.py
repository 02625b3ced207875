"""What a plan needs, told before it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from stableflows import budget
from stableflows.request import RenderRequest, prepare

ASKED = RenderRequest(
    prompt="a cat",
    stages=("txt2img", "upscale"),
    count=3,
    settings={"txt2img": {"width": 1000, "height": 1000}, "upscale": {"factor": 4}},
)


def test_disk_is_estimated_over_all_images_of_all_stages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entries = prepare(ASKED).entries
    needed = 3 * (1000 * 1000 + 4000 * 4000) * budget.BYTES_PER_PIXEL
    monkeypatch.setattr(budget, "free_space", lambda _: int(needed) + 1)
    assert budget.disk_warnings(entries, tmp_path) == []
    monkeypatch.setattr(budget, "free_space", lambda _: int(needed) - 1)
    (warning,) = budget.disk_warnings(entries, tmp_path)
    assert warning == f"the plan needs about 0.1 GB of disk, and {tmp_path} has 0.1 GB free"


def test_a_stage_above_the_servers_limit_is_told_with_the_figure() -> None:
    entries = prepare(ASKED).entries
    assert budget.megapixel_warnings(entries, None) == []
    assert budget.megapixel_warnings(entries, 16.1) == []
    assert budget.megapixel_warnings(entries, 2.0) == [
        "entry 1: upscale makes 16.0 megapixels, above the server's limit of 2"
    ]
