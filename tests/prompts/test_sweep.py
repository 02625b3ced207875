"""Sweeps: axes, their order, what is refused, and what comes of them in a job."""

from __future__ import annotations

from typing import Any

import pytest

from stableflows.errors import InputError, Where
from stableflows.prompts.model import Sweep
from stableflows.prompts.sweep import as_settings, parse_sweeps, points, size, together
from stableflows.request import RenderRequest, prepare
from tests.prompts.conftest import Words


def settings_of(groups: list[dict[str, list[Any]]]) -> list[dict[str, Any]]:
    return [as_settings(point) for point in points(Sweep.model_validate(groups))]


def test_the_product_of_axes_and_the_zip_within_one() -> None:
    found = settings_of([{"clip_skip": [1, 2]}, {"txt2img.steps": [10, 20], "txt2img.cfg_scale": [5, 7]}])
    assert found == [
        {"clip_skip": skip, "txt2img": {"steps": steps, "cfg_scale": scale}}
        for skip in (1, 2)
        for steps, scale in ((10, 5), (20, 7))
    ]


def test_costly_axes_are_outermost() -> None:
    swept = together(
        [Sweep.model_validate([{"clip_skip": [1, 2]}, {"vae": ["a", "b"]}, {"model_name": ["c", "d"]}])],
        Where(),
    )
    assert [list(group) for group in swept.groups] == [["model_name"], ["vae"], ["clip_skip"]]
    assert size(swept) == 8


def test_flat_names_are_understood() -> None:
    assert settings_of([{"hires_scale_factor": [2]}]) == [{"txt2img": {"hires": {"scale": 2}}}]


@pytest.mark.parametrize(
    ("arguments", "groups"),
    [
        (["txt2img.steps=20,30"], [{"txt2img.steps": (20, 30)}]),
        (["a=1,2", "b=x, y"], [{"a": (1, 2)}, {"b": ("x", "y")}]),
        (["a=1,2; b=x,y"], [{"a": (1, 2), "b": ("x", "y")}]),
        (["s=[DPM++ 2M, Euler a]"], [{"s": ("DPM++ 2M", "Euler a")}]),
        (['p="a, b",c'], [{"p": ("a, b", "c")}]),
    ],
)
def test_a_command_line_sweeps(arguments: list[str], groups: list[dict[str, Any]]) -> None:
    assert list(parse_sweeps(arguments).groups) == groups


@pytest.mark.parametrize("argument", ["", "steps", "=1", "a=", "a=1,2;b=1", "a=1;"])
def test_a_command_line_that_is_no_axis(argument: str) -> None:
    with pytest.raises(InputError, match="--sweep"):
        parse_sweeps([argument])


PACK = "{said}\nentries: [a cat]\n"


def job_of(words: Words, said: str, **asked: Any) -> Any:
    pack = words.write("pack.yaml", PACK.replace("{said}", said))
    return prepare(RenderRequest(packs=(str(pack),), **asked))


def test_a_swept_pack_is_an_entry_a_point_with_one_seed(words: Words) -> None:
    prepared = job_of(words, "sweep:\n - txt2img.steps: [10, 20]\n - txt2img.sampler: [Euler, DDIM]")
    configs = [entry.plan.stages[0].config for entry in prepared.entries]
    assert [(config.steps, config.sampler) for config in configs] == [
        (10, "Euler"),
        (10, "DDIM"),
        (20, "Euler"),
        (20, "DDIM"),
    ]
    assert len({entry.seed for entry in prepared.entries}) == 1
    items = prepared.job.packs
    assert items[1].randomizer["values"] == {"txt2img.steps": 10, "txt2img.sampler": "DDIM"}
    assert len({item.entry.sweep.of for item in items}) == 1
    assert items[1].entry.sweep.axes == ({"txt2img.steps": 10}, {"txt2img.sampler": "DDIM"})


def test_a_sweep_over_styles_compares_one_seed(words: Words) -> None:
    words.write("styles.csv", "name,prompt,negative_prompt\nink,in ink,\noil,in oil,\n")
    prepared = job_of(words, "sweep:\n - styles: [ink, [ink, oil]]")
    assert [item.entry.prompt for item in prepared.job.packs] == ["a cat, in ink", "a cat, in ink, in oil"]
    assert len({entry.seed for entry in prepared.entries}) == 1


def test_a_job_file_sweeps_all_its_packs(words: Words) -> None:
    words.write("a.txt", "one\n\ntwo\n")
    job = words.write("job.yaml", "packs: [a.txt]\nsweep: {txt2img.steps: [10, 20, 30]}\n")
    assert len(prepare(RenderRequest(packs=(str(job),))).entries) == 6


@pytest.mark.parametrize(
    ("said", "asked", "told"),
    [
        ("sweep: {txt2img.stpes: [1, 2]}", {}, "pack.yaml: sweep.txt2img.stpes: .*Did you mean 'steps'"),
        ("sweep: {txt2img.steps: [10, 999]}", {}, "sweep.txt2img.steps: .*150"),
        ("sweep: {txt2image.steps: [1]}", {}, "sweep.txt2image: .* Did you mean 'txt2img'"),
        (
            "sweep: {clip_skip: [1, 2], vae: [a, b]}",
            {},
            "pack.yaml:1: sweep: has several fields: clip_skip, vae",
        ),
        ("sweep: [{clip_skip: [1, 2], vae: [a]}]", {}, "lists of other lengths: clip_skip 2, vae 1"),
        ("sweep: [{clip_skip: [1]}, {clip_skip: [2]}]", {}, "clip_skip is swept twice"),
        ("sweep: [{clip_skip: []}]", {}, "a list with at least one value"),
        ("sweep: {styles: [4]}", {}, "where the name of a style is expected"),
        (
            "sweep: {txt2img.steps: [1, 2]}",
            {"settings": {"txt2img": {"steps": 3}}},
            "txt2img.steps is swept, but --set txt2img.steps gives it one value",
        ),
    ],
)
def test_what_cannot_be_swept(words: Words, said: str, asked: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        job_of(words, said, **asked)
