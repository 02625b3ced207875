"""A file that is a list of prompts."""

from __future__ import annotations

from pathlib import Path

import pytest

from stableflows.config.layers import merge, merge_values
from stableflows.errors import InvalidInputs, Where
from stableflows.packs import read_sources
from tests.packs.conftest import Refusals, Write

SAMPLES = Path(__file__).parent / "samples"


def test_texts_and_mappings_with_settings_beside_the_prompt() -> None:
    (pack,) = read_sources([SAMPLES / "list.json"]).packs
    dusk, harbour, dune = pack.entries
    assert (pack.pack_id, pack.format) == ("list", "JSON, a list of prompts")
    assert (dusk.prompt, dusk.layers) == ("a lighthouse at dusk", ())
    assert (harbour.prompt, harbour.negative_prompt) == ("a harbour in fog", "text")
    assert merge_values(harbour.layers) == {
        "txt2img": {"steps": 30, "cfg_scale": 5.5},
        "upscale": {"factor": 1.5},
    }
    assert merge(dune.layers).txt2img.seed == 7
    assert (harbour.where.line, harbour.layers[0].where(("txt2img", "steps")).line) == (3, 3)


def test_a_list_in_yaml(write: Write) -> None:
    file = write("p.yaml", "- a lighthouse\n- prompt: a harbour\n  negative: text\n  steps: many\n")
    (pack,) = read_sources([file]).packs
    assert [(each.prompt, each.negative_prompt) for each in pack.entries] == [
        ("a lighthouse", ""),
        ("a harbour", "text"),
    ]
    with pytest.raises(InvalidInputs) as caught:
        merge(pack.entries[1].layers)
    (error,) = caught.value.errors
    assert error.where == Where(file, 4, "entries.1.config.txt2img.steps")


def test_files_in_a_list_are_relative_to_it(write: Write) -> None:
    write("a.png", b"\x89PNG")
    mask = write("m.png", b"\x89PNG")
    (pack,) = read_sources([write("p.json", '[{"input": "*a.png", "img2img.mask": "m.png"}]')]).packs
    (entry,) = pack.entries
    assert [each.name for each in entry.inputs] == ["a.png"]
    assert merge_values(entry.layers) == {"img2img": {"mask": str(mask)}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", ["p.json: entries: is empty; a pack has at least one entry."]),
        (
            '["a",\n{"prompt": "b", "stepz": 3}]',
            ["p.json:2: entries.1.stepz: there is no setting 'stepz'. Did you mean 'steps'?"],
        ),
        (
            '[{"prompt": "b",\n"negativ_prompt": "c"}]',
            [
                (
                    "p.json:2: entries.0.negativ_prompt: there is no setting 'negativ_prompt'. "
                    "Did you mean 'negative_prompt' or 'ad_negative_prompt'?"
                )
            ],
        ),
        (
            '[{"prompt": "b", "steps": 3,\n"txt2img.steps": 4}]',
            ["p.json:2: entries.0.txt2img.steps: is the same setting as 'steps'; keep one."],
        ),
        (
            '[{"prompt": "b",\n"positive": "c"}]',
            ["p.json:2: entries.0.positive: is the same setting as 'prompt'; keep one."],
        ),
        (
            '[{"prompt": "b", "steps": 3,\n"config": {"count": 2}}]',
            [
                (
                    "p.json:2: entries.0.config: has settings both in `config` and beside it; "
                    "keep them in one place."
                )
            ],
        ),
        ('["a", 5]', ["p.json:1: entries.1: must be text, but is read as the number 5; put it in quotes."]),
        ("[[1]]", ["p.json:1: entries.0: must be text, but is read as a list; put it in quotes."]),
    ],
)
def test_each_fault(refusals: Refusals, text: str, said: list[str]) -> None:
    assert refusals(text, "p.json") == said
