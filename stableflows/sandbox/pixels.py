"""What decides a picture's pixels: the recipe, made of the request, the options and what is loaded."""

import hashlib
from typing import TYPE_CHECKING, Any

from PIL import Image

from stableflows.sandbox import adetailer, draw, samplers

if TYPE_CHECKING:
    from stableflows.sandbox.job import Job

CONDITIONING_OPTIONS = (
    "use_old_scheduling",
    "sdxl_crop_left",
    "sdxl_crop_top",
    "fp8_storage",
    "cache_fp16_weight",
    "emphasis",
)
_OPTIONS = (
    # Options of the server that change pixels and stand in no request.
    *CONDITIONING_OPTIONS,
    "CLIP_stop_at_last_layers",
    "randn_source",
    "comma_padding_backtrack",
    "enable_quantization",
    "sdxl_clip_l_skip",
    "upcast_attn",
    "sd3_enable_t5",
    "sd_vae_encode_method",
    "sd_vae_decode_method",
    "auto_vae_precision",
    "auto_vae_precision_bfloat16",
    "cross_attention_optimization",
    "s_min_uncond",
    "s_min_uncond_all",
    "token_merging_ratio",
    "pad_cond_uncond",
    "pad_cond_uncond_v0",
    "batch_cond_uncond",
    "use_old_emphasis_implementation",
    "use_old_karras_scheduler_sigmas",
    "no_dpmpp_sde_batch_determinism",
    "use_downcasted_alpha_bar",
    "eta_ddim",
    "eta_ancestral",
    "ddim_discretize",
    "s_churn",
    "s_tmin",
    "s_tmax",
    "s_noise",
    "sigma_min",
    "sigma_max",
    "rho",
    "always_discard_next_to_last_sigma",
    "sgm_noise_multiplier",
    "uni_pc_variant",
    "uni_pc_skip_type",
    "uni_pc_order",
    "uni_pc_lower_order_final",
    "sd_noise_schedule",
    "skip_early_cond",
    "beta_dist_alpha",
    "beta_dist_beta",
)
_HIRES_OPTIONS = (
    "token_merging_ratio_hr",
    "hires_fix_refiner_pass",
    "use_old_hires_fix_width_height",
    "hires_fix_use_firstpass_conds",
)
_IMG2IMG_OPTIONS = (
    "initial_noise_multiplier",
    "img2img_extra_noise",
    "img2img_color_correction",
    "img2img_fix_steps",
    "img2img_background_color",
    "inpainting_mask_weight",
    "token_merging_ratio_img2img",
    "upscaler_for_img2img",
    "overlay_inpaint",
)
TILE_OPTIONS = ("ESRGAN_tile", "ESRGAN_tile_overlap", "DAT_tile", "DAT_tile_overlap")
_NO_EFFECT_SCRIPTS = ("adetailer", "seed", "sampler", "refiner", "extra options")
"""Always-on scripts that do nothing in a request by themselves (ADetailer has its own recipe)."""


def digest_of(image: Image.Image) -> str:
    """Of the pixels alone: the text in a file changes nothing."""
    return hashlib.sha256(image.mode.encode() + str(image.size).encode() + image.tobytes()).hexdigest()


def _differing(job: "Job", names: tuple[str, ...]) -> dict[str, Any]:
    options = job.webui.options
    return {name: options[name] for name in names if options[name] != options.defaults.get(name)}


def _given(job: "Job", *names: str) -> dict[str, Any]:
    return {name: job.r[name] for name in names if job.r.get(name) is not None}


