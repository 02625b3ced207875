"""Options of a server that stand in no request and yet decide what it renders or answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .capabilities import Family

__all__ = ["Trouble", "pixel_options", "troubling_options"]

_PIXEL_OPTIONS = (
    # noise
    "randn_source",
    "eta_noise_seed_delta",
    "enable_batch_seeds",
    "initial_noise_multiplier",
    "img2img_extra_noise",
    "no_dpmpp_sde_batch_determinism",
    # prompt
    "emphasis",
    "use_old_emphasis_implementation",
    "comma_padding_backtrack",
    "sdxl_clip_l_skip",
    "sdxl_crop_top",
    "sdxl_crop_left",
    "sdxl_refiner_low_aesthetic_score",
    "sdxl_refiner_high_aesthetic_score",
    "sd3_enable_t5",
    "enable_prompt_comments",
    "sd_hypernetwork",
    "sd_lora",
    "lora_functional",
    # model
    "sd_unet",
    "upcast_attn",
    "tiling",
    "fp8_storage",
    "cache_fp16_weight",
    "forge_unet_storage_dtype",
    "forge_additional_modules",
    "forge_try_reproduce",
    "sd_vae_encode_method",
    "sd_vae_decode_method",
    "sd_vae_overrides_per_model_preferences",
    "auto_vae_precision",
    "auto_vae_precision_bfloat16",
    # sampling
    "eta_ddim",
    "eta_ancestral",
    "ddim_discretize",
    "s_churn",
    "s_tmin",
    "s_tmax",
    "s_noise",
    "s_min_uncond",
    "s_min_uncond_all",
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
    "use_old_karras_scheduler_sigmas",
    "use_old_scheduling",
    "use_downcasted_alpha_bar",
    "token_merging_ratio",
    "token_merging_ratio_img2img",
    "token_merging_ratio_hr",
    "pad_cond_uncond",
    "pad_cond_uncond_v0",
    "batch_cond_uncond",
    # hires and refiner
    "hires_fix_refiner_pass",
    "hires_fix_use_firstpass_conds",
    "use_old_hires_fix_width_height",
    "refiner_switch_by_sample_steps",
    # pictures in and after
    "upscaler_for_img2img",
    "img2img_color_correction",
    "img2img_fix_steps",
    "img2img_background_color",
    "inpainting_mask_weight",
    "overlay_inpaint",
    "face_restoration",
    "face_restoration_model",
    "code_former_weight",
    "ESRGAN_tile",
    "ESRGAN_tile_overlap",
    "DAT_tile",
    "DAT_tile_overlap",
    "SWIN_tile",
    "SWIN_tile_overlap",
    "ldsr_steps",
    "postprocessing_enable_in_main_ui",
    "postprocessing_disable_in_extras",
    "postprocessing_operation_order",
)

_SDNEXT_PIXEL_PREFIXES = ("schedulers_", "diffusers_", "detailer_", "freeu_", "hypertile_", "upscaler_")
"""SD.Next names its own in groups; those of the sampler, the pipeline and the detailer change pixels."""

_LOSSY_FORMATS = ("jpg", "jpeg", "webp", "avif")


def pixel_options(options: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """The options that change pixels and stand in no request, as far as this server has them.

    They belong to the identity of a call. (Checkpoint, VAE and clip skip are not among them: they stand in
    requests.)

    Args:
        options: all of the server's.
        family: of the server.
    """
    names = {name for name in _PIXEL_OPTIONS if name in options}
    if family is Family.SDNEXT:
        names |= {name for name in options if name.startswith(_SDNEXT_PIXEL_PREFIXES)}
    return {name: options[name] for name in sorted(names)}


@dataclass(frozen=True, slots=True)
class Trouble:
    """An option that changes what is asked, or hides what was done.

    Args:
        option: its key, as in POST /sdapi/v1/options.
        value: what it is now.
        effect: what it does to a run.
        better: what to set it to.
    """

    option: str
    value: Any
    effect: str
    better: Any

    def __str__(self) -> str:
        return f"option {self.option} is {self.value!r}: {self.effect}; set it to {self.better!r}"


_Test = Callable[[Any], bool]


def _off(value: Any) -> bool:
    return value is False


def _on(value: Any) -> bool:
    return value is True


_TROUBLES: tuple[tuple[str, _Test, str, Any], ...] = (
    ("enable_pnginfo", _off, "pictures carry no infotext, so that seeds cannot be verified one by one", True),
    (
        "samples_format",
        lambda value: value in _LOSSY_FORMATS,
        "pictures come with losses between stages",
        "png",
    ),
    ("lora_add_hashes_to_infotext", _off, "whether a LoRA was found cannot be verified", True),
    ("add_model_hash_to_info", _off, "which checkpoint rendered can be verified by its name only", True),
    ("add_model_name_to_info", _off, "the infotext does not name the checkpoint", True),
    ("face_restoration", _on, "faces are restored in every picture, asked for or not", False),
    ("tiling", _on, "every picture is made to tile, asked for or not", False),
    ("img2img_color_correction", _on, "each img2img pass takes its colours from its input", False),
    ("use_old_hires_fix_width_height", _on, "the hires size means something else than asked", False),
)


def troubling_options(options: Mapping[str, Any]) -> list[Trouble]:
    """Options that would change what is asked, or hide what was done, each with what to set it to.

    The grid (``return_grid``) is none of them: it comes only where the server also saves, which is never
    asked for, and ``index_of_first_image`` tells it apart.
    """
    return [
        Trouble(option, options[option], effect, better)
        for option, is_bad, effect, better in _TROUBLES
        if option in options and is_bad(options[option])
    ]
