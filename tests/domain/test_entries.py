"""Layers, seeds and prompts: what a job expands to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stableflows.config import ADetailerConfig, Img2ImgConfig, Txt2ImgConfig
from stableflows.entries import Entry, place_of
from stableflows.errors import InputError, InvalidInputs
from stableflows.job import Job
from stableflows.request import RenderRequest, parse_settings, prepare, prepare_job


def write(folder: Path, text: str, name: str = "pack.yaml") -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


def entries_of(pack: str, **asked: Any) -> tuple[Entry, ...]:
    return prepare(RenderRequest(packs=(pack,), **asked)).entries


def txt2img(entry: Entry) -> Txt2ImgConfig:
    config = entry.plan.stages[0].config
    assert isinstance(config, Txt2ImgConfig)
    return config


LAYERED = """\
config: {txt2img: {steps: 11, cfg_scale: 3, width: 640}}
entries:
  - first
  - prompt: second
    config: {txt2img: {steps: 12}}
"""


def test_layers_merge_in_one_order(tmp_path: Path) -> None:
    pack = write(tmp_path, LAYERED)
    job = write(
        tmp_path,
        '{"packs": ["pack.yaml"], "pipeline": {"txt2img": {"steps": 10, "cfg_scale": 2, "height": 768}},'
        ' "run_config": {"width": 704}}',
        "job.json",
    )
    plain = [txt2img(entry) for entry in entries_of(pack)]
    assert [(c.steps, c.cfg_scale, c.width, c.height) for c in plain] == [
        (11, 3, 640, 512),
        (12, 3, 640, 512),
    ]
    layered = [txt2img(entry) for entry in entries_of(job)]
    assert [(c.steps, c.cfg_scale, c.width, c.height) for c in layered] == [
        (11, 3, 704, 768),
        (12, 3, 704, 768),
    ]
    commanded = entries_of(job, settings={"txt2img": {"steps": 99, "width": 512}})
    assert [(txt2img(e).steps, txt2img(e).width) for e in commanded] == [(99, 512), (99, 512)]


def test_a_fault_is_told_with_file_line_and_field(tmp_path: Path) -> None:
    pack = write(
        tmp_path, "config:\n  txt2img:\n    steps: 20\n    samplr: Euler\nentries:\n  - a cat\n  - a dog\n"
    )
    with pytest.raises(InvalidInputs) as refused:
        entries_of(pack)
    assert [str(error) for error in refused.value.errors] == [
        f"{pack}:4: config.txt2img.samplr: there is no setting 'samplr' here. Did you mean 'sampler'?"
    ]


def test_a_setting_said_twice_is_told_with_its_line(tmp_path: Path) -> None:
    pack = write(tmp_path, "config:\n  hires_scale_factor: 2\n  hires_upscale_factor: 3\nentries: [a cat]\n")
    with pytest.raises(InputError, match=r"pack.yaml:3: config.hires_upscale_factor: says 3"):
        entries_of(pack)


def test_faults_of_the_command_line_name_the_option(tmp_path: Path) -> None:
    pack = write(tmp_path, "entries: [a cat]\n")
    with pytest.raises(InputError, match=r"^--set txt2img.stepz: there is no setting 'stepz'"):
        entries_of(pack, settings=parse_settings(["txt2img.stepz=3"]))


def test_globals_stand_around_every_prompt_but_adetailers(tmp_path: Path) -> None:
    pack = write(
        tmp_path,
        "globals: {prompt: masterpiece, negative_prompt: text}\n"
        "entries:\n  - {prompt: a cat, negative_prompt: blurry}\n  - a dog\n",
    )
    cat, dog = entries_of(pack)
    assert (cat.texts.prompt, cat.texts.negative_prompt) == ("masterpiece, a cat", "blurry, text")
    assert (cat.texts.own_prompt, cat.texts.own_negative_prompt) == ("a cat", "blurry")
    assert (dog.texts.prompt, dog.texts.negative_prompt) == ("masterpiece, a dog", "text")


def test_embedding_tags_are_kept_in_the_job_and_bare_in_what_is_sent(tmp_path: Path) -> None:
    pack = write(
        tmp_path,
        "globals: {negative_prompt: '<embedding:bad>'}\n"
        "entries: [{prompt: 'a <embedding:nice> cat', negative_prompt: '(<embedding:ugly>:1.2)'}]\n",
    )
    (entry,) = entries_of(pack)
    assert entry.item.entry.prompt == "a <embedding:nice> cat"
    assert (entry.texts.prompt, entry.texts.negative_prompt) == ("a nice cat", "(ugly:1.2), bad")
    assert (entry.texts.own_prompt, entry.texts.own_negative_prompt) == ("a nice cat", "(ugly:1.2)")


def test_loras_of_the_job_are_appended_unless_they_stand_there(tmp_path: Path) -> None:
    write(tmp_path, "entries: ['a cat <lora:ink:0.3>', a dog]\n")
    job = write(
        tmp_path,
        '{"packs": ["pack.yaml"], '
        '"run_config": {"loras": [{"name": "ink", "weight": 0.8}, {"name": "wash"}]}}',
        "job.json",
    )
    cat, dog = entries_of(job)
    assert cat.texts.prompt == "a cat <lora:ink:0.3> <lora:wash:1>"
    assert dog.texts.prompt == "a dog <lora:ink:0.8> <lora:wash:1>"


def test_loras_of_the_job_reach_every_positive_prompt_of_a_stage(tmp_path: Path) -> None:
    write(
        tmp_path,
        "config:\n"
        "  txt2img: {hires: {enabled: true, prompt: closer}}\n"
        "  img2img: {enabled: true, prompt: other}\n"
        "  adetailer: {enabled: true, units: [{ad_prompt: a face}, {}]}\n"
        "entries: [a cat]\n",
    )
    job = write(tmp_path, '{"packs": ["pack.yaml"], "run_config": {"loras": [{"name": "ink"}]}}', "job.json")
    txt2img, img2img, adetailer = (stage.config for stage in entries_of(job)[0].plan)
    assert isinstance(txt2img, Txt2ImgConfig)
    assert isinstance(img2img, Img2ImgConfig)
    assert isinstance(adetailer, ADetailerConfig)
    assert txt2img.hires.prompt == "closer <lora:ink:1>"
    assert img2img.prompt == "other <lora:ink:1>"
    assert [unit.ad_prompt for unit in adetailer.units] == ["a face <lora:ink:1>", None]


def test_an_inherited_setting_is_told_where_it_was_written(tmp_path: Path) -> None:
    pack = write(
        tmp_path,
        "config:\n  checkpoint: nope\n  txt2img:\n    sampler: Eulr\n  img2img: {enabled: true}\n"
        "entries: [a cat]\n",
    )
    (entry,) = entries_of(pack)
    assert str(place_of(entry, "img2img.sampler")) == f"{pack}:4: config.txt2img.sampler"
    assert str(place_of(entry, "txt2img.checkpoint")) == f"{pack}:2: config.checkpoint"
    assert str(place_of(entry, "img2img.checkpoint")) == f"{pack}:2: config.checkpoint"
    assert str(place_of(entry, "txt2img.vae")) == f"{pack}:6: txt2img.vae"


def test_a_free_prompts_run_is_named_after_it(tmp_path: Path) -> None:
    assert prepare(RenderRequest(prompt=" a  cat\n in fog ")).job.name == "a cat in fog"
    images = (picture(tmp_path, "boat.png"), picture(tmp_path, "b.png"))
    assert prepare(RenderRequest(inputs=images, stages=("upscale",))).job.name == "boat"


def test_settings_of_a_stage_that_is_off_are_told(tmp_path: Path) -> None:
    asked = RenderRequest(prompt="a cat", settings={"upscale": {"factor": 3}})
    assert prepare(asked).warnings == (
        "--set says something of upscale, which is off; --stages switches it on",
    )
    on = asked.model_copy(update={"stages": ("txt2img", "upscale")})
    assert prepare(on).warnings == ()


def test_a_job_that_wants_the_queue_runs_directly_and_says_so(tmp_path: Path) -> None:
    write(tmp_path, "entries: [a cat]\n")
    job = write(tmp_path, '{"packs": ["pack.yaml"], "run_config": {"run_mode": "queue"}}', "job.json")
    prepared = prepare(RenderRequest(packs=(job,)))
    assert prepared.job.run_config.run_mode == "direct"
    assert "runs it directly" in prepared.warnings[0]


def test_run_config_sets_stages_size_and_upscaler_for_the_whole_job(tmp_path: Path) -> None:
    write(tmp_path, "entries: [a cat]\n")
    job = write(
        tmp_path,
        '{"packs": ["pack.yaml"], "run_config": {"upscale_enabled": true, "upscale_factor": 1.5, '
        '"upscale_model": "Lanczos", "upscale_tile_size": 256, "batch_size": 2, "height": 640}}',
        "job.json",
    )
    (entry,) = entries_of(job)
    assert entry.plan.mode == "txt2img_then_upscale"
    upscale = entry.plan.stages[1].config.model_dump()
    assert (upscale["factor"], upscale["upscaler"], upscale["tile_size"]) == (1.5, "Lanczos", 256)
    assert (txt2img(entry).batch_size, txt2img(entry).height) == (2, 640)


def test_a_derived_seed_follows_content_not_position(tmp_path: Path) -> None:
    one = entries_of(write(tmp_path, "entries: [a cat, a dog]\n"))
    two = entries_of(write(tmp_path, "entries: [a bird, a dog, a cat]\n"))
    seeds = {entry.title: entry.seed for entry in one}
    assert seeds["a cat"] != seeds["a dog"]
    for entry in two[1:]:
        assert entry.seed == seeds[entry.title]
        assert entry.seed is not None
        assert entry.seed.how == "derived"


def test_the_jobs_seed_changes_derived_seeds_only(tmp_path: Path) -> None:
    write(tmp_path, "entries: [a cat, {prompt: a dog, config: {txt2img: {seed: 7}}}]\n")
    first = entries_of(write(tmp_path, '{"packs": ["pack.yaml"], "seed": 1}', "one.json"))
    second = entries_of(write(tmp_path, '{"packs": ["pack.yaml"], "seed": 2}', "two.json"))
    assert first[0].seed != second[0].seed
    assert first[1].seed == second[1].seed
    assert second[1].seed is not None
    assert (second[1].seed.value, second[1].seed.how) == (7, "fixed")


def test_minus_one_draws_anew_and_a_recorded_draw_is_used_again(tmp_path: Path) -> None:
    pack = write(tmp_path, "entries: [{prompt: a cat, config: {txt2img: {seed: -1}}}]\n")
    runs = [prepare(RenderRequest(packs=(pack,))) for _ in range(3)]
    values = {run.entries[0].seed.value for run in runs if run.entries[0].seed}
    assert len(values) > 1
    again = prepare_job(runs[0].job, inputs=tmp_path, recorded=runs[0].draws)
    assert again.entries[0].seed == runs[0].entries[0].seed
    assert again.entries[0].seed is not None
    assert again.entries[0].seed.how == "drawn"


def test_the_command_lines_seed_wins_over_packs(tmp_path: Path) -> None:
    pack = write(tmp_path, "entries: [{prompt: a cat, config: {txt2img: {seed: 7}}}]\n")
    (entry,) = entries_of(pack, seed=9)
    assert entry.seed is not None
    assert (entry.seed.value, entry.seed.how) == (9, "fixed")
    assert txt2img(entry).seed == 9


def test_a_job_survives_its_own_json(tmp_path: Path) -> None:
    prepared = prepare(RenderRequest(packs=(write(tmp_path, LAYERED),), count=2, seed=3))
    job = Job.model_validate_json(prepared.job.model_dump_json())
    assert job == prepared.job
    assert job.job_id == prepared.job.job_id
    assert prepare_job(job, inputs=tmp_path).calls == prepared.calls


def test_jobs_by_their_published_shape() -> None:
    job = Job.model_validate(
        {
            "name": "mine",
            "packs": [
                {
                    "id": "p",
                    "name": "Pack",
                    "entry": {},
                    "config_snapshot": {"prompt": "a cat", "txt2img_enabled": True},
                }
            ],
            "pipeline": {"txt2img_config": {"steps": 9}},
            "run_config": {"source": "api"},
        }
    )
    (entry,) = prepare_job(job, inputs=Path()).entries
    assert (entry.item.pack_id, entry.texts.prompt, txt2img(entry).steps) == ("p", "a cat", 9)


def picture(folder: Path, name: str, colour: str = "red") -> str:
    file = folder / name
    Image.new("RGB", (200, 120), colour).save(file)
    return str(file)


def test_inputs_make_one_chain_each(tmp_path: Path) -> None:
    files = (picture(tmp_path, "a.png"), picture(tmp_path, "b.png", "blue"))
    prepared = prepare(RenderRequest(inputs=files, prompt="a cat", stages=("img2img", "upscale"), count=2))
    (entry,) = prepared.entries
    assert [image.width for image in entry.inputs] == [200, 200]
    assert [(c.call_id, c.input, c.after) for c in prepared.calls if c.stage == 0] == [
        ("0001/img2img/0", 0, None),
        ("0001/img2img/1", 0, None),
        ("0001/img2img/2", 1, None),
        ("0001/img2img/3", 1, None),
    ]
    assert prepared.image_count == 4


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"prompt": "x", "stages": ()}, "no stage is enabled"),
        ({"prompt": "x", "stages": ("img2img",)}, "the first stage is img2img, which continues images"),
        ({"prompt": "x", "stages": ("adetailer",)}, "ADetailer requires"),
        ({"inputs": ("missing.png",), "stages": ("upscale",)}, "there is no file"),
        ({"prompt": "", "stages": ("txt2img",)}, "the prompt is empty"),
        ({}, "nothing to render"),
        (
            {
                "prompt": "x",
                "settings": {
                    "txt2img": {
                        "steps": 10,
                        "refiner": {"enabled": True, "checkpoint": "r", "switch_step": 10},
                    }
                },
            },
            "never take over",
        ),
    ],
)
def test_what_cannot_be_rendered_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare(RenderRequest(**asked))


def test_an_input_for_txt2img_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its first stage is txt2img, which takes none"):
        prepare(RenderRequest(inputs=(picture(tmp_path, "a.png"),), prompt="x", stages=("txt2img",)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"not an image", "is no PNG, JPEG or WebP image"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "broken image|is no PNG"),
    ],
)
def test_an_input_that_is_no_image(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(data)
    with pytest.raises(InputError, match=message):
        prepare(RenderRequest(inputs=(str(file),), stages=("upscale",)))


def test_a_truncated_input_is_refused(tmp_path: Path) -> None:
    file = Path(picture(tmp_path, "a.png"))
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(InputError, match="is a broken image"):
        prepare(RenderRequest(inputs=(str(file),), stages=("upscale",)))


@given(
    st.lists(
        st.tuples(st.sampled_from(["txt2img.steps", "upscale.factor", "checkpoint"]), st.text()), max_size=4
    )
)
def test_any_setting_parses_or_is_refused(pairs: list[tuple[str, str]]) -> None:
    try:
        parse_settings([f"{name}={value}" for name, value in pairs])
    except InputError as error:
        assert "--set" in str(error)


@given(st.text())
def test_any_argument_of_set_parses_or_is_refused(argument: str) -> None:
    try:
        settings = parse_settings([argument])
    except InputError as error:
        assert "--set" in str(error)
    else:
        assert settings
