"""An infotext of AUTOMATIC1111, Forge, reForge or SD.Next as the settings that make its picture again.

Keys and what their absence means: `modules/processing.py`, `modules/infotext_utils.py` and
`modules/shared_options.py` of AUTOMATIC1111 v1.10.1; `modules/processing_info.py` of SD.Next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from stableflows.images.detailer import detailer_units
from stableflows.images.metadata import Program
from stableflows.images.recipe import Recipe, Unreadable
from stableflows.images.values import HASH, Params, checkpoint, number, seed, size, switch, text, whole
from stableflows.webui.infotext import Infotext, parse_infotext

__all__ = ["recipe_of_infotext"]

TAKEN: dict[str, tuple[str, Callable[[str], Any]]] = {
    "Steps": ("steps", whole),
    "CFG scale": ("cfg_scale", number),
    "Seed": ("seed", seed),
    "Variation seed": ("subseed", seed),
    "Variation seed strength": ("subseed_strength", number),
    "Variation strength": ("subseed_strength", number),
    "Tiling": ("tiling", switch),
    "Eta": ("eta", number),
    "Eta DDIM": ("eta", number),
    "Sigma churn": ("s_churn", number),
    "Sigma tmin": ("s_tmin", number),
    "Sigma tmax": ("s_tmax", number),
    "Sigma noise": ("s_noise", number),
    "NGMS": ("s_min_uncond", number),
}
"""Key -> field of txt2img."""

HIRES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "Hires upscale": ("scale", number),
    "Hires scale": ("scale", number),
    "Hires steps": ("steps", whole),
    "Hires upscaler": ("upscaler", text),
    "Hires strength": ("denoising_strength", number),
    "Hires sampler": ("sampler", text),
    "Hires schedule type": ("scheduler", text),
    "Hires checkpoint": ("checkpoint", checkpoint),
    "Hires prompt": ("prompt", text),
    "Hires negative prompt": ("negative_prompt", text),
}
"""Key -> field of txt2img.hires. Beside these the target size, and the denoising strength."""

OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "ENSD": ("eta_noise_seed_delta", whole),
    "RNG": ("randn_source", text),
    "Emphasis": ("emphasis", text),
    "Token merging ratio": ("token_merging_ratio", number),
    "Token merging ratio hr": ("token_merging_ratio_hr", number),
    "Pad conds": ("pad_cond_uncond", switch),
    "Pad conds v0": ("pad_cond_uncond_v0", switch),
    "NGMS all steps": ("s_min_uncond_all", switch),
    "Skip Early CFG": ("skip_early_cond", number),
    "VAE Encoder": ("sd_vae_encode_method", text),
    "VAE Decoder": ("sd_vae_decode_method", text),
    "FP8 weight": ("fp8_storage", text),
    "Cache FP16 weight for LoRA": ("cache_fp16_weight", switch),
    "Hires refiner": ("hires_fix_refiner_pass", text),
    "Extra noise": ("img2img_extra_noise", number),
    "Downcast alphas_cumprod": ("use_downcasted_alpha_bar", switch),
    "Noise Schedule": ("sd_noise_schedule", text),
    "Schedule min sigma": ("sigma_min", number),
    "Schedule max sigma": ("sigma_max", number),
    "Schedule rho": ("rho", number),
    "Discard penultimate sigma": ("always_discard_next_to_last_sigma", switch),
    "SGM noise multiplier": ("sgm_noise_multiplier", switch),
    "UniPC variant": ("uni_pc_variant", text),
    "UniPC skip type": ("uni_pc_skip_type", text),
    "UniPC order": ("uni_pc_order", whole),
    "UniPC lower order final": ("uni_pc_lower_order_final", switch),
    "Beta scheduler alpha": ("beta_dist_alpha", number),
    "Beta scheduler beta": ("beta_dist_beta", number),
    "Old prompt editing timelines": ("use_old_scheduling", switch),
    "Face restoration": ("face_restoration_model", text),
}
"""Key -> server option that stood otherwise than by default, sent with the requests."""

SAYS_NOTHING = (
    *("VAE hash", "Lora hashes", "TI hashes", "Hashes", "Embeddings", "Styles", "User"),
    *("Version", "App", "Backend", "Pipeline", "Parser", "Operations", "Batch", "Index", "Hires size"),
    *("Second pass", "Refiner switch by sampling steps"),
)
"""Keys that decide nothing beside the others: names and hashes of what stands in the prompt, the program."""

SUFFIXES_OF_SAMPLERS = ("Karras", "Exponential")
"""Schedules that were part of the sampler's name before AUTOMATIC1111 1.9."""

