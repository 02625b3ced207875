"""What a flavour has and answers beyond the recorded pairs: authentication, SD.Next, lists, formats."""

import base64
import gzip
from typing import Any

import httpx
import pytest

from stableflows.sandbox import Catalog, Checkpoint, Fault, Lora, SandboxSettings, Vae, run_sandbox
from tests.sandbox.conftest import Talk, picture

FLAVOURS = ("a1111", "forge", "api-only", "sdnext")
LISTS = (
    "options",
    "samplers",
    "schedulers",
    "upscalers",
    "sd-models",
    "face-restorers",
    "prompt-styles",
    "embeddings",
    "loras",
    "memory",
    "scripts",
    "script-info",
    "progress",
)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_all_stages_on_every_flavour(flavour: Any) -> None:
    with run_sandbox(SandboxSettings(flavour=flavour)) as sandbox:
        talk = Talk(sandbox)
        for path in LISTS:
            talk.get(path)
        hires: dict[str, Any] = {"enable_hr": True, "denoising_strength": 0.5, "hr_scale": 1.5}
        if flavour == "forge":
            hires["hr_additional_modules"] = ["Use same choices"]
        if flavour == "sdnext":
            hires |= {"hr_resize_mode": 1, "hr_force": True, "hr_upscaler": "Latent Bilinear"}
        stretch: dict[str, Any] = {"resize_mode": 1} if flavour == "sdnext" else {}
        made = talk.render(prompt="a <lora:film_grain:0.5>", **hires)
        image = made["images"][0]
        assert picture_size(image) == (192, 192)
        assert picture_size(talk.render("img2img", init_images=[image], **stretch)["images"][0]) == (128, 128)
        lanczos = "Resize Lanczos" if flavour == "sdnext" else "Lanczos"
        larger = talk.post("extra-single-image", {"image": image, "upscaler_1": lanczos}).json()["image"]
        assert picture_size(larger) == (384, 384)
        talk.http.close()


def picture_size(text: str) -> tuple[int, int]:
    return picture(base64.b64decode(text)).size


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_authentication(flavour: Any) -> None:
    settings = SandboxSettings(flavour=flavour, auth=("user", "a:b"))
    with run_sandbox(settings) as sandbox, httpx.Client(base_url=sandbox.url) as client:
        assert client.get("/sdapi/v1/options").status_code == 401
        assert client.get("/sdapi/v1/options", auth=("user", "a")).status_code == 401
        assert client.get("/sdapi/v1/options", auth=("user", "a:b")).status_code == 200
        assert client.get("/sdapi/v1/options", headers={"Authorization": "Basic ???"}).status_code == 401
        # What is not below /sdapi is open; SD.Next has no document without --docs.
        assert client.get("/openapi.json").status_code == (404 if flavour == "sdnext" else 200)


def test_routes_of_api_only() -> None:
    with (
        run_sandbox(SandboxSettings(flavour="api-only")) as sandbox,
        httpx.Client(base_url=sandbox.url) as client,
    ):
        paths = ("/", "/internal/ping", "/internal/pending-tasks")
        assert [client.get(path).status_code for path in paths] == [404, 404, 404]
        assert client.get("/sdapi/v1/progress").status_code == 200


def test_sdnext_from_its_source() -> None:
    with run_sandbox(SandboxSettings(flavour="sdnext")) as sandbox:
        talk = Talk(sandbox)
        assert talk.post("interrupt").status_code == 204
        assert talk.post("interrupt").content == b""
        assert talk.post("refresh-checkpoints").status_code == 204
        missing = talk.post("img2img", {"prompt": "x"})
        assert (missing.status_code, missing.json()) == (400, {"error": "Init image is none"})
        unknown = talk.post("txt2img", {"prompt": "x", "sampler_name": "nope"})
        assert (unknown.status_code, unknown.json()["detail"]) == (404, "Sampler not found")
        assert unknown.json()["code"] == 404
        assert talk.render(sampler_name="euler A")["info"]["sampler_name"] == "Euler a"
        sandbox.arm(Fault(kind="oom"))
        caught = talk.post("txt2img", {"prompt": "x", "steps": 2})
        assert (caught.status_code, caught.json()["images"]) == (200, [])
        assert talk.post("options", {"jpeg_quality": 70}).json() == {"updated": [{"jpeg_quality": True}]}
        for path in ("latent-upscale-modes", "hypernetworks", "realesrgan-models"):
            assert talk.http.get(f"/sdapi/v1/{path}").status_code == 404
        for path in ("status", "version", "checkpoint"):
            talk.get(path)
        assert "id" in talk.get("progress")
        assert "stopping_generation" not in talk.get("progress")["state"]
        assert talk.get("sd-models")[0]["type"] == "safetensors"
        assert "aliases" not in talk.get("samplers")[0]
        assert "adetailer" not in talk.get("scripts")["txt2img"]
        talk.http.close()


