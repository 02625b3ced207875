"""A generation on its way: its fields, its encoded prompts, and what is told of it afterwards."""

import random
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from stableflows.sandbox import adetailer, draw, infotext, networks, pixels, samplers, sdnext
from stableflows.sandbox.errors import ServerError, runtime_error, type_error
from stableflows.sandbox.faults import Fault
from stableflows.sandbox.webui import Interrupted, WebUI
from stableflows.sandbox.weights import CheckpointInfo

_SEED_LIMIT = 4294967294
_PIXEL_LIMIT = 64 * 1024 * 1024
"""More latents than a machine has memory for: A1111 fails to allocate, and the sandbox could not draw it."""


def fixed_seed(seed: Any) -> int:
    """The seed itself; -1 and nothing draw one."""
    if seed is None or seed == "" or int(seed) == -1:
        return random.SystemRandom().randrange(_SEED_LIMIT)
    return int(seed)


@dataclass
class Job:
    """A request on its way. ``r`` are its fields, with defaults; scripts change them between runs."""

    webui: WebUI
    r: dict[str, Any]
    fault: Fault | None = None
    detailer: adetailer.Detailer | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    """``extra_generation_params``: what the infotext gets beyond the fixed keys, in order of appearance."""
    all_prompts: list[str] = field(default_factory=list)
    all_negative: list[Any] = field(default_factory=list)
    all_seeds: list[int] = field(default_factory=list)
    all_subseeds: list[int] = field(default_factory=list)
    sampler: str = ""
    scheduler: str = ""
    asked_sampling: dict[str, Any] = field(default_factory=dict)
    """Steps, sampler and schedule as asked for, where ADetailer's skipped base pass reports others."""
    restore_faces: Any = None
    tiling: Any = None
    model_name: str | None = None
    model_hash: str | None = None
    vae_name: str | None = None
    vae_hash: str | None = None
    refiner: CheckpointInfo | None = None
    encoded: dict[str, networks.Encoded] = field(default_factory=dict)
    lora_hashes: dict[str, str] = field(default_factory=dict)
    batch_size: int = 0
    iteration: int = 0
    no_grid: bool = False

    # What the two kinds of generation do differently.

    def init(self) -> None:
        """Look at the request before anything is sampled."""
        raise NotImplementedError

    def sample(self, position: int) -> list[Image.Image]:
        """The images of one iteration, ``position`` being the number of its first image."""
        raise NotImplementedError

    def negative_of(self, index: int) -> Any:
        return self.all_negative[index]

    def struck(self) -> Fault | None:
        """The armed fault, once."""
        fault, self.fault = self.fault, None
        return fault

    @property
    def overrides(self) -> dict[str, Any]:
        return self.r["override_settings"] or {}

    def setup_prompts(self) -> None:
        batch, count = self.r["batch_size"], self.r["n_iter"]
        if batch is None:
            raise type_error("unsupported operand type(s) for *: 'NoneType' and 'int'")
        if count is None:
            raise type_error("unsupported operand type(s) for *: 'int' and 'NoneType'")
        if batch * count <= 0:
            raise ServerError("IndexError", "list index out of range")
        styles = {style.name: style for style in self.webui.catalog.styles}
        prompt, negative = self.r["prompt"], self.r["negative_prompt"]
        for name in self.r["styles"] or []:
            if name in styles:
                prompt = _styled(prompt, styles[name].prompt)
                negative = _styled(negative, styles[name].negative_prompt)
        self.batch_size = batch
        self.all_prompts = [prompt] * (batch * count)
        self.all_negative = [negative] * (batch * count)

    def setup_conds(self, prompt: str) -> None:
        """Encode prompt and negative prompt, or take them from the cache."""
        steps = self.r["steps"]
        if steps is None:
            raise type_error("unsupported operand type(s) for //: 'NoneType' and 'NoneType'")
        if steps == 0:
            raise ServerError("ZeroDivisionError", "integer division or modulo by zero")
        negative = self.all_negative[0]
        if negative is None:
            raise type_error("'NoneType' object is not iterable")
        total = steps * (2 if samplers.is_second_order(self.webui.family, self.sampler) else 1)
        hashes: dict[str, str] = {}
        for slot, text in (("negative", negative), ("prompt", prompt)):
            encoded, used = self.encode(slot, text, total)
            self.encoded[slot] = encoded
            hashes = {**used, **hashes}
        if hashes and self.webui.options["textual_inversion_add_hashes_to_infotext"]:
            self.extra["TI hashes"] = ", ".join(f"{name}: {value}" for name, value in hashes.items())

    def encode(self, slot: str, text: str, steps: int) -> tuple[networks.Encoded, dict[str, str]]:
        webui, options = self.webui, self.webui.options
        key = (
            text,
            steps,
            options["CLIP_stop_at_last_layers"],
            webui.weights.current().info.title,
            tuple(sorted(webui.loras.applied.items())),
            self.r["width"],
            self.r["height"],
            tuple(options[name] for name in pixels.CONDITIONING_OPTIONS),
            self.r["batch_size"],
        )
        cached = webui.conditioning.cached(slot, key)
        if cached is not None:
            return cached, {}
        self.check_clip_skip()
        webui.weights.check_poison()
        return webui.conditioning.encode(slot, key, text)

    def check_clip_skip(self) -> None:
        skip = self.webui.options["CLIP_stop_at_last_layers"]
        if isinstance(skip, str):
            raise type_error("bad operand type for unary -: 'str'")
        if skip > self.webui.catalog.clip_layers:
            raise ServerError("IndexError", "tuple index out of range")

    def check_size(self) -> None:
        width, height = self.r["width"], self.r["height"]
        if width is None or height is None:
            raise type_error("unsupported operand type(s) for //: 'NoneType' and 'int'")
        columns, rows = width // 8, height // 8
        if columns < 0 or rows < 0:
            negative = columns if columns < 0 else rows
            shape = f"[4, {rows}, {columns}]"
            raise runtime_error(f"Trying to create tensor with negative dimension {negative}: {shape}")
        if columns * rows * 64 > _PIXEL_LIMIT:
            size = columns * rows * 16
            raise runtime_error(
                "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory:"
                f" you tried to allocate {size} bytes. Error code 12 (Cannot allocate memory)"
            )
        if columns == 0 or rows == 0:
            raise runtime_error(
                f"Calculated padded input size per channel: ({rows + 2} x {columns + 2})."
                " Kernel size: (3 x 3). Kernel size can't be greater than actual input size"
            )

    def note_schedule(self, sampler: str, scheduler: str, *, hires: bool = False) -> None:
        """The schedule goes into the infotext when sampling begins, as it was really chosen."""
        label = samplers.effective_schedule(self.webui.family, sampler, scheduler)
        if label is None:
            return
        if not hires:
            self.extra["Schedule type"] = label
        elif label != self.extra.get("Schedule type"):
            self.extra["Hires schedule type"] = label

    def note_eta(self) -> None:
        eta = self.r["eta"]
        if self.sampler == "DDIM" and eta:
            self.extra["Eta DDIM"] = eta
        elif samplers.uses_ensd(self.webui.family, self.sampler) and eta not in (None, 1.0):
            self.extra["Eta"] = eta

    def run_sampler(self, steps: int, recipe: draw.Recipe, size: tuple[int, int]) -> float:
        """Spend the steps; the share that was done (1.0 unless interrupted)."""
        state = self.webui.state

        def show(done: float) -> None:
            state.preview_id += 1
            state.preview = lambda: draw.preview(recipe, *size, done)

        try:
            self.webui.sample(steps, self.struck(), show)
        except Interrupted:
            return state.sampling_step / max(1, steps)
        return 1.0

    def use_refiner(self, steps: int, *, hires: bool) -> None:
        """Switch to the refiner's checkpoint when its turn comes; the loaded one is no refiner."""
        options = self.webui.options
        by_steps = options["refiner_switch_by_sample_steps"]
        if by_steps:
            self.extra["Refiner switch by sampling steps"] = True
        switch = self.r["refiner_switch_at"]
        if switch is not None:
            last = (steps - 1) / steps if by_steps else (0.0 if steps == 1 else 0.999)
            if last < switch:
                return
        loaded = self.webui.weights.current()
        if self.refiner is None or self.refiner.file.name == loaded.info.file.name:
            return
        if self.r.get("enable_hr"):
            when = options["hires_fix_refiner_pass"]
            if (when == "first pass" and hires) or (when == "second pass" and not hires):
                return
            if when != "second pass":
                self.extra["Hires refiner"] = when
        self.webui.weights.reload(self.refiner)
        self.extra["Refiner"] = self.refiner.short_title
        self.extra["Refiner switch at"] = switch

    def infotext(self, index: int, *, main_prompt: bool = False) -> str:
        options, r = self.webui.options, self.r
        clip_skip = options["CLIP_stop_at_last_layers"]
        strength = r["subseed_strength"]
        resized = (r["seed_resize_from_w"] or 0) > 0 and (r["seed_resize_from_h"] or 0) > 0
        at = 0 if main_prompt else index
        ensd = options["eta_noise_seed_delta"]
        has_ensd = ensd and samplers.uses_ensd(self.webui.family, self.sampler) and r["eta"] != 0
        values: dict[str, Any] = {
            "Steps": r["steps"],
            "Sampler": self.sampler,
            "Schedule type": self.scheduler,
            "CFG scale": r["cfg_scale"],
            "Seed": self.all_seeds[at],
            "Face restoration": options["face_restoration_model"] if self.restore_faces else None,
            "Size": f"{r['width']}x{r['height']}",
            "Model hash": self.model_hash if options["add_model_hash_to_info"] else None,
            "Model": self.model_name if options["add_model_name_to_info"] else None,
            "VAE hash": self.vae_hash if options["add_vae_hash_to_info"] else None,
            "VAE": self.vae_name if options["add_vae_name_to_info"] else None,
            "Variation seed": self.all_subseeds[at] if strength else None,
            "Variation seed strength": strength or None,
            "Seed resize from": f"{r['seed_resize_from_w']}x{r['seed_resize_from_h']}" if resized else None,
            "Denoising strength": self.extra.get("Denoising strength"),
            "Clip skip": clip_skip if not isinstance(clip_skip, str) and clip_skip > 1 else None,
            "ENSD": ensd if has_ensd else None,
            "Token merging ratio": options["token_merging_ratio"] or None,
            "Token merging ratio hr": (options["token_merging_ratio_hr"] or None)
            if r.get("enable_hr")
            else None,
            "RNG": options["randn_source"] if options["randn_source"] != "GPU" else None,
            "Tiling": "True" if self.tiling else None,
            **{key: value(self) if callable(value) else value for key, value in self.extra.items()},
            "Version": self.webui.flavour.version if options["add_version_to_infotext"] else None,
        }
        if self.webui.family == "sdnext":
            values = sdnext.infotext_values(self, values)
        return infotext.write(self.all_prompts[at], str(self.negative_of(at)), values)

    def info(self) -> dict[str, Any]:
        """``info`` of the answer, without infotexts."""
        r, options = self.r, self.webui.options
        clip_skip = options["CLIP_stop_at_last_layers"]
        values = {
            "prompt": self.all_prompts[0] if self.all_prompts else r["prompt"],
            "all_prompts": self.all_prompts or [r["prompt"]],
            "negative_prompt": self.all_negative[0] if self.all_negative else r["negative_prompt"],
            "all_negative_prompts": self.all_negative or [r["negative_prompt"]],
            "seed": self.all_seeds[0] if self.all_seeds else -1,
            "all_seeds": self.all_seeds or [-1],
            "subseed": self.all_subseeds[0] if self.all_subseeds else -1,
            "all_subseeds": self.all_subseeds or [-1],
            "subseed_strength": r["subseed_strength"],
            "width": r["width"],
            "height": r["height"],
            "sampler_name": self.sampler or None,
            "cfg_scale": r["cfg_scale"],
            "steps": r["steps"],
            "batch_size": self.batch_size or r["batch_size"],
            "restore_faces": self.restore_faces,
            "face_restoration_model": options["face_restoration_model"] if self.restore_faces else None,
            "sd_model_name": self.model_name,
            "sd_model_hash": self.model_hash,
            "sd_vae_name": self.vae_name,
            "sd_vae_hash": self.vae_hash,
            "seed_resize_from_w": r["seed_resize_from_w"],
            "seed_resize_from_h": r["seed_resize_from_h"],
            "denoising_strength": r["denoising_strength"],
            "extra_generation_params": {
                key: None if callable(value) else value for key, value in self.extra.items()
            },
            "index_of_first_image": 0,
            "infotexts": [],
            "styles": self.r["styles"] or [],
            "job_timestamp": self.webui.state.job_timestamp,
            "clip_skip": clip_skip,
            "is_using_inpainting_conditioning": False,
            "version": self.webui.flavour.version,
        }
        return sdnext.info_values(self, values) if self.webui.family == "sdnext" else values


def _styled(prompt: Any, style: str) -> Any:
    if "{prompt}" in style:
        return style.replace("{prompt}", prompt)
    return ", ".join(part for part in (prompt.strip(), style.strip()) if part) if prompt else style.strip()