FROM_AN_IMAGE = (
    *("Mask mode", "Mask blur", "Inpaint area", "Masked content", "Masked area padding", "Mask weight"),
    *("Init image size", "Init image hash", "SD upscale overlap", "SD upscale upscaler"),
    *("Conditional mask weight", "Noise multiplier", "Denoising curve", "Final denoising strength"),
)
"""Keys that only img2img writes."""

ANOTHER_IMAGE = (
    "it was made from another image (img2img), which its metadata does not hold; "
    "to continue this one, name the stages: --stages upscale"
)
HIRES_MARKS = ("Hires upscale", "Hires scale", "Hires resize", "Hires fixed", "Hires upscaler", "Hires steps")

POSTPROCESSING: dict[str, tuple[str, Callable[[str], Any]]] = {
    "Postprocess upscaler": ("upscaler", text),
    "Postprocess upscale by": ("factor", number),
    "GFPGAN visibility": ("gfpgan_visibility", number),
    "CodeFormer visibility": ("codeformer_visibility", number),
    "CodeFormer weight": ("codeformer_weight", number),
}
FORGE_DEFAULTS = {
    "Hires Module": "Use same choices",
    "Hires CFG Scale": "1.0",
    "Distilled CFG Scale": "3.5",
    "Hires Distilled CFG Scale": "3.5",
}
FILLER = ", Filler one: 0, Filler two: 0"
"""A line counts as one of pairs with three of them or more; extras write as few as one."""

NEEDED = {"Steps": "steps", "Sampler": "sampler", "Seed": "seed", "Size": "width"}
"""Without one of these an infotext is half of one."""


def recipe_of_infotext(infotext: str, postprocessing: str = "") -> Recipe:
    """The recipe of a WebUI's picture.

    Args:
        postprocessing: what extras wrote beside the infotext.

    Raises:
        Unreadable: it is no infotext, or one of its values is none.
    """
    read = parse_infotext(infotext)
    if not read.params:
        raise Unreadable("its generation parameters are half there: the last line, 'Steps: ...', is missing")
    return _Reading(read).recipe(postprocessing)