def facts(job: "Job", index: int, *, checkpoint: str) -> dict[str, Any]:
    """Everything common to all kinds of sampling that decides the pixels of image ``index``."""
    webui, r = job.webui, job.r
    found: dict[str, Any] = {
        "family": webui.family,
        "prompt": job.encoded["prompt"].text,
        "negative": job.encoded["negative"].text,
        "embeddings": [job.encoded["prompt"].embeddings, job.encoded["negative"].embeddings],
        "loras": sorted(webui.loras.applied.items()) if not r["disable_extra_networks"] else [],
        "seed": job.all_seeds[index],
        "steps": r["steps"],
        "sampler": job.sampler,
        "schedule": samplers.effective_schedule(webui.family, job.sampler, job.scheduler) or job.scheduler,
        "cfg_scale": r["cfg_scale"],
        "size": [r["width"] // 8, r["height"] // 8],
        "batch": [index % job.batch_size, job.batch_size],
        "checkpoint": checkpoint,
        "vae": vae_content(job),
        "tiling": bool(job.tiling),
        "options": _differing(job, _OPTIONS),
        **_given(job, "eta", "s_churn", "s_tmin", "s_tmax", "s_noise", "s_min_uncond", "distilled_cfg_scale"),
    }
    if r["subseed_strength"]:
        found["subseed"] = [job.all_subseeds[index], r["subseed_strength"]]
    if (r["seed_resize_from_w"] or 0) > 0 and (r["seed_resize_from_h"] or 0) > 0:
        found["seed_resize"] = [r["seed_resize_from_w"], r["seed_resize_from_h"]]
    ensd = webui.options["eta_noise_seed_delta"]
    if ensd and (samplers.uses_ensd(webui.family, job.sampler) or (job.sampler == "DDIM" and r["eta"])):
        found["ensd"] = ensd
    if job.restore_faces:
        names = ("face_restoration_model", "code_former_weight")
        found["restore_faces"] = [webui.options[name] for name in names]
    if job.refiner is not None and "Refiner" in job.extra:
        found["refiner"] = [job.refiner.file.sha256, r["refiner_switch_at"]]
        found["refiner_by_steps"] = webui.options["refiner_switch_by_sample_steps"]
    scripts = {
        name.lower(): value.get("args")
        for name, value in (r["alwayson_scripts"] or {}).items()
        if isinstance(value, dict) and value.get("args") and name.lower() not in _NO_EFFECT_SCRIPTS
    }
    if scripts:
        found["scripts"] = scripts
    return found


def vae_content(job: "Job") -> str:
    vae = job.webui.weights.vae
    return vae.sha256 if vae is not None and job.webui.family != "forge" else ""


def recipe(job: "Job", index: int, checkpoint: str, more: dict[str, Any]) -> draw.Recipe:
    """The recipe of image ``index``; ``more`` is what only its kind of sampling has."""
    found = {**facts(job, index, checkpoint=checkpoint), **more}
    return draw.Recipe(found, prompt=job.encoded["prompt"].text, checkpoint=checkpoint, vae=vae_content(job))


def hires(job: "Job", prompts: list[Any], checkpoint: str, size: tuple[int, int]) -> dict[str, Any]:
    names = ("hr_upscaler", "hr_second_pass_steps", "denoising_strength", "hr_cfg", "hr_distilled_cfg")
    return {
        "hires": _given(job, *names)
        | {
            "size": size,
            "prompts": prompts,
            "checkpoint": checkpoint,
            "sampler": [
                job.r.get("hr_sampler_name") or job.sampler,
                job.r.get("hr_scheduler") or job.scheduler,
            ],
            "modules": job.r.get("hr_additional_modules"),
            "options": _differing(job, _HIRES_OPTIONS),
        }
    }


def img2img(job: "Job", init: Image.Image, mask: Image.Image | None) -> dict[str, Any]:
    names = ("denoising_strength", "resize_mode", "image_cfg_scale", "initial_noise_multiplier")
    found: dict[str, Any] = {
        "init": digest_of(init),
        **_given(job, *names),
        "img2img_options": _differing(job, _IMG2IMG_OPTIONS),
    }
    if mask is not None:
        masking = (
            "mask_blur_x",
            "mask_blur_y",
            "mask_round",
            "inpainting_fill",
            "inpaint_full_res",
            "inpaint_full_res_padding",
            "inpainting_mask_invert",
        )
        found["mask"] = [digest_of(mask), _given(job, *masking), job.r.get("latent_mask") is not None]
    return found


def detail_recipe(
    job: "Job", index: int, number: int, unit: adetailer.Unit, image: Image.Image
) -> draw.Recipe:
    """The recipe of one ADetailer unit on one image."""
    checkpoint = job.webui.weights.current().content
    same_seed = job.webui.options["ad_same_seed_for_each_tab"]
    found = {
        **facts(job, index, checkpoint=checkpoint),
        **job.asked_sampling,
        "unit": adetailer.effective(unit),
        "unit_seed": job.all_seeds[index] + (0 if same_seed else number),
        "image": digest_of(image),
    }
    return draw.Recipe(found, prompt=job.encoded["prompt"].text, checkpoint=checkpoint, vae=vae_content(job))
