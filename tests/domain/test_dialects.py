"""What a family of servers is sent in place of AUTOMATIC1111's terms, and what SD.Next is not asked for."""

from __future__ import annotations

from typing import Any

import pytest

from stableflows.dialects import Spoken, in_dialect
from stableflows.preflight import check_names
from stableflows.request import RenderRequest, prepare
from stableflows.webui.capabilities import Capabilities, Family
from stableflows.webui.kinds import NameKind
from stableflows.webui.models import Checkpoint, GenerationPath, Named, Sampler, Upscaler, WebUIRequest
from stableflows.webui.names import Found, NotFound, ServerNames
from stableflows.webui.sdnext import SCHEDULES, UPSCALERS

SDNEXT = ServerNames(
    family=Family.SDNEXT,
    samplers=(
        Sampler(name="Euler"),
        Sampler(name="Euler a"),
        Sampler(name="DPM++ 2M", options={"use_karras_sigmas": False}),
    ),
    schedulers=SCHEDULES,
    checkpoints=(Checkpoint(title="base", model_name="base"),),
    upscalers=tuple(Upscaler(name=name) for name in (*UPSCALERS.values(), "ESRGAN 4x_mine", "None")),
    latent_upscale_modes=(),
    ad_models=("face-yolo8n", "face_yolov8n", "hand_yolov8n"),
    has_adetailer=True,
)
CAPABILITIES = Capabilities(family=Family.SDNEXT, options=frozenset({"sd_vae"}))


def spoken(path: GenerationPath, body: dict[str, Any], names: ServerNames = SDNEXT) -> Spoken:
    return in_dialect(WebUIRequest(path, body, 1, (64, 64)), Family.SDNEXT, names)


@pytest.mark.parametrize("family", [Family.A1111, Family.REFORGE, Family.UNKNOWN])
def test_others_are_sent_what_was_built(family: Family) -> None:
    request = WebUIRequest("/sdapi/v1/txt2img", {"enable_hr": True}, 1, (64, 64))
    assert in_dialect(request, family, ServerNames()) == Spoken(request, {})


def test_forge_needs_modules_in_a_hires_request_only() -> None:
    hires = WebUIRequest("/sdapi/v1/txt2img", {"enable_hr": True}, 1, None)
    body = in_dialect(hires, Family.FORGE, ServerNames()).request.body
    assert body == {"enable_hr": True, "hr_additional_modules": ["Use same choices"]}
    own = WebUIRequest("/sdapi/v1/txt2img", {"enable_hr": True, "hr_additional_modules": ["v"]}, 1, None)
    assert in_dialect(own, Family.FORGE, ServerNames()).request.body["hr_additional_modules"] == ["v"]
    plain = WebUIRequest("/sdapi/v1/txt2img", {}, 1, None)
    assert in_dialect(plain, Family.FORGE, ServerNames()).request.body == {}


# -- SD.Next: names


@pytest.mark.parametrize(
    ("kind", "name", "own"),
    [
        (NameKind.UPSCALER, "R-ESRGAN 4x+", "RealESRGAN 4x+"),
        (NameKind.UPSCALER, "RealESRGAN 4x+", "RealESRGAN 4x+"),
        (NameKind.UPSCALER, "4x_mine", "ESRGAN 4x_mine"),
        (NameKind.HIRES_UPSCALER, "Latent", "Latent Bilinear"),
        (NameKind.AD_MODEL, "face_yolov8n.pt", "face_yolov8n"),
        (NameKind.SCHEDULER, "Karras", "Karras"),
    ],
)
def test_a_name_is_found_under_its_own(kind: NameKind, name: str, own: str) -> None:
    assert SDNEXT.find(kind, name) == Found(own)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (NameKind.UPSCALER, "DAT x4"),
        (NameKind.AD_MODEL, "face_yolov8s.pt"),
        (NameKind.AD_MODEL, "mediapipe_face_full"),
        (NameKind.SCHEDULER, "SGM Uniform"),
    ],
)
def test_a_name_without_a_counterpart_is_not_found(kind: NameKind, name: str) -> None:
    assert isinstance(SDNEXT.find(kind, name), NotFound)


def test_elsewhere_no_name_is_another() -> None:
    a1111 = ServerNames(family=Family.A1111, upscalers=(Upscaler(name="Resize Lanczos"),))
    assert isinstance(a1111.find(NameKind.UPSCALER, "Lanczos"), NotFound)


# -- SD.Next: requests


def test_hires_names_its_upscaler_resizes_and_samples() -> None:
    asked = {"enable_hr": True, "hr_upscaler": "Latent", "hr_scale": 1.5, "denoising_strength": 0.6}
    body = spoken("/sdapi/v1/txt2img", {**asked, "hr_prompt": "more"}).request.body
    assert body["hr_upscaler"] == "Latent Bilinear"
    assert (body["hr_resize_mode"], body["hr_force"], body["hr_denoising_strength"]) == (1, True, 0.6)
    assert body["refiner_prompt"] == "more"