class _Reading:
    """One infotext; what stands in the way of making its picture again is gathered."""

    def __init__(self, read: Infotext) -> None:
        self.read = read
        self.params = Params(read.params)
        self.obstacles: list[str] = []
        self.sdnext = "App" in self.params or "Backend" in self.params
        self.forge = str(read.params.get("Version", "")).startswith(("f0", "f1", "f2", "neo"))

    def recipe(self, postprocessing: str) -> Recipe:
        params = self.params
        txt2img = params.take_all(TAKEN) | self._sampler() | self._size() | self._seed_resize()
        missing = [key for key, field in NEEDED.items() if field not in txt2img]
        if missing:
            self.obstacles.append(f"its generation parameters are half there: without {', '.join(missing)}")
        self._refuse_other_images()
        if hires := self._hires(txt2img):
            txt2img["hires"] = hires
        if refiner := self._refiner(txt2img.get("steps", 0)):
            txt2img["refiner"] = refiner
        if options := params.take_all(OPTIONS):
            txt2img["override_settings"] = options
            if "face_restoration_model" in options:
                txt2img["restore_faces"] = True
        if units := detailer_units(params):
            # As it was: a script of txt2img. As a stage it would repaint the finished picture.
            txt2img["alwayson_scripts"] = {"ADetailer": {"args": [True, False, *units]}}
        config: dict[str, Any] = {"txt2img": txt2img, **self._models()}
        if upscale := self._upscale(postprocessing):
            config["upscale"] = upscale
        self._drop_defaults_of_forge()
        prompt = self.read.prompt + self._hypernetwork()
        params.drop(*SAYS_NOTHING, *FROM_AN_IMAGE)
        return Recipe(
            prompt=prompt,
            negative_prompt=self.read.negative_prompt,
            config=config,
            seed=txt2img.get("seed"),
            left_out=params.left,
            obstacles=tuple(self.obstacles),
            program=str(Program.WEBUI),
        )

    def _drop_defaults_of_forge(self) -> None:
        """What Forge writes of fields that nothing here sends, where it is what their absence means."""
        for key in self.params.left:
            plain = key.rstrip(" 0123456789")
            if self.read.params[key] == FORGE_DEFAULTS.get(plain):
                self.params.drop(key)

    def _refuse_other_images(self) -> None:
        params = self.params
        hires = any(key in params for key in HIRES_MARKS)
        if script := params.take("Script", str):
            self.obstacles.append(f"it is what the script {script!r} put together from several pictures")
        elif any(key in params for key in FROM_AN_IMAGE) or ("Denoising strength" in params and not hires):
            self.obstacles.append(ANOTHER_IMAGE)

    def _sampler(self) -> dict[str, Any]:
        params = self.params
        sampler, scheduler = params.take("Sampler", text), params.take("Schedule type", text)
        scheduler = params.take("Sampler sigma", text) if scheduler is None else scheduler
        if sampler and scheduler is None:
            for suffix in SUFFIXES_OF_SAMPLERS:
                if sampler.endswith(f" {suffix}"):
                    sampler, scheduler = sampler.removesuffix(f" {suffix}"), suffix
        found = {"sampler": sampler, "scheduler": None if scheduler == "Automatic" else scheduler}
        return {field: value for field, value in found.items() if value}

    def _size(self) -> dict[str, int]:
        """Width and height of the first pass. Before hires had a factor, "Size" was that of the second."""
        found, first = self.params.take("Size", size), self.params.take("First pass size", size)
        if first and found:
            self.obstacles.append(
                "its second pass (First pass size) is that of an old WebUI, which no setting says"
            )
        return {"width": found[0], "height": found[1]} if found else {}

    def _seed_resize(self) -> dict[str, int]:
        found = self.params.take("Seed resize from", size)
        return (
            {"seed_resize_from_w": found[0], "seed_resize_from_h": found[1]} if found and all(found) else {}
        )

    def _hires(self, first: Mapping[str, Any]) -> dict[str, Any]:
        params = self.params
        if not any(key in params for key in HIRES_MARKS):
            params.drop("Denoising strength")
            return {}
        found = params.take_all(HIRES)
        strength = params.take("Denoising strength", number)
        if strength is not None:
            found.setdefault("denoising_strength", strength)
        target = params.take("Hires resize", size) or params.take("Hires fixed", size)
        if target and any(target) and "width" in first:
            # A side left out follows from the proportions (`calculate_target_resolution`).
            width = target[0] or target[1] * first["width"] // max(1, first["height"])
            height = target[1] or target[0] * first["height"] // max(1, first["width"])
            found = {key: value for key, value in found.items() if key != "scale"}
            found |= {"width": width, "height": height}
        left_open = ("Use same sampler", "Use same scheduler", "Use same checkpoint", "Automatic")
        return {"enabled": True, **{key: value for key, value in found.items() if value not in left_open}}

    def _refiner(self, steps: int) -> dict[str, Any]:
        params = self.params
        name, at = params.take("Refiner", checkpoint), params.take("Refiner switch at", number)
        at = params.take("Refiner start", number) if at is None else at
        by_steps = params.take("Refiner switch by sampling steps", switch)
        if name is None:
            return {}
        if at is None or not 0 < at < 1:
            self.obstacles.append("its refiner worked from the first step, which no setting here says")
        elif not by_steps:
            return {"enabled": True, "checkpoint": name, "switch_at": at}
        elif steps and round(at * steps) >= 1 and math.isclose(round(at * steps) / steps, at, abs_tol=1e-6):
            return {"enabled": True, "checkpoint": name, "switch_step": round(at * steps)}
        else:
            self.obstacles.append(f"its refiner took over at {at} of {steps} steps, which is no whole step")
        return {}

    def _models(self) -> dict[str, Any]:
        """Checkpoint, VAE and clip skip. Absent means: no other VAE was chosen, and no layer skipped.

        A checkpoint is what its file holds: its name may be another by now, or be another file's.
        """
        params = self.params
        name = params.take("Model", text)
        # One of the old kind is not looked for, and stays among what is told to be left out.
        comparable = HASH.fullmatch(self.read.params.get("Model hash", ""))
        short_hash = params.take("Model hash", text) if comparable or not name else None
        if name and short_hash:
            name = f"{name} [{short_hash}]"
        vae = params.take("VAE", text)
        if vae is None and not self.sdnext and not self.forge:
            vae = "Automatic"
        skip = params.take("Clip skip", whole) or 1
        found = {"checkpoint": name or short_hash, "vae": vae, "clip_skip": skip}
        return {field: value for field, value in found.items() if value is not None}

    def _hypernetwork(self) -> str:
        name, strength = self.params.take("Hypernet", text), self.params.take("Hypernet strength", number)
        return f"<hypernet:{name}:{1.0 if strength is None else strength}>" if name else ""

    def _upscale(self, postprocessing: str) -> dict[str, Any]:
        """What extras did to the picture, as the settings of the upscale stage."""
        if not postprocessing.strip():
            return {}
        params = Params(parse_infotext(postprocessing + FILLER).params)
        params.drop("Filler one", "Filler two")
        found = params.take_all(POSTPROCESSING)
        target, crop = params.take("Postprocess upscale to", size), params.take("Postprocess crop to", size)
        if target:
            found |= {"width": target[0], "height": target[1], "crop": crop is not None}
        if second := params.take("Postprocess upscaler 2", text):
            self.obstacles.append(f"it was enlarged by {second} too, and with what share is not written down")
        if params.left:
            self.obstacles.append(
                f"extras worked it over by what is not known here: {', '.join(params.left)}"
            )
        return {"upscaler": "None", **found}
