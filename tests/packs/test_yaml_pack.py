"""The native form: what it means, and where each fault is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stableflows.config.layers import merge
from stableflows.errors import InvalidInputs, Where
from stableflows.packs import read_sources
from stableflows.packs.model import PackEntry, PromptPack
from tests.packs.conftest import Refusals, Write

FULL = """
    id: lighthouse
    name: " Lighthouses "
    globals: {prompt: detailed, negative_prompt: <embedding:bad_v1>}
    config:
      checkpoint: base
      txt2img: {enabled: true, steps: 24}
    entries:
      - a lighthouse at dusk
      - prompt: a lighthouse in fog, (<embedding:sharp>:0.87)
        negative_prompt: text, watermark
        name: fog
        count: 2
        config:
          txt2img:
            seed: 7
"""


def test_everything_a_pack_can_say(write: Write) -> None:
    file = write("pack.yaml", FULL)
    (pack,) = read_sources([file]).packs
    assert (pack.pack_id, pack.name, pack.file) == ("lighthouse", "Lighthouses", file)
    assert (pack.globals.prompt, pack.globals.negative_prompt) == ("detailed", "<embedding:bad_v1>")
    dusk, fog = pack.entries
    assert dusk == PackEntry("a lighthouse at dusk", where=Where(file, 8, "entries.0"))
    assert (fog.prompt, fog.negative_prompt, fog.name) == (
        "a lighthouse in fog, (<embedding:sharp>:0.87)",
        "text, watermark",
        "fog",
    )
    assert fog.where == Where(file, 9, "entries.1")
    config = merge([*pack.layers, *fog.layers])
    assert (config.checkpoint, config.count, config.txt2img.steps, config.txt2img.seed) == ("base", 2, 24, 7)
    assert merge([*pack.layers, *dusk.layers]).count == 1


def test_id_and_name_default_to_the_stem(write: Write) -> None:
    (pack,) = read_sources([write("sea.yml", "entries: [a wave]")]).packs
    assert (pack.pack_id, pack.name) == ("sea", "sea")


def test_a_pack_in_json(write: Write) -> None:
    text = '{"entries": [{"prompt": "a \\ud83d\\ude00 \\/ b", "config": {"txt2img": {"eta": 1e-3}}}]}'
    (pack,) = read_sources([write("p.json", text)]).packs
    assert pack.entries[0].prompt == "a \N{GRINNING FACE} / b"
    assert pack.entries[0].layers[0].values == {"txt2img": {"eta": 0.001}}


def test_json_may_be_indented_with_tabs(refusals: Refusals) -> None:
    text = '{\n\t"entries":\t[\n\t\t"a wave",\n\t\t{"promt": "b"}\n\t]\n}'
    assert refusals(text, "p.json") == [
        "p.json:4: entries.1.promt: there is no setting 'promt' here. Did you mean 'prompt' or 'prompts'?"
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("16:9", "16:9"),
        ("2026-01-31", "2026-01-31"),
        ("1e-3", 0.001),
        ("010", 10),
        (".5", 0.5),
        ("off", False),
        ("Yes", True),
        ("~", None),
        ("''", ""),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("0x10", "0x10"),
    ],
)
def test_values_are_those_of_yaml_1_2(pack_of: Callable[[str], PromptPack], text: str, value: object) -> None:
    """`16:9` and a date are texts, `1e-3` is a number; YAML 1.1 has it the other way round."""
    (layer,) = pack_of(f"config: {{x: {text}}}\nentries: [a]").layers
    assert layer.values["x"] == value
    assert type(layer.values["x"]) is type(value)


def test_anchors_and_merge_keys(pack_of: Callable[[str], PromptPack]) -> None:
    pack = pack_of("""
        config: &base
          txt2img: {enabled: true}
          count: 3
        entries:
          - prompt: a
            config:
              count: 2
              <<: *base
    """)
    assert pack.entries[0].layers[0].values == {"txt2img": {"enabled": True}, "count": 2}
    assert pack.entries[0].layers[0].where(("txt2img", "enabled")).line == 2
    assert pack.entries[0].layers[0].where(("count",)).line == 7


def test_of_several_merged_the_first_wins(pack_of: Callable[[str], PromptPack]) -> None:
    pack = pack_of("""
        entries:
          - {prompt: a, config: &one {count: 1, vae: x}}
          - {prompt: b, config: &two {count: 2, checkpoint: y}}
          - prompt: c
            config: {<<: [*one, *two]}
    """)
    assert pack.entries[2].layers[0].values == {"count": 1, "vae": "x", "checkpoint": "y"}


def test_inputs_are_relative_to_the_pack_and_may_be_patterns(write: Write, tmp_path: Path) -> None:
    for name in ("in/b.png", "in/a.png", "in/c.jpg"):
        write(name, b"\x89PNG")
    file = write("packs/p.yaml", "entries: [{inputs: ['../in/*.png', ../in/c.jpg]}, {inputs: ../in/a.png}]")
    (pack,) = read_sources([file]).packs
    assert [[each.name for each in entry.inputs] for entry in pack.entries] == [
        ["a.png", "b.png", "c.jpg"],
        ["a.png"],
    ]
    assert all(each.is_absolute() and each.is_file() for entry in pack.entries for each in entry.inputs)


def test_image_files_in_the_config_are_relative_to_the_pack(write: Write, tmp_path: Path) -> None:
    mask = write("packs/mask.png", b"\x89PNG")
    file = write(
        "packs/p.yaml",
        """
        config:
          img2img_config: {mask: mask.png}
          txt2img: {alwayson_scripts: {ControlNet: {args: [{image: {image_file: mask.png}, prompt: 5}]}}}
        entries: [a]
        """,
    )
    values = read_sources([file]).packs[0].layers[0].values
    assert values["img2img_config"] == {"mask": str(mask)}
    assert values["txt2img"]["alwayson_scripts"]["ControlNet"]["args"] == [
        {"image": {"image_file": str(mask)}, "prompt": 5}
    ]


def test_a_setting_is_traced_to_its_line(write: Write) -> None:
    file = write("pack.yaml", FULL.replace("seed: 7", "sed: 7").replace("steps: 24", "steps: many"))
    (pack,) = read_sources([file]).packs
    with pytest.raises(InvalidInputs) as caught:
        merge([*pack.layers, *pack.entries[1].layers])
    places = {(error.where.line, error.where.field) for error in caught.value.errors}
    assert places == {(6, "config.txt2img.steps"), (15, "entries.1.config.txt2img.sed")}


def test_a_bad_count_is_traced_to_its_line(write: Write) -> None:
    (pack,) = read_sources([write("p.yaml", "entries:\n- prompt: a\n  count: 0\n")]).packs
    with pytest.raises(InvalidInputs) as caught:
        merge(pack.entries[0].layers)
    assert caught.value.errors[0].where == Where(pack.file, 3, "entries.0.count")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ["pack.yaml: is empty."]),
        ("# only this\n", ["pack.yaml: holds only comments."]),
        ("a wave\n", ["pack.yaml:1: holds no mapping; a pack has the key `entries:`."]),
        ("name: x\n", ["pack.yaml: entries: is missing."]),
        ("entries: []\n", ["pack.yaml:1: entries: is empty; a pack has at least one entry."]),
        (
            "entries: a wave\n",
            ["pack.yaml:1: entries: must be a list, each entry beginning with '- ', not a text."],
        ),
        (
            "entires:\n- a\nentries: [b]\n",
            ["pack.yaml:1: entires: there is no setting 'entires' here. Did you mean 'entries'?"],
        ),
        (
            "globals: {promt: x}\nentries: [b]\n",
            ["pack.yaml:1: globals.promt: there is no setting 'promt' here. Did you mean 'prompt'?"],
        ),
        (
            "entries:\n- prompt: a\n  negativ_prompt: b\n",
            [
                (
                    "pack.yaml:3: entries.0.negativ_prompt: there is no setting 'negativ_prompt' here. "
                    "Did you mean 'negative_prompt'?"
                )
            ],
        ),
        (
            "entries:\n- a\n- 42\n- prompt: no\n",
            [
                "pack.yaml:3: entries.1: must be text, but is read as the number 42; put it in quotes.",
                "pack.yaml:4: entries.2.prompt: must be text, but is read as false; put it in quotes.",
            ],
        ),
        (
            "entries:\n- [[slot]]\n- prompt: {a: b}\n",
            [
                "pack.yaml:2: entries.0: must be text, but is read as a list; put it in quotes.",
                "pack.yaml:3: entries.1.prompt: must be text, but is read as a mapping; put it in quotes.",
            ],
        ),
        ("entries:\n- a\n-\n", ["pack.yaml:3: entries.1: is empty."]),
        (
            "entries:\n- a portrait: an old man\n",
            [
                (
                    "pack.yaml:2: entries.0: is read as a mapping with the key 'a portrait'; "
                    "a prompt with ': ' in it must be in quotes."
                )
            ],
        ),
        (
            "entries:\n- negative_prompt: b\n- ' '\n",
            [
                "pack.yaml:2: entries.0: has neither a prompt nor inputs.",
                "pack.yaml:3: entries.1: has neither a prompt nor inputs.",
            ],
        ),
        (
            "id: 7\nname: ''\nentries: [a]\n",
            [
                "pack.yaml:1: id: must be text, but is read as the number 7; put it in quotes.",
                "pack.yaml:2: name: is empty; give a name, or leave it out.",
            ],
        ),
        (
            "entries:\n- prompt: a\n  name: |\n    two\n    lines\n",
            ["pack.yaml:3: entries.0.name: must be a single line without control characters."],
        ),
        (f"id: {'x' * 201}\nentries: [a]\n", ["pack.yaml:1: id: is 201 characters long; at most 200."]),
        (
            "config: [a]\nentries:\n- prompt: a\n  config: 3\n",
            [
                "pack.yaml:1: config: must be a mapping, not a list.",
                "pack.yaml:4: entries.0.config: must be a mapping, not the number 3.",
            ],
        ),
        (
            "entries:\n- prompt: a\n  count: 2\n  config: {count: 3}\n",
            [
                (
                    "pack.yaml:3: entries.0.count: says 2, but config.count is the same setting and says 3; "
                    "keep one."
                )
            ],
        ),
        (
            "entries:\n- prompt: a\n  prompt: b\n- c\nentries: [d]\n",
            [
                "pack.yaml:3: entries.0.prompt: stands here twice, first on line 2; keep one.",
                "pack.yaml:5: entries: stands here twice, first on line 1; keep one.",
            ],
        ),
        (
            "entries: [a]\nconfig: {on: 1, 2: b}\n",
            [
                "pack.yaml:2: config: the key 'on' is read as true; put it in quotes.",
                "pack.yaml:2: config: the key '2' is read as the number 2; put it in quotes.",
            ],
        ),
        (
            "entries:\n- prompt: a\n  inputs: [x.png, '*.jpg']\n",
            [
                "pack.yaml:3: entries.0.inputs: there is no file x.png. The folder FOLDER has: pack.yaml",
                "pack.yaml:3: entries.0.inputs: no file matches *.jpg. The folder FOLDER has: pack.yaml",
            ],
        ),
        (
            "config: {img2img: {mask: pack.yml}}\nentries: [a]\n",
            ["pack.yaml:1: config.img2img.mask: there is no file pack.yml. Did you mean pack.yaml?"],
        ),
        (
            'entries:\n- "a \\x07 bell"\n- "\\ud800"\n',
            [
                "pack.yaml:2: entries.0: holds the control character U+0007.",
                "pack.yaml:3: entries.1: holds the control character U+D800.",
            ],
        ),
        ("config: {x: .inf}\nentries: [a]\n", ["pack.yaml:1: config.x: is not a finite number."]),
        (
            "entries: [a]\n---\nentries: [b]\n",
            ["pack.yaml:2: begins a second document (`---`); keep one a file."],
        ),
        (
            "entries:\n\t- a\n",
            ["pack.yaml:2: is not valid YAML: a tab stands where only spaces may; indent with spaces."],
        ),
        ("entries:\n- &a [*a]\n", ["pack.yaml:2: entries.0.0: contains itself, through an alias."]),
        (f"entries: {'[' * 3000}{']' * 3000}\n", ["pack.yaml: is nested too deeply."]),
        (f"entries: {'[' * 60}{']' * 60}\n", ["pack.yaml:1: is nested too deeply."]),
        (
            "packs: [a.txt]\nentries: [b]\n",
            [
                (
                    "pack.yaml:2: entries: a file has `packs` (a job or a list of packs) "
                    "or `entries` (a pack), not both."
                )
            ],
        ),
    ],
)
def test_each_fault_is_told_with_its_place(
    refusals: Refusals, tmp_path: Path, text: str, said: list[str]
) -> None:
    assert refusals(text) == [each.replace("FOLDER", str(tmp_path)) for each in said]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('entries:\n- "a" b\n', 2),
        ("entries:\n- a\n- *b\n", 3),
        ("entries:\n- @home\n", 2),
        ("entries: [a\n", 2),
        ("a: b\n c: d\nentries: [a]\n", 2),
    ],
)
def test_a_syntax_error_names_its_line_and_the_remedy(refusals: Refusals, text: str, line: int) -> None:
    (said,) = refusals(text)
    assert said.startswith(f"pack.yaml:{line}: is not valid YAML: ")
    assert said.endswith("must be in quotes.")


def test_an_unknown_tag(refusals: Refusals) -> None:
    (said,) = refusals("entries:\n- a\n- !dragon b\n")
    assert said.startswith("pack.yaml:3: entries.1: the YAML tag '!dragon' is not read here.")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"entries": ["a"\n"b"]}', "p.json:2: is not valid JSON: expecting ',' delimiter."),
        ("entries: [a]", "p.json:1: is not valid JSON: expecting value."),
        (
            '{"entries": ["a"],\n"config": {"x": NaN}}',
            "p.json:2: config.x: is not a finite number.",
        ),
        ('{"entries": ["a"],\n"config": {"x": 1e999}}', "p.json:2: config.x: is not a finite number."),
        ('{"entries": ["a",\n"b",\n"\\ud800"]}', "p.json:3: entries.2: holds the control character U+D800."),
        (
            '{"entries": ["a"],\n"entries": []}',
            "p.json:2: entries: stands here twice, first on line 1; keep one.",
        ),
        (f'{{"entries": {"[" * 3000}{"]" * 3000}}}', "p.json: is nested too deeply."),
    ],
)
def test_json_is_held_to_its_own_rules(refusals: Refusals, text: str, said: str) -> None:
    assert refusals(text, "p.json") == [said]


def test_a_number_too_long_to_be_one(refusals: Refusals) -> None:
    (said,) = refusals(f'{{"entries": ["a"],\n"config": {{"x": {"9" * 5000}}}}}', "p.json")
    assert said.startswith("p.json:2: config.x: cannot be read: ")


def test_aliases_cannot_multiply_without_end(refusals: Refusals) -> None:
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]" for n in range(12))
    (said,) = refusals(levels)
    assert said.endswith("holds too many values; are aliases multiplied?")


def test_all_faults_of_all_packs_are_told_at_once(write: Write) -> None:
    files = [
        write("a.yaml", "entries: [5]\nnam: x\n"),
        write("b.txt", "\n"),
        write("c.yaml", "entries: []\n"),
    ]
    with pytest.raises(InvalidInputs) as caught:
        read_sources([*files, "missing.yaml"])
    assert [error.where.file.name if error.where.file else None for error in caught.value.errors] == [
        None,
        "a.yaml",
        "a.yaml",
        "b.txt",
        "c.yaml",
    ]


def test_lines_are_those_of_an_editor(write: Write) -> None:
    """A carriage return alone ends a line; U+2028 and U+0085, which YAML counts, do not."""
    file = write("p.yaml", "entries:\r- a \u2028 b\r\n- c \u0085 d\n- e\r\n")
    assert [entry.where.line for entry in read_sources([file]).packs[0].entries] == [2, 3, 4]
