"""StableNew's text packs with the `.json` that it keeps beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stableflows.config.layers import merge, merge_values
from stableflows.packs.stablenew import Companion, companion_of
from stableflows.packs.text_pack import read_text_pack
from tests.packs.conftest import Refusals, Write

SAMPLES = Path(__file__).parent / "samples"


@pytest.fixture
def companion(write: Write) -> Any:
    def companion(data: dict[str, Any]) -> Companion:
        write("p.json", json.dumps(data))
        found = companion_of(write("p.txt", "a\n"))
        assert found is not None
        return found

    return companion


def test_the_config_of_the_first_shape() -> None:
    source = read_text_pack(SAMPLES / "stablenew/castle.txt")
    (pack,) = source.packs
    assert pack.format == "block text with StableNew's castle.json"
    config = merge(pack.layers)
    assert merge_values(pack.layers)["txt2img"] == {
        "enabled": True,
        "steps": 32,
        "cfg_scale": 6.0,
        "width": 1024,
        "height": 768,
        "sampler": "DPM++ 2M",
        "scheduler": "Karras",
        "seed": -1,
        "clip_skip": 2,
        "checkpoint": "sandbox_base_v1",
        "restore_faces": False,
        "hires": {
            "enabled": True,
            "scale": 1.5,
            "upscaler": "Latent",
            "steps": 15,
            "denoising_strength": 0.2,
        },
    }
    assert config.count == 2
    assert (config.img2img.enabled, config.img2img.steps) == (False, 15)
    assert merge_values(pack.layers)["upscale"] == {
        "enabled": True,
        "upscaler": "R-ESRGAN 4x+",
        "factor": 1.5,
        "codeformer_visibility": 0.0,
    }
    (unit,) = config.adetailer.units
    assert (unit.ad_model, unit.ad_steps, unit.ad_denoising_strength) == ("face_yolov8n.pt", 12, 0.25)
    assert [str(each).partition("castle.json: ")[2] for each in source.warnings] == [
        (
            "4 settings have no counterpart here: txt2img.negative_prompt, txt2img.hypernetwork_strength, "
            "adetailer.adetailer_mask_feather, pipeline.loop_count."
        )
    ]


def test_the_matrix_and_the_rules_of_the_first_shape() -> None:
    (pack,) = read_text_pack(SAMPLES / "stablenew/castle.txt").packs
    matrix = pack.language.matrix
    assert (matrix.mode, matrix.limit) == ("rotate", 8)
    assert {slot.name: slot.values for slot in matrix.slots} == {
        "weather": ("foggy", "sunny"),
        "place": ("river", "forest", "sea"),
    }
    assert [(each.old, each.values) for each in matrix.replace] == [("morning", ("morning", "evening"))]


def test_the_second_shape() -> None:
    (pack,) = read_text_pack(SAMPLES / "stablenew2/people.txt").packs
    assert [slot.name for slot in pack.language.matrix.slots] == ["job", "place"]
    config = merge(pack.layers)
    refiner = config.txt2img.refiner
    assert (refiner.enabled, refiner.checkpoint, refiner.switch_at) == (True, "sandbox_portrait_v2", 0.7)
    assert config.txt2img.checkpoint == "sandbox_base_v1"
    assert config.adetailer.enabled
    assert config.adetailer.units[0].ad_mask_blur == 4


def test_a_setting_keeps_its_line_in_the_companion() -> None:
    (pack,) = read_text_pack(SAMPLES / "stablenew/castle.txt").packs
    (layer,) = pack.layers
    where = layer.where(("txt2img", "hires", "scale"))
    assert (where.file, where.line) == (SAMPLES / "stablenew/castle.json", 17)


@pytest.mark.parametrize(
    ("data", "slots", "limit"),
    [
        ({"matrix": {"slots": [{"name": "a", "values": ["b"]}]}}, ["a"], None),
        ({"matrix": {"limit": 0, "slots": [{"name": "a", "values": ["b"]}]}}, ["a"], None),
        ({"matrix": {"enabled": False, "slots": [{"name": "a", "values": ["b"]}]}}, [], None),
        ({"matrix": {"slots": []}, "pipeline": {}}, [], None),
        (
            {"randomization": {"enabled": False, "matrix": {"slots": [{"name": "a", "values": ["b"]}]}}},
            [],
            None,
        ),
        (
            {"randomization": {"matrix": {"limit": 4, "slots": [{"name": "a", "values": ["b"]}]}}},
            ["a"],
            4,
        ),
    ],
)
def test_where_a_matrix_is_found(
    companion: Any, data: dict[str, Any], slots: list[str], limit: int | None
) -> None:
    matrix = companion(data).matrix
    assert ([slot.name for slot in matrix.slots], matrix.limit) == (slots, limit)


def test_parts_of_the_drawing_that_are_not_read_are_told(companion: Any) -> None:
    data = {
        "randomization": {
            "wildcards": {"enabled": True, "tokens": [{"token": "__a__"}]},
            "matrix": {"base_prompt": "a [[b]]", "slots": [{"name": "b", "values": ["c"]}]},
        }
    }
    (remark,) = companion(data).remarks
    assert remark.message == (
        "2 settings have no counterpart here: randomization.base_prompt, randomization.wildcards"
    )


def test_a_refiner_that_is_named_and_off_stays_off(companion: Any) -> None:
    found = companion(
        {"txt2img": {"use_refiner": False, "refiner_checkpoint": "x", "refiner_switch_at": 0.8}}
    )
    assert found.layer.values == {"txt2img": {}}


@pytest.mark.parametrize(
    "data", [{"packs": ["p.txt"]}, {"entries": ["a"]}, {"packs": ["p.txt"], "pipeline": {}}, ["a"], {"x": 1}]
)
def test_what_is_no_companion(write: Write, data: Any) -> None:
    write("p.json", json.dumps(data))
    (pack,) = read_text_pack(write("p.txt", "a\n")).packs
    assert (pack.layers, pack.format) == ((), "block text")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"txt2img": {"steps": 3}', ["p.json:1: is not valid JSON: expecting ',' delimiter."]),
        ('{"txt2img":\n["steps"]}', ["p.json:1: txt2img: must be a mapping."]),
        (
            '{"adetailer": {"adetailer_model": "x.pt",\n"adetailer_prompt": "a <embedding:x:0.8>"}}',
            [
                (
                    "p.json:2: adetailer.adetailer_prompt: '<embedding:x:0.8>': the weight of an embedding "
                    "stands outside: (<embedding:x>:0.8)."
                )
            ],
        ),
        (
            '{"matrix": {"mode": "now",\n"slots": [{"name": "a", "values": []}]}}',
            [
                "p.json:1: matrix.mode: is 'now'; allowed: 'random', 'fanout', 'sequential' or 'rotate'.",
                "p.json:2: matrix.slots.0.values: tuple should have at least 1 item after validation, not 0.",
            ],
        ),
    ],
)
def test_a_companion_that_cannot_be_read_is_refused(
    write: Write, refusals: Refusals, text: str, said: list[str]
) -> None:
    """Else its settings would be missing without a word."""
    write("p.json", text)
    assert refusals("a\n", "p.txt") == said


def test_the_companion_named_in_place_of_the_pack(write: Write, refusals: Refusals, tmp_path: Path) -> None:
    write("p.txt", "a\n")
    assert refusals('{"pack_data": {}}', "p.json") == [
        "p.json: is what StableNew keeps beside a text pack, and is read with it: name p.txt."
    ]
