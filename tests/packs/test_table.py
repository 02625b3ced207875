"""Packs as tables: CSV with a header, and TSV."""

from __future__ import annotations

from pathlib import Path

import pytest

from stableflows.config.layers import merge
from stableflows.errors import InvalidInputs, Where
from stableflows.packs import read_sources
from stableflows.packs.model import PackEntry
from tests.packs.conftest import Refusals, Write

SAMPLES = Path(__file__).parent / "samples"


def entries(file: Path) -> tuple[PackEntry, ...]:
    (pack,) = read_sources([file]).packs
    return pack.entries


def test_a_csv_with_settings_of_every_type() -> None:
    dusk, boat = entries(SAMPLES / "table.csv")
    assert (dusk.prompt, dusk.negative_prompt, dusk.name) == (
        "a lighthouse at dusk, calm sea",
        "text",
        "dusk",
    )
    assert dusk.where == Where(SAMPLES / "table.csv", 2)
    config = merge(dusk.layers)
    assert (config.count, config.txt2img.steps, config.txt2img.cfg_scale) == (2, 30, 5.5)
    assert (config.txt2img.sampler, config.txt2img.restore_faces) == ("DPM++ 2M", False)
    assert (config.txt2img.hires.enabled, config.txt2img.hires.scale) == (True, 1.5)
    # An empty cell says nothing; a quoted cell may have commas, quotes and line ends in it.
    assert (boat.prompt, boat.layers, boat.where.line) == ('a "red" boat,\nin fog', (), 3)


def test_cells_are_typed_as_a_yaml_pack_would_be() -> None:
    """Else the same pack in two forms would be two jobs."""
    values = entries(SAMPLES / "table.csv")[0].layers[0].values
    assert values == {
        "count": 2,
        "txt2img": {
            "steps": 30,
            "cfg_scale": 5.5,
            "sampler": "DPM++ 2M",
            "hires": {"enabled": True, "scale": 1.5},
            "restore_faces": False,
        },
    }


def test_semicolons_a_byte_order_mark_and_line_ends_of_windows() -> None:
    dusk, harbour = entries(SAMPLES / "semicolons.csv")
    assert (dusk.prompt, dusk.where.line) == ("a lighthouse at dusk, calm sea", 2)
    assert merge(harbour.layers).txt2img.steps == 20


@pytest.mark.parametrize(
    ("header", "cell", "path", "value"),
    [
        ("steps", "30", ("txt2img", "steps"), 30),
        ("CFG scale", "7", ("txt2img", "cfg_scale"), 7.0),
        ("Sampler-Name", "Euler", ("txt2img", "sampler"), "Euler"),
        ("upscale.factor", "2", ("upscale", "factor"), 2.0),
        ("upscale.mode", "img2img", ("upscale", "mode"), "img2img"),
        ("hires_scale_factor", "1.5", ("txt2img", "hires", "scale"), 1.5),
        ("refiner.switch_at", ".8", ("txt2img", "refiner", "switch_at"), 0.8),
        ("upscale_enabled", "Yes", ("upscale", "enabled"), True),
        ("ad_model", "face_yolov8n.pt", ("adetailer", "ad_model"), "face_yolov8n.pt"),
        ("adetailer.ad_confidence", "0.4", ("adetailer", "ad_confidence"), 0.4),
        ("model_name", "base", ("checkpoint",), "base"),
        ("txt2img.checkpoint", "2", ("txt2img", "checkpoint"), "2"),
        ("img2img.resize_mode", "2", ("img2img", "resize_mode"), 2),
        ("txt2img.styles", "ink", ("txt2img", "styles"), ["ink"]),
        ("txt2img.styles", '"[""ink"", ""oil""]"', ("txt2img", "styles"), ["ink", "oil"]),
        ("override_settings", '"{""eta_noise_seed_delta"": 1}"', ("txt2img", "override_settings"),
         {"eta_noise_seed_delta": 1}),
    ],
)  # fmt: skip
def test_what_a_column_is(write: Write, header: str, cell: str, path: tuple[str, ...], value: object) -> None:
    (entry,) = entries(write("p.csv", f"prompt,{header}\na,{cell}\n"))
    found: object = entry.layers[0].values
    for key in path:
        assert isinstance(found, dict)
        found = found[key]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ["p.csv: holds no entry."]),
        ("prompt,steps\n\n", ["p.csv:1: has a header and no entry."]),
        (
            "prompt,stepz,vea\na,1,b\n",
            [
                "p.csv:1: column 2: there is no setting 'stepz'. Did you mean 'steps'?",
                "p.csv:1: column 3: there is no setting 'vea'. Did you mean 'vae' or 'eta'?",
            ],
        ),
        ("steps,seed\n1,2\n", ["p.csv:1: the first line is the header, and has no column `prompt`."]),
        (
            "prompt,steps,txt2img.steps\na,1,2\n",
            ["p.csv:1: column 3: 'txt2img.steps' is the same setting as the column 'steps'; keep one."],
        ),
        ("prompt,\na,b\n", ["p.csv:1: column 2: has no name; the first line is the header."]),
        (
            "prompt,steps\na\na,1\na,b,3\n",
            [
                (
                    "p.csv:2: has 1 cell, but there are 2 columns (prompt, steps); "
                    "a cell with ',' in it must be in quotes."
                ),
                (
                    "p.csv:4: has 3 cells, but there are 2 columns (prompt, steps); "
                    "a cell with ',' in it must be in quotes."
                ),
            ],
        ),
        ("prompt,steps\n,3\n", ["p.csv:2: has neither a prompt nor inputs."]),
        (
            'prompt,steps\n"a" b,3\n',
            [
                (
                    "p.csv:2: is not valid CSV: ',' expected after '\"'. "
                    'A quote inside a quoted cell is doubled: "a ""red"" boat".'
                )
            ],
        ),
        (
            'prompt,steps\na,1\n"a,3\n',
            [
                (
                    "p.csv:3: is not valid CSV: unexpected end of data. "
                    'A quote inside a quoted cell is doubled: "a ""red"" boat".'
                )
            ],
        ),
        ('prompt,name\na,"b\nc"\n', ["p.csv:2: name: must be a single line without control characters."]),
        ("inputs\nnone.png\n", ["p.csv:2: inputs: there is no file none.png. The folder FOLDER has: p.csv"]),
    ],
)
def test_each_fault_of_a_csv(refusals: Refusals, tmp_path: Path, text: str, said: list[str]) -> None:
    assert refusals(text, "p.csv") == [each.replace("FOLDER", str(tmp_path)) for each in said]


