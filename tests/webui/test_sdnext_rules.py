"""What SD.Next's answers are held to: a contradiction is a mismatch, silence is unverified."""

from __future__ import annotations

from typing import Any

import pytest

from stableflows.webui.capabilities import Capabilities, Family
from stableflows.webui.models import Checkpoint, ImageBytes, Info, WebUIReply, WebUIRequest
from stableflows.webui.names import ServerNames
from stableflows.webui.sdnext import DETAIL
from stableflows.webui.verify import Verdict, verify

NAMES = ServerNames(
    family=Family.SDNEXT,
    checkpoints=(Checkpoint(title="one", model_name="one"), Checkpoint(title="two", model_name="two")),
)
PLAIN = "a\nNegative prompt: \nSteps: 4, Size: 64x64, Sampler: Euler, Seed: 5, CFG scale: 6.0, Model: one"


def verdict(more: str = "", **asked: Any) -> Verdict:
    text = f"{PLAIN}, {more}" if more else PLAIN
    reply = WebUIReply((ImageBytes(b"", "PNG", 64, 64, text),), Info(seed=5, sd_model_hash=None))
    request = WebUIRequest("/sdapi/v1/txt2img", {"seed": 5, **asked}, 1, (64, 64))
    return verify(request, reply, Capabilities(family=Family.SDNEXT), NAMES)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"override_settings": {"schedulers_sigma": "karras"}}, "Sampler sigma: karras"),
        ({"override_settings": {"schedulers_sigma": "default"}}, ""),
        ({"clip_skip": 2}, "Clip skip: 2"),
        ({"clip_skip": 1}, ""),
        ({"enable_hr": True, "hr_upscaler": "Resize Lanczos"}, "Hires upscaler: Resize Lanczos"),
        ({"enable_hr": True, "hr_upscaler": "None"}, ""),
        ({"override_settings": {"sd_model_checkpoint": "one"}}, ""),
        ({"refiner_checkpoint": "two", "refiner_switch_at": 0.7}, "Refiner: two"),
    ],
)
def test_what_was_asked_verifies(asked: dict[str, Any], said: str) -> None:
    found = verdict(said, **asked)
    assert (found.mismatches, found.unverified) == ((), ())


@pytest.mark.parametrize(
    ("asked", "said", "field"),
    [
        ({"override_settings": {"schedulers_sigma": "karras"}}, "Sampler sigma: exponential", "schedule"),
        ({"override_settings": {"schedulers_sigma": "default"}}, "Sampler sigma: karras", "schedule"),
        ({"clip_skip": 1}, "Clip skip: 2", "clip skip"),
        ({"enable_hr": True, "hr_upscaler": "Resize Lanczos"}, "Hires upscaler: None", "hr_upscaler"),
        ({"override_settings": {"sd_model_checkpoint": "two"}}, "", "checkpoint"),
        ({"refiner_checkpoint": "two", "refiner_switch_at": 0.7}, "Refiner: three", "refiner"),
        ({}, "Refiner: two", "refiner"),
    ],
)
def test_another_value_is_a_mismatch(asked: dict[str, Any], said: str, field: str) -> None:
    assert [mismatch.field for mismatch in verdict(said, **asked).mismatches] == [field]


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"override_settings": {"schedulers_sigma": "karras"}}, "schedule"),
        ({"clip_skip": 2}, "clip skip"),
        ({"enable_hr": True, "hr_upscaler": "Resize Lanczos"}, "hires"),
        ({"refiner_checkpoint": "two", "refiner_switch_at": 0.7}, "refiner"),
    ],
)
def test_silence_is_unverified(asked: dict[str, Any], word: str) -> None:
    found = verdict(**asked)
    assert found.mismatches == ()
    assert [text.split(":")[0] for text in found.unverified] == [word]


def test_a_refiner_is_warned_of() -> None:
    found = verdict("Refiner: two", refiner_checkpoint="two", refiner_switch_at=0.7)
    assert len(found.warnings) == 1
    assert "SDXL" in found.warnings[0]


@pytest.mark.parametrize(("size", "good"), [((64, 64), True), ((32, 32), False)])
def test_of_the_detailer_only_the_image_can_be_seen(size: tuple[int, int], good: bool) -> None:
    request = WebUIRequest(DETAIL, {"detailer_models": ["face", "hand"]}, 1, (64, 64))
    reply = WebUIReply((ImageBytes(b"", "PNG", *size),))
    found = verify(request, reply, Capabilities(family=Family.SDNEXT), NAMES)
    assert [mismatch.field for mismatch in found.mismatches] == ([] if good else ["size"])
    assert [text.split(":")[0] for text in found.unverified] == ["detailer face, hand"]