def test_a_refiner_is_an_option_and_a_pass_that_does_not_enlarge() -> None:
    asked = {"refiner_checkpoint": "base", "refiner_switch_at": 0.75, "steps": 20}
    said = spoken("/sdapi/v1/txt2img", asked)
    assert said.options == {"sd_model_refiner": "base"}
    body = said.request.body
    assert (body["enable_hr"], body["hr_upscaler"], body["hr_resize_mode"]) == (True, "None", 0)
    assert (body["refiner_start"], body["refiner_steps"]) == (0.75, 10)


@pytest.mark.parametrize(
    ("asked", "sampler", "sigma"),
    [
        ({"sampler_name": "DPM++ 2M", "scheduler": "karras"}, "DPM++ 2M", "karras"),
        ({"sampler_name": "DPM++ 2M Karras"}, "DPM++ 2M", "karras"),
        ({"sampler_name": "Euler a", "scheduler": "Automatic"}, "Euler a", "default"),
        ({"sampler_name": "Euler a"}, "Euler a", "default"),
    ],
)
def test_the_schedule_is_an_option_that_is_always_sent(
    asked: dict[str, Any], sampler: str, sigma: str
) -> None:
    body = spoken("/sdapi/v1/txt2img", asked).request.body
    assert (body["sampler_name"], body["override_settings"]["schedulers_sigma"]) == (sampler, sigma)
    assert "scheduler" not in body


def test_clip_skip_is_a_field() -> None:
    overrides = {"CLIP_stop_at_last_layers": 2, "sd_vae": "None"}
    body = spoken("/sdapi/v1/img2img", {"override_settings": overrides}).request.body
    assert body["clip_skip"] == 2
    assert body["override_settings"] == {"sd_vae": "None", "schedulers_sigma": "default"}
    assert overrides == {"CLIP_stop_at_last_layers": 2, "sd_vae": "None"}


def test_img2img_stretches_as_elsewhere() -> None:
    assert spoken("/sdapi/v1/img2img", {}).request.body["resize_mode"] == 1
    assert spoken("/sdapi/v1/img2img", {"resize_mode": 2}).request.body["resize_mode"] == 3
    upscale = spoken(
        "/sdapi/v1/img2img", {"script_name": "SD upscale", "script_args": ["", 64, "Lanczos", 2.0]}
    )
    assert upscale.request.body["script_args"] == ["", 64, "Resize Lanczos", 2.0]


def test_extras_name_their_upscalers() -> None:
    said = spoken("/sdapi/v1/extra-single-image", {"image": "i", "upscaler_1": "R-ESRGAN 4x+"})
    assert said.request.body == {"image": "i", "upscaler_1": "RealESRGAN 4x+"}


def adetailer(*units: dict[str, Any], **body: Any) -> dict[str, Any]:
    return {
        "init_images": ["image"],
        "width": 448,
        "height": 576,
        "prompt": "a man\nat sea",
        "negative_prompt": "blur",
        "seed": 7,
        "steps": 24,
        "cfg_scale": 6.5,
        "sampler_name": "DPM++ 2M",
        "scheduler": "Karras",
        "override_settings": {"sd_model_checkpoint": "base", "CLIP_stop_at_last_layers": 1},
        "alwayson_scripts": {"ADetailer": {"args": [True, True, *units]}},
        **body,
    }


def test_adetailer_is_the_detailer_alone_with_adetailers_defaults() -> None:
    face = {"ad_model": "face_yolov8n.pt", "ad_prompt": "a face, [PROMPT]", "ad_denoising_strength": 0.35}
    said = spoken("/sdapi/v1/img2img", adetailer(face))
    assert said.request.path == "/sdapi/v1/detail"
    assert said.options == {"sd_model_checkpoint": "base", "schedulers_sigma": "karras"}
    assert said.request.body == {
        "image": "image",
        "seed": 7,
        "detailer_models": ["face_yolov8n"],
        "detailer_prompt": "a face, a man at sea",
        "detailer_negative": "blur",
        "detailer_strength": 0.35,
        "detailer_conf": 0.3,
        "detailer_blur": 4,
        "detailer_padding": 32,
        "detailer_steps": 24,
        "detailer_cfg_scale": 6.5,
        "detailer_sampler": "DPM++ 2M",
        "detailer_resolution": 576,
        "detailer_classes": "",
        "detailer_max": 30,
        "detailer_min_size": 0.0,
        "detailer_max_size": 1.0,
        "detailer_segmentation": True,
        "detailer_merge": False,
        "detailer_sort": False,
        "detailer_include_detections": False,
    }


