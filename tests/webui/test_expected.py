"""What a right answer must look like, read from requests that real servers answered."""

from __future__ import annotations

from typing import Any

import pytest

from stableflows.webui.expected import expected_seeds, expected_size, expected_subseeds, refiner_is_reached
from stableflows.webui.models import WebUIRequest

from . import recorded_servers as recorded
from .recorded_servers import base64_picture

MADE_BY_SCRIPTS = {
    key
    for key, record in recorded.answers().items()
    if (record["body"].get("script_name") or "SD upscale") != "SD upscale"
}
WITHOUT_PICTURES = {key for key, record in recorded.answers().items() if not record["images"]}
BY_INFOTEXT = {"a1111/t2i_infotext"}
"""Its size came from the request's field ``infotext``."""
SIZED = sorted(set(recorded.answers()) - MADE_BY_SCRIPTS - WITHOUT_PICTURES - BY_INFOTEXT)


@pytest.mark.parametrize("key", SIZED)
def test_the_size_of_every_recorded_picture_is_foreseen(key: str) -> None:
    record = recorded.answers()[key]
    first = record["info"]["index_of_first_image"] if record["info"] else 0
    assert expected_size(recorded.request_of(record)) == tuple(record["images"][first]["size"])


@pytest.mark.parametrize("key", sorted(MADE_BY_SCRIPTS))
def test_what_a_script_makes_is_not_foreseen(key: str) -> None:
    assert expected_size(recorded.request_of(recorded.answers()[key])) is None


def img2img(**body: Any) -> WebUIRequest:
    return WebUIRequest("/sdapi/v1/img2img", {"init_images": [base64_picture((96, 80))], **body})


@pytest.mark.parametrize(
    ("request_", "size"),
    [
        (img2img(), (512, 512)),
        (img2img(width=64, height=72), (64, 72)),
        (img2img(mask="x"), (96, 80)),
        (img2img(mask="x", inpaint_full_res=False, width=64), (64, 512)),
        (img2img(script_name="SD upscale", script_args=["", 8, "Lanczos", 1.5]), (144, 120)),
        (img2img(script_name="SD upscale", script_args=[]), None),
        (WebUIRequest("/sdapi/v1/img2img", {"mask": "x"}), None),
        (WebUIRequest("/sdapi/v1/img2img", {"mask": "x", "init_images": ["x"]}), None),
        (WebUIRequest("/sdapi/v1/img2img", {"script_name": "SD upscale", "script_args": [2]}), None),
        (WebUIRequest("/sdapi/v1/extra-single-image", {}), None),
    ],
)
def test_the_size_of_img2img(request_: WebUIRequest, size: tuple[int, int] | None) -> None:
    assert expected_size(request_) == size


@pytest.mark.parametrize(
    ("body", "seeds"),
    [
        ({"seed": 4}, (4, 5, 6)),
        ({"seed": "4"}, (4, 5, 6)),
        ({"seed": -1}, (None, None, None)),
        ({}, (None, None, None)),
        ({"seed": 0, "subseed_strength": 0.5}, (0, 0, 0)),
        ({"seed": 4, "script_name": "X/Y/Z plot"}, (4, None, None)),
        ({"seed": 4, "script_name": "SD upscale"}, (4, 5, 6)),
    ],
)
def test_seeds(body: dict[str, Any], seeds: tuple[int | None, ...]) -> None:
    assert expected_seeds(WebUIRequest("/sdapi/v1/txt2img", body, 3)) == seeds


@pytest.mark.parametrize(
    ("body", "seeds"),
    [
        ({"subseed": 4, "subseed_strength": 0.1}, (4, 5)),
        ({"subseed": 4}, (None, None)),
        ({"subseed": 4, "subseed_strength": 0}, (None, None)),
        ({"subseed": -1, "subseed_strength": 0.1}, (None, None)),
        ({"subseed_strength": 0.1}, (None, None)),
        ({"subseed": 4, "subseed_strength": 0.1, "script_name": "X/Y/Z plot"}, (None, None)),
    ],
)
def test_variation_seeds(body: dict[str, Any], seeds: tuple[int | None, ...]) -> None:
    assert expected_subseeds(WebUIRequest("/sdapi/v1/txt2img", body, 2)) == seeds


@pytest.mark.parametrize(
    ("body", "reached"),
    [
        ({"steps": 20, "refiner_switch_at": 0.8}, True),
        ({"steps": 20}, True),
        ({"steps": 4, "refiner_switch_at": 0.8}, False),
        ({"steps": 20, "refiner_switch_at": 1.0}, False),
        ({"steps": 4, "refiner_switch_at": 0.8, "enable_hr": True, "hr_second_pass_steps": 20}, True),
        ({"steps": 20, "refiner_switch_at": 0.8, "enable_hr": True, "denoising_strength": 0.1}, False),
        ({"steps": 20, "refiner_switch_at": 0.8, "denoising_strength": 0.1}, True),
        ({"steps": 20, "refiner_switch_at": 0.8, "init_images": ["x"], "denoising_strength": 0.1}, False),
        ({"steps": 20, "refiner_switch_at": 0.8, "init_images": ["x"]}, True),
    ],
)
def test_whether_sampling_surely_comes_to_the_refiner(body: dict[str, Any], reached: bool) -> None:
    assert refiner_is_reached(body) is reached
