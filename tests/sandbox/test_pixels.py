"""A picture is a function of what changes a real server's pixels, and of nothing else."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, PngImagePlugin

from stableflows.sandbox import Lora, SandboxSettings, run_sandbox
from tests.sandbox.conftest import Talk, encoded, picture

Fields = dict[str, Any]
HIRES: Fields = {
    "enable_hr": True,
    "denoising_strength": 0.5,
    "hr_scale": 2,
    "hr_upscaler": "Latent",
    "hr_second_pass_steps": 2,
}


def overriding(**options: Any) -> Fields:
    return {"override_settings": options}


CHANGES: list[tuple[Fields, Fields]] = [
    ({}, {"prompt": "a lighthouse, dusk"}),
    ({}, {"prompt": "(a lighthouse:1.2)"}),
    ({}, {"negative_prompt": "blurry"}),
    ({}, {"styles": ["sharp focus"]}),
    ({}, {"seed": 8}),
    ({}, {"subseed": 3, "subseed_strength": 0.3}),
    ({"subseed": 3, "subseed_strength": 0.3}, {"subseed": 4}),
    ({"subseed": 3, "subseed_strength": 0.3}, {"subseed_strength": 0.4}),
    ({}, {"seed_resize_from_w": 64, "seed_resize_from_h": 64}),
    ({}, {"sampler_name": "DPM++ 2M"}),
    ({}, {"scheduler": "Karras"}),
    ({"sampler_name": "DPM++ 2M"}, {"scheduler": "Exponential"}),
    ({}, {"steps": 4}),
    ({}, {"cfg_scale": 5}),
    ({}, {"width": 136}),
    ({}, {"height": 136}),
    ({}, {"batch_size": 2}),
    ({}, {"tiling": True}),
    ({}, {"restore_faces": True}),
    ({"sampler_name": "DDIM"}, {"eta": 0.5}),
    ({}, {"s_churn": 1}),
    ({}, {"s_tmin": 0.1}),
    ({}, {"s_tmax": 0.9}),
    ({}, {"s_noise": 1.1}),
    ({}, {"s_min_uncond": 0.2}),
    ({}, {"refiner_checkpoint": "sandbox_anime_xl", "refiner_switch_at": 0.5}),
    (
        {"refiner_checkpoint": "sandbox_anime_xl", "refiner_switch_at": 0.5},
        {"refiner_checkpoint": "sandbox_portrait_v2"},
    ),
    ({"refiner_checkpoint": "sandbox_anime_xl", "refiner_switch_at": 0.5}, {"refiner_switch_at": 0.7}),
    ({}, HIRES),
    (HIRES, {"hr_scale": 1.5}),
    (HIRES, {"hr_resize_x": 192, "hr_resize_y": 256}),
    (HIRES, {"hr_upscaler": "Lanczos"}),
    (HIRES, {"hr_second_pass_steps": 3}),
    (HIRES, {"denoising_strength": 0.6}),
    (HIRES, {"hr_sampler_name": "DDIM"}),
    (HIRES, {"hr_sampler_name": "DPM++ 2M", "hr_scheduler": "Exponential"}),
    (HIRES, {"hr_checkpoint_name": "sandbox_anime_xl"}),
    (HIRES, {"hr_prompt": "a lighthouse in fog"}),
    (HIRES, {"hr_negative_prompt": "blurry"}),
    ({}, overriding(sd_model_checkpoint="sandbox_anime_xl")),
    ({}, overriding(sd_vae="sandbox_vae.safetensors")),
    (overriding(sd_vae="sandbox_vae.safetensors"), overriding(sd_vae="sandbox_soft.vae.safetensors")),
    ({}, overriding(CLIP_stop_at_last_layers=2)),
    ({}, overriding(randn_source="CPU")),
    ({}, overriding(emphasis="No norm")),
    ({}, overriding(token_merging_ratio=0.5)),
    ({"sampler_name": "Euler a"}, overriding(eta_noise_seed_delta=31337)),
    ({"prompt": "a lighthouse"}, {"prompt": "a lighthouse <lora:ink_wash:0.5>"}),
    ({"prompt": "a <lora:ink_wash:0.5>"}, {"prompt": "a <lora:ink_wash:0.6>"}),
    ({"prompt": "a <lora:ink_wash:0.5>"}, {"prompt": "a <lora:film_grain:0.5>"}),
    ({"prompt": "a <lora:ink_wash:0.5>"}, {"disable_extra_networks": True}),
    ({"negative_prompt": "easynegative"}, {"negative_prompt": "easynegative_sb"}),
]
SAME: list[tuple[Fields, Fields]] = [
    ({}, {}),
    ({}, {"save_images": True}),
    ({}, {"do_not_save_samples": True, "do_not_save_grid": True}),
    ({}, {"force_task_id": "task(abc)"}),
    ({}, {"override_settings_restore_afterwards": False}),
    ({}, {"comments": {"a": "b"}}),
    ({}, {"sampler_name": "Euler", "sampler_index": "DDIM"}),
    ({}, {"script_args": [1, 2]}),
    ({}, {"alwayson_scripts": {"Seed": {"args": [5]}}}),
    ({}, {"alwayson_scripts": {"ADetailer": {"args": [False, False, {"ad_model": "face_yolov8n.pt"}]}}}),
    ({}, {"subseed": 3}),
    ({}, {"seed_resize_from_w": 64}),
    (
        {},
        {"hr_scale": 3, "hr_upscaler": "Lanczos", "hr_prompt": "x", "hr_checkpoint_name": "sandbox_anime_xl"},
    ),
    ({}, {"refiner_checkpoint": "sandbox_base_v1", "refiner_switch_at": 0.5}),
    ({}, {"refiner_checkpoint": "sandbox_anime_xl", "refiner_switch_at": 1.0}),
    ({}, {"styles": ["no such style"]}),
    ({}, {"scheduler": "no such scheduler"}),
    ({}, {"no_such_field": 1}),
    ({}, overriding(eta_noise_seed_delta=31337)),
    ({}, overriding(sd_model_checkpoint="no such checkpoint")),
    ({}, overriding(sd_vae="no such vae")),
    ({}, overriding(samples_save=False)),
]
SAME_PIXELS: list[tuple[Fields, Fields]] = [
    # The prompt stands in the infotext, so that the files differ, but the picture does not.
    ({"prompt": "a cat"}, {"prompt": "a cat <lora:nope:1>"}),
    ({"prompt": "a cat"}, {"prompt": "a cat <lora:ink_wash:0>"}),
    ({"prompt": "a cat"}, {"prompt": "a cat <foo:bar:1>"}),
    ({"prompt": "a cat"}, {"prompt": "a cat <lora:ink_wash:abc>"}),
    ({"prompt": "a <lora:ink_wash:0.4> <lora:ink_wash:0.4>"}, {"prompt": "a <lora:ink_wash:0.8>"}),
    ({"prompt": "a <lora:ink_wash:0.8> <lora:ink_wash:0.1>"}, {"prompt": "a <lora:ink_wash:0.2>"}),
    ({"prompt": "a <lora:ink_wash:0.8>"}, {"prompt": "a <lyco:ink_wash:0.8>"}),
]


def name(case: Any) -> str:
    return ",".join(f"{key}={value}" for key, value in case.items())[:60] or "nothing"


@pytest.mark.parametrize(("base", "change"), CHANGES, ids=name)
def test_what_changes_pixels_changes_the_picture(talk: Talk, base: Fields, change: Fields) -> None:
    before, after = (
        talk.pixels(**base),
        talk.pixels(**base, **change) if not set(base) & set(change) else talk.pixels(**{**base, **change}),
    )
    assert before[0] != after[0]


@pytest.mark.parametrize(("base", "change"), SAME, ids=name)
def test_what_does_not_changes_no_byte(talk: Talk, base: Fields, change: Fields) -> None:
    assert talk.files(**base) == talk.files(**{**base, **change})


@pytest.mark.parametrize(("base", "change"), SAME_PIXELS, ids=name)
def test_networks_without_effect_change_no_pixel(talk: Talk, base: Fields, change: Fields) -> None:
    assert talk.pixels(**base) == talk.pixels(**{**base, **change})


def test_every_image_of_a_batch_is_its_own(talk: Talk) -> None:
    made = talk.pixels(batch_size=2, n_iter=2)
    assert len(set(made)) == 4
    assert talk.pixels(batch_size=2, n_iter=2) == made
    # The second iteration of a batch is what the same batch gives with the seed that it has.
    assert talk.pixels(batch_size=2, seed=9)[0] == made[2]


def test_other_requests_between_change_nothing(talk: Talk) -> None:
    before = talk.files()
    talk.render(
        prompt="something else", negative_prompt="x", **overriding(sd_model_checkpoint="sandbox_anime_xl")
    )
    assert talk.files() == before


def test_order_and_company_change_nothing() -> None:
    """What a request renders hangs neither on what ran before it nor on what waits beside it."""
    unit = {"ADetailer": {"args": [True, False, {"ad_model": "face_yolov8n.pt"}]}}
    jobs: list[Fields] = [
        {"prompt": "a cat <lora:ink_wash:0.7>", "seed": 1},
        {"prompt": "a cat", "negative_prompt": "easynegative_sb", "seed": 1},
        {"prompt": "a cat", **overriding(sd_model_checkpoint="sandbox_anime_xl", CLIP_stop_at_last_layers=2)},
        {"prompt": "a cat", "refiner_checkpoint": "sandbox_anime_xl", "refiner_switch_at": 0.5},
        {"prompt": "a cat", "alwayson_scripts": unit, **overriding(sd_vae="sandbox_vae.safetensors")},
        {"prompt": "a cat", **HIRES, "hr_checkpoint_name": "sandbox_portrait_v2"},
    ]
    with run_sandbox(SandboxSettings(step_seconds=0.002)) as sandbox:
        talk = Talk(sandbox)
        alone = [talk.pixels(**job) for job in jobs]
        for order in (list(range(6)), [5, 3, 1, 4, 2, 0], [2, 5, 0, 3, 4, 1]):
            with ThreadPoolExecutor(3) as pool:
                together = dict(zip(order, pool.map(lambda at: talk.pixels(**jobs[at]), order), strict=True))
            assert [together[number] for number in range(6)] == alone
        talk.http.close()


@settings(max_examples=25, deadline=None)
@given(
    fields=st.fixed_dictionaries(
        {
            "prompt": st.text(max_size=40),
            "negative_prompt": st.text(max_size=20),
            "seed": st.integers(0, 2**40),
            "steps": st.integers(1, 12),
            "cfg_scale": st.floats(0, 20),
            "width": st.integers(1, 20).map(lambda eighths: eighths * 8),
            "height": st.integers(1, 20).map(lambda eighths: eighths * 8),
            "sampler_name": st.sampled_from(["Euler", "Euler a", "DDIM", "DPM++ 2M", "nope"]),
        }
    )
)
def test_any_request_is_drawn_the_same_twice_and_differs_by_its_seed(talk: Talk, fields: Fields) -> None:
    first = talk.files(**fields)
    assert talk.files(**fields) == first
    assert picture(first[0]).size == (fields["width"], fields["height"])
    if fields["width"] * fields["height"] > 64:
        assert talk.pixels(**{**fields, "seed": fields["seed"] + 1}) != [picture(first[0]).tobytes()]


@cache
def init(dot: int = 40) -> str:
    image = Image.new("RGB", (128, 128), "navy")
    ImageDraw.Draw(image).ellipse((20, 20, 20 + dot, 20 + dot), fill="orange")
    return encoded(image)


def masked(left: int = 32) -> str:
    image = Image.new("L", (128, 128), 0)
    ImageDraw.Draw(image).rectangle((left, 32, 96, 96), fill=255)
    return encoded(image)


MASK: Fields = {"mask": masked(), "inpaint_full_res": False}
IMAGE_CHANGES: list[tuple[Fields, Fields]] = [
    ({}, {"init_images": [init(41)]}),
    ({}, {"denoising_strength": 0.4}),
    ({"width": 192}, {"resize_mode": 1}),
    ({"width": 192}, {"resize_mode": 2}),
    ({}, {"image_cfg_scale": 1.5}),
    ({}, {"initial_noise_multiplier": 0.9}),
    ({}, overriding(img2img_color_correction=True)),
    ({}, MASK),
    (MASK, {"mask": masked(40)}),
    (MASK, {"mask_blur": 8}),
    (MASK, {"inpainting_fill": 1}),
    (MASK, {"inpainting_mask_invert": 1}),
    ({"mask": masked()}, {"inpaint_full_res": False}),
    ({"mask": masked()}, {"inpaint_full_res_padding": 16}),
]


@pytest.mark.parametrize(("base", "change"), IMAGE_CHANGES, ids=name)
def test_what_changes_img2img(talk: Talk, base: Fields, change: Fields) -> None:
    first = {"init_images": [init()], **base}
    assert talk.pixels("img2img", **first) != talk.pixels("img2img", **{**first, **change})


def test_text_of_the_input_and_its_echo_change_nothing(talk: Talk) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "hello")
    image = picture(talk.files()[0])
    image.info = {}
    plain, spoken = encoded(image), encoded(image, pnginfo=text)
    assert plain != spoken
    files = talk.files("img2img", init_images=[plain])
    assert talk.files("img2img", init_images=[spoken]) == files
    assert talk.files("img2img", init_images=[plain], include_init_images=True) == files


def test_outside_the_mask_nothing_changes(talk: Talk) -> None:
    made = picture(talk.files("img2img", init_images=[init()], mask=masked(), mask_blur=0)[0])
    before = Image.new("RGB", (128, 128), "navy")
    ImageDraw.Draw(before).ellipse((20, 20, 60, 60), fill="orange")
    assert made.crop((0, 0, 128, 32)).tobytes() == before.crop((0, 0, 128, 32)).tobytes()
    assert made.crop((32, 32, 96, 96)).tobytes() != before.crop((32, 32, 96, 96)).tobytes()


UNIT: Fields = {"ad_model": "face_yolov8n.pt"}
UNIT_CHANGES: list[tuple[Fields, Fields]] = [
    (UNIT, {"ad_model": "face_yolov8s.pt"}),
    (UNIT, {"ad_model": "hand_yolov8n.pt"}),
    (UNIT, {"ad_prompt": "smiling"}),
    (UNIT, {"ad_negative_prompt": "sad"}),
    (UNIT, {"ad_confidence": 0.4}),
    (UNIT, {"ad_mask_k": 1}),
    ({**UNIT, "ad_mask_k": 1}, {"ad_mask_filter_method": "Confidence"}),
    (UNIT, {"ad_mask_min_ratio": 0.1}),
    (UNIT, {"ad_dilate_erode": 8}),
    (UNIT, {"ad_x_offset": 2}),
    (UNIT, {"ad_mask_merge_invert": "Merge"}),
    (UNIT, {"ad_mask_blur": 8}),
    (UNIT, {"ad_denoising_strength": 0.6}),
    (UNIT, {"ad_inpaint_only_masked": False}),
    (UNIT, {"ad_inpaint_only_masked_padding": 16}),
    (UNIT, {"ad_use_inpaint_width_height": True, "ad_inpaint_width": 256}),
    (UNIT, {"ad_use_steps": True, "ad_steps": 10}),
    (UNIT, {"ad_use_cfg_scale": True, "ad_cfg_scale": 5.0}),
    (UNIT, {"ad_use_sampler": True, "ad_sampler": "DDIM"}),
    (UNIT, {"ad_use_checkpoint": True, "ad_checkpoint": "sandbox_anime_xl"}),
    (UNIT, {"ad_use_clip_skip": True, "ad_clip_skip": 2}),
    (UNIT, {"ad_restore_face": True}),
    (UNIT, {"ad_tab_enable": False}),
]
UNIT_SAME: list[tuple[Fields, Fields]] = [
    (UNIT, {"ad_steps": 10}),
    (UNIT, {"ad_cfg_scale": 5.0}),
    (UNIT, {"ad_checkpoint": "sandbox_anime_xl"}),
    (UNIT, {"ad_inpaint_width": 256}),
    (UNIT, {"ad_mask_filter_method": "Confidence"}),
    (UNIT, {"is_api": True}),
]


def detailed(unit: Fields, *more: Any) -> Fields:
    return {"prompt": "a portrait", "alwayson_scripts": {"ADetailer": {"args": [True, False, unit, *more]}}}


@pytest.mark.parametrize(("base", "change"), UNIT_CHANGES, ids=name)
def test_each_argument_of_a_unit_counts(talk: Talk, base: Fields, change: Fields) -> None:
    assert talk.pixels(**detailed(base)) != talk.pixels(**detailed({**base, **change}))


@pytest.mark.parametrize(("base", "change"), UNIT_SAME, ids=name)
def test_an_argument_that_is_off_does_not(talk: Talk, base: Fields, change: Fields) -> None:
    assert talk.files(**detailed(base)) == talk.files(**detailed({**base, **change}))


def test_two_units_do_more_than_one_and_a_broken_one_nothing(talk: Talk) -> None:
    one = talk.pixels(**detailed(UNIT))
    assert talk.pixels(**detailed(UNIT, {"ad_model": "hand_yolov8n.pt"})) != one
    plain = talk.pixels(prompt="a portrait")
    assert talk.pixels(**detailed({**UNIT, "ad_nope": 1})) == plain
    assert talk.pixels(**detailed({"ad_model": "nope.pt"})) == plain


EXTRA: Fields = {"upscaler_1": "R-ESRGAN 4x+", "upscaling_resize": 2}
EXTRA_CHANGES: list[tuple[Fields, Fields]] = [
    (EXTRA, {"upscaler_1": "4x_sandbox_sharp"}),
    (EXTRA, {"upscaling_resize": 1.5}),
    (EXTRA, {"upscaler_2": "Lanczos", "extras_upscaler_2_visibility": 0.5}),
    (
        {**EXTRA, "upscaler_2": "Lanczos", "extras_upscaler_2_visibility": 0.5},
        {"extras_upscaler_2_visibility": 0.6},
    ),
    (EXTRA, {"gfpgan_visibility": 0.5}),
    (EXTRA, {"codeformer_visibility": 0.5}),
    ({**EXTRA, "codeformer_visibility": 0.5}, {"codeformer_weight": 0.7}),
    (EXTRA, {"resize_mode": 1, "upscaling_resize_w": 200, "upscaling_resize_h": 200}),
]


def extras(talk: Talk, **fields: Any) -> str:
    response = talk.post("extra-single-image", {"image": init(), **fields})
    assert response.status_code == 200, response.text
    return str(response.json()["image"])


@pytest.mark.parametrize(("base", "change"), EXTRA_CHANGES, ids=name)
def test_what_changes_an_enlargement(talk: Talk, base: Fields, change: Fields) -> None:
    assert extras(talk, **base) != extras(talk, **{**base, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"show_extras_results": False},
        {"codeformer_weight": 0.7},
        {"upscaling_resize_w": 99},
        {"extras_upscaler_2_visibility": 0.5},
    ],
    ids=name,
)
def test_what_does_not_change_an_enlargement(talk: Talk, change: Fields) -> None:
    assert extras(talk, **EXTRA) == extras(talk, **EXTRA, **change)


def test_tile_size_of_the_server_changes_an_enlargement(talk: Talk) -> None:
    before = extras(talk, **EXTRA)
    talk.post("options", {"ESRGAN_tile": 64})
    try:
        assert extras(talk, **EXTRA) != before
    finally:
        talk.post("options", {"ESRGAN_tile": 192})
    assert extras(talk, **EXTRA) == before


def test_forge_renders_another_picture_and_heeds_control_images() -> None:
    with run_sandbox(SandboxSettings(flavour="forge")) as sandbox:
        talk = Talk(sandbox)
        plain = talk.pixels()
        controlled = {"ControlNet": {"args": [{"enabled": True, "image": init(), "model": "x"}]}}
        assert talk.pixels(alwayson_scripts=controlled) != plain
        assert talk.pixels(distilled_cfg_scale=2.0) != plain
        talk.http.close()


def test_pixels_follow_the_content_and_not_the_name() -> None:
    with run_sandbox() as sandbox:
        talk = Talk(sandbox)
        twin = sandbox.catalog.loras[0].model_copy(update={"name": "film_grain_copy"})
        assert isinstance(twin, Lora)
        sandbox.set_catalog(sandbox.catalog.adding("loras", twin))
        original = talk.pixels(prompt="a <lora:film_grain:0.5>")
        assert talk.pixels(prompt="a <lora:film_grain_copy:0.5>") == original
        talk.http.close()
