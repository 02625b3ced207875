"""The published ``webuiapi`` client, unmodified, against the sandbox."""

import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image, ImageDraw

from stableflows.sandbox import Sandbox, SandboxSettings, run_sandbox

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    webuiapi = pytest.importorskip("webuiapi")

SMALL: dict[str, Any] = {"steps": 3, "width": 128, "height": 128}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with run_sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def api(sandbox: Sandbox) -> Any:
    host, port = sandbox.url.removeprefix("http://").split(":")
    return webuiapi.WebUIApi(host=host, port=int(port))


def test_txt2img_with_batches(api: Any) -> None:
    result = api.txt2img(prompt="a lighthouse", seed=3, batch_size=2, n_iter=2, **SMALL)
    assert len(result.images) == 4
    assert result.info["all_seeds"] == [3, 4, 5, 6]
    assert result.image.info["parameters"].startswith("a lighthouse\nSteps: 3")
    assert result.parameters["batch_size"] == 2


def test_txt2img_with_hires_and_scheduler(api: Any) -> None:
    result = api.txt2img(
        prompt="a lighthouse",
        seed=3,
        sampler_name="DPM++ 2M",
        scheduler="Exponential",
        enable_hr=True,
        hr_scale=2,
        hr_upscaler=webuiapi.HiResUpscaler.Latent,
        hr_second_pass_steps=2,
        denoising_strength=0.5,
        **SMALL,
    )
    assert result.image.size == (256, 256)
    assert "Schedule type: Exponential" in result.image.info["parameters"]
    assert "Hires steps: 2" in result.image.info["parameters"]


def test_img2img_and_inpaint(api: Any) -> None:
    first = api.txt2img(prompt="a lighthouse", seed=3, **SMALL).image
    painted = api.img2img(images=[first], prompt="a storm", seed=4, denoising_strength=0.6, **SMALL)
    assert painted.image.size == (128, 128)
    mask = Image.new("RGB", first.size, "black")
    ImageDraw.Draw(mask).rectangle((32, 32, 96, 96), fill="white")
    inpainted = api.img2img(
        images=[first], mask_image=mask, inpainting_fill=1, prompt="a boat", seed=4, **SMALL
    )
    assert "Mask blur: 4" in inpainted.image.info["parameters"]
    assert inpainted.image.crop((0, 0, 128, 16)).tobytes() == first.crop((0, 0, 128, 16)).tobytes()


def test_its_adetailer_helper_runs_a_unit_that_nobody_asked_for(api: Any) -> None:
    """It leaves out the second boolean and sends a key that ADetailer 25 renamed: the real trap, at 200."""
    unit = webuiapi.ADetailer(ad_model="face_yolov8s.pt")
    result = api.txt2img(prompt="a portrait", seed=3, adetailer=[unit], **SMALL)
    assert "ad_mask_k_largest" in unit.to_dict()
    assert "face_yolov8s.pt" not in result.image.info["parameters"]
    assert "ADetailer model: face_yolov8n.pt" in result.image.info["parameters"]


def test_extras(api: Any) -> None:
    first = api.txt2img(prompt="a lighthouse", seed=3, **SMALL).image
    single = api.extra_single_image(image=first, upscaler_1="R-ESRGAN 4x+", upscaling_resize=1.5)
    assert single.image.size == (192, 192)
    many = api.extra_batch_images(images=[first, first], upscaler_1="Lanczos", upscaling_resize=2)
    assert [image.size for image in many.images] == [(256, 256)] * 2


def test_options(api: Any) -> None:
    assert api.get_options()["samples_format"] == "png"
    api.set_options({"jpeg_quality": 66})
    assert api.get_options()["jpeg_quality"] == 66
    api.util_set_model("sandbox_anime_xl")
    assert api.util_get_current_model().startswith("sandbox_anime_xl")
    api.util_set_model("sandbox_base_v1")


def test_png_info(api: Any) -> None:
    image = api.txt2img(prompt="a lighthouse", seed=3, **SMALL).image
    assert api.png_info(image).info == image.info["parameters"]


def test_lists(api: Any) -> None:
    assert "Euler a" in [item["name"] for item in api.get_samplers()]
    assert "Karras" in [item["label"] for item in api.get_schedulers()]
    assert "R-ESRGAN 4x+" in [item["name"] for item in api.get_upscalers()]
    assert "Latent" in [item["name"] for item in api.get_latent_upscale_modes()]
    assert api.get_sd_models()[0]["model_name"] == "sandbox_base_v1"
    assert api.get_sd_vae()[0]["model_name"] == "sandbox_vae.safetensors"
    assert "film_grain" in [item["name"] for item in api.get_loras()]
    assert "sharp_sb" in api.get_embeddings()["loaded"]
    assert api.get_face_restorers()[0]["name"] == "CodeFormer"
    assert api.get_prompt_styles()[0]["name"] == "oil painting"
    assert "adetailer" in api.get_scripts()["txt2img"]
    assert api.get_cmd_flags()["api_auth"] is None
    assert api.get_memory()["ram"]["total"] > 0
    assert api.get_hypernetworks() == []
    assert api.get_realesrgan_models()
    api.refresh_checkpoints()


def test_progress_and_interrupt() -> None:
    with run_sandbox(SandboxSettings(step_seconds=0.05)) as sandbox:
        host, port = sandbox.url.removeprefix("http://").split(":")
        api = webuiapi.WebUIApi(host=host, port=int(port))
        results: list[Any] = []

        def work() -> None:
            results.append(api.txt2img(prompt="a cat", steps=200, width=64, height=64))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        for _ in range(2000):
            if api.get_progress()["state"]["sampling_step"] > 1:
                break
            time.sleep(0.005)
        assert 0 < api.get_progress()["progress"] < 1
        assert api.interrupt() == {}
        thread.join(10)
        assert results[0].image.size == (64, 64)
        assert api.get_progress()["progress"] == 0