def test_gzip_only_when_asked_and_worth_it(talk: Talk) -> None:
    plain = talk.http.get("/sdapi/v1/samplers", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    zipped = talk.http.send(
        talk.http.build_request("GET", "/sdapi/v1/samplers", headers={"Accept-Encoding": "gzip"}), stream=True
    )
    assert zipped.headers["content-encoding"] == "gzip"
    assert gzip.decompress(b"".join(zipped.iter_raw())) == plain.content
    zipped.close()
    assert "content-encoding" not in talk.http.get("/internal/ping").headers


@pytest.mark.parametrize(("option", "format_"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")])
def test_formats_keep_the_infotext(talk: Talk, option: str, format_: str) -> None:
    made = talk.render(override_settings={"samples_format": option})
    file = base64.b64decode(made["images"][0])
    # The override is gone when the image is encoded: only the saved option decides.
    assert picture(file).format == "PNG"
    talk.post("options", {"samples_format": option})
    try:
        made = talk.render()
        assert picture(base64.b64decode(made["images"][0])).format == format_
        read = talk.post("png-info", {"image": made["images"][0]}).json()
        assert read["info"] == made["info"]["infotexts"][0]
    finally:
        talk.post("options", {"samples_format": "png"})


def test_hashes_are_null_until_the_first_load() -> None:
    with run_sandbox() as sandbox:
        talk = Talk(sandbox)
        assert [bool(model["hash"]) for model in talk.get("sd-models")] == [True, False, False]
        talk.render(override_settings={"sd_model_checkpoint": "sandbox_anime_xl"})
        assert [bool(model["hash"]) for model in talk.get("sd-models")] == [True, False, True]
        talk.http.close()


def test_weights_are_swapped_back_only_when_they_are_needed() -> None:
    with run_sandbox() as sandbox:
        talk = Talk(sandbox)
        talk.render(override_settings={"sd_model_checkpoint": "sandbox_anime_xl"})
        assert talk.get("options")["sd_model_checkpoint"].startswith("sandbox_base_v1")
        assert sandbox.webui.weights.loads == 2
        talk.render(override_settings={"sd_model_checkpoint": "sandbox_anime_xl"})
        assert sandbox.webui.weights.loads == 2
        talk.render()
        assert sandbox.webui.weights.loads == 3
        kept = {"sd_model_checkpoint": "sandbox_anime_xl"}
        talk.render(override_settings=kept, override_settings_restore_afterwards=False)
        assert talk.get("options")["sd_model_checkpoint"].startswith("sandbox_anime_xl.safetensors [")
        talk.http.close()


def test_a_refiner_costs_two_loads() -> None:
    with run_sandbox() as sandbox:
        talk = Talk(sandbox)
        before = sandbox.webui.weights.loads
        for _ in range(2):
            talk.render(refiner_checkpoint="sandbox_anime_xl", refiner_switch_at=0.6)
        assert sandbox.webui.weights.loads == before + 3
        talk.http.close()


def test_a_detailer_after_a_refiner_works_with_the_base(talk: Talk) -> None:
    unit = {"ADetailer": {"args": [True, False, {"ad_model": "face_yolov8n.pt"}]}}
    refined: dict[str, Any] = {
        "refiner_checkpoint": "sandbox_anime_xl",
        "refiner_switch_at": 0.5,
        "alwayson_scripts": unit,
    }
    first = talk.files(**refined)
    talk.render(override_settings={"sd_model_checkpoint": "sandbox_anime_xl"})
    assert talk.files(**refined) == first


def test_skip_img2img_works_on_the_input_in_its_own_size(talk: Talk) -> None:
    source = talk.render(width=200, height=136)["images"][0]
    args = {"ADetailer": {"args": [True, True, {"ad_model": "face_yolov8n.pt"}]}}
    made = talk.render("img2img", init_images=[source], alwayson_scripts=args, width=128, height=128)
    assert (made["info"]["width"], made["info"]["height"], made["info"]["steps"]) == (128, 128, 1)
    assert picture_size(made["images"][0]) == (200, 136)


def test_a_catalog_refuses_two_files_of_one_name() -> None:
    with pytest.raises(ValueError, match="two files cannot have one name"):
        Catalog(checkpoints=(Checkpoint(name="a"), Checkpoint(name="a")))
    with pytest.raises(KeyError):
        Catalog().replacing("loras", "nope", mtime=1)
    assert Catalog(loras=(Lora(name="a"),), vaes=(Vae(name="v.pt"),)).vae("v.pt") is not None


def test_a_huge_size_is_refused_like_memory_that_is_not_there(talk: Talk) -> None:
    answer = talk.post("txt2img", {"prompt": "x", "width": 20000, "height": 20000})
    assert answer.status_code == 500
    assert "can't allocate memory" in answer.json()["errors"]


def test_sd_upscale_needs_its_arguments(talk: Talk) -> None:
    source = talk.render()["images"][0]
    fields = {"init_images": [source], "script_name": "SD upscale", "prompt": "x"}
    unknown = talk.post("img2img", {**fields, "script_args": ["", 8, "nope", 2.0]})
    assert unknown.json()["error"] == "ValueError"
    few = talk.post("img2img", {**fields, "script_args": ["", 8, "Lanczos"]})
    assert few.status_code == 500