def test_a_bad_cell_is_told_with_its_line_and_column(write: Write) -> None:
    file = write("p.csv", "prompt,steps,hires.scale\na,20,2\nb,many,0.5\n")
    with pytest.raises(InvalidInputs) as caught:
        merge(entries(file)[1].layers)
    assert {(error.where.line, error.where.field) for error in caught.value.errors} == {
        (3, "txt2img.steps"),
        (3, "txt2img.hires.scale"),
    }


def test_another_encoding_is_refused_with_its_place(refusals: Refusals) -> None:
    (said,) = refusals(b"prompt\na caf\xe9\n", "p.csv")
    assert said.startswith("p.csv:2: is not UTF-8: byte 12 is 0xe9.")


def test_inputs_and_styles_are_parted_by_semicolons(write: Write) -> None:
    for name in ("a.png", "b.png"):
        write(name, b"\x89PNG")
    (entry,) = entries(write("p.csv", "inputs,styles\na.png; b.png,ink;oil\n"))
    assert [each.name for each in entry.inputs] == ["a.png", "b.png"]
    assert entry.styles == ("ink", "oil")


def test_a_mask_is_relative_to_the_table(write: Write, refusals: Refusals) -> None:
    mask = write("in/m.png", b"\x89PNG")
    (entry,) = entries(write("in/p.csv", "prompt,img2img.mask\na,m.png\n"))
    assert entry.layers[0].values == {"img2img": {"mask": str(mask)}}
    (said,) = refusals("prompt,img2img.mask\na,n.png\n", "in/p.csv")
    assert said.startswith("in/p.csv:2: img2img.mask: there is no file ")


def test_a_tsv_without_a_header_is_positive_and_negative() -> None:
    dusk, harbour = entries(SAMPLES / "plain.tsv")
    assert (dusk.prompt, dusk.negative_prompt) == ('a lighthouse at dusk, "calm" sea', "text, watermark")
    assert (harbour.prompt, harbour.negative_prompt) == ("a harbour in fog", "")
    assert (dusk.where.line, harbour.where.line) == (2, 3)


def test_a_tsv_with_a_header() -> None:
    dusk, harbour = entries(SAMPLES / "header.tsv")
    assert (dusk.name, merge(dusk.layers).txt2img.steps) == ("dusk", 30)
    assert (harbour.name, harbour.layers) == (None, ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# only this\n", ["p.tsv: holds no entry."]),
        (
            "a\tb\tc\n",
            [
                (
                    "p.tsv:1: has 3 cells, but there are 2 columns (prompt, negative_prompt); "
                    "a tab parts cells, wherever it stands."
                )
            ],
        ),
        (b"\ttext\n", ["p.tsv:1: has neither a prompt nor inputs."]),
    ],
)
def test_each_fault_of_a_tsv(refusals: Refusals, text: str | bytes, said: list[str]) -> None:
    assert refusals(text, "p.tsv") == said