def test_units_are_the_models_of_one_call_in_order() -> None:
    off = {"ad_model": "hand_yolov8n.pt", "ad_tab_enable": False}
    hand, face = {"ad_model": "hand_yolov8n.pt"}, {"ad_model": "face_yolov8n.pt"}
    body = spoken("/sdapi/v1/img2img", adetailer(hand, off, face)).request.body
    assert body["detailer_models"] == ["hand_yolov8n", "face_yolov8n"]


def test_models_that_the_server_sets_for_all_are_taken_out() -> None:
    names = ServerNames(
        family=Family.SDNEXT, ad_models=SDNEXT.ad_models, options={"detailer_args": "eyes-v1"}
    )
    said = spoken("/sdapi/v1/img2img", adetailer({"ad_model": "face_yolov8n.pt"}), names)
    assert said.options["detailer_args"] == ""


# -- SD.Next: refusals


def refused(**settings: Any) -> list[str]:
    job = prepare(RenderRequest(prompt="a", settings={"txt2img": {"enabled": True}, **settings}))
    return [str(error) for entry in job.entries for error in check_names((entry,), SDNEXT, CAPABILITIES)]


def units(*given: dict[str, Any]) -> dict[str, Any]:
    return {
        "adetailer": {"enabled": True, "units": [{"ad_model": "face_yolov8n.pt", **one} for one in given]}
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"txt2img": {"enabled": True, "sampler": "DPM++ 2M", "scheduler": "Karras"}},
        {"txt2img": {"enabled": True, "hires": {"enabled": True}}},
        units({"ad_confidence": 0.5, "ad_mask_blur": 8, "ad_steps": 30, "ad_cfg_scale": 5.0}),
        units({"ad_inpaint_width": 768, "ad_inpaint_height": 768, "ad_mask_merge_invert": "Merge"}),
        units({"ad_prompt": "a face"}, {"ad_prompt": "a face", "ad_model": "hand_yolov8n.pt"}),
        units({"ad_confidence": 0.3}, {}),  # its default
        units({}, {"ad_confidence": 0.9, "ad_tab_enable": False}),
    ],
)
def test_what_it_can_do_is_not_refused(settings: dict[str, Any]) -> None:
    assert refused(**settings) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (units({"ad_confidence": 0.3}, {"ad_confidence": 0.35}), ("units differ in conf (0.3 and 0.35)",)),
        (units({"ad_prompt": "a face"}, {}), ("units differ in prompt ('a face' and '')",)),
        (units({"ad_dilate_erode": 4}), ("unit 1, ad_dilate_erode: ", "nothing like")),
        (units({"ad_mask_k": 1}), ("unit 1, ad_mask_k: ", "nothing like")),
        (units({"ad_inpaint_only_masked": False}), ("unit 1, ad_inpaint_only_masked: ", "nothing like")),
        (units({"ad_checkpoint": "base"}), ("unit 1, ad_checkpoint: ", "nothing like")),
        (
            units({"ad_inpaint_width": 512, "ad_inpaint_height": 768}),
            ("unit 1, ad_inpaint_width: ", "squares"),
        ),
        (units({"ad_prompt": "one [SEP] two"}), ("unit 1, ad_prompt: ", "[SEP]")),
        (units({"ad_model": "None"}), ("unit 1, ad_model: ", "needs a model")),
        (units({"ad_tab_enable": False}), ("adetailer.units", "switched off")),
        (units({"ad_model": "face_yolov8s.pt"}), ("face_yolov8s.pt",)),
        ({"adetailer": {**units({})["adetailer"], "clip_skip": 2}}, ("adetailer.clip_skip",)),
        ({"txt2img": {"enabled": True, "restore_faces": True}}, ("txt2img.restore_faces",)),
        (
            {"txt2img": {"enabled": True, "sampler": "Euler a", "scheduler": "Karras"}},
            ("txt2img.scheduler", "takes no schedule"),
        ),
        (
            {
                "txt2img": {
                    "enabled": True,
                    "hires": {"enabled": True},
                    "refiner": {"enabled": True, "checkpoint": "base"},
                }
            },
            ("txt2img.refiner", "one of the two"),
        ),
        ({"img2img": {"enabled": True, "resize_mode": 3}}, ("img2img.resize_mode",)),
        ({"upscale": {"enabled": True, "gfpgan_visibility": 0.5}}, ("upscale.gfpgan_visibility",)),
    ],
)
def test_what_it_lacks_is_refused_where_it_stands(settings: dict[str, Any], words: tuple[str, ...]) -> None:
    problems = refused(**settings)
    assert len(problems) == 1
    assert all(word in problems[0] for word in words), problems


def test_nothing_of_this_is_refused_elsewhere() -> None:
    job = prepare(RenderRequest(prompt="a", settings={"txt2img": {"enabled": True, "restore_faces": True}}))
    names = ServerNames(samplers=SDNEXT.samplers, latent_upscale_modes=(Named(name="Latent"),))
    assert check_names(job.entries, names, Capabilities(family=Family.A1111)) == []
