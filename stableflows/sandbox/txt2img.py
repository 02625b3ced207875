"""txt2img: sampling from nothing, and the hires pass."""

from dataclasses import dataclass
from typing import Any

from PIL import Image

from stableflows.sandbox import draw, networks, pixels, samplers
from stableflows.sandbox.errors import ServerError, runtime_error, type_error
from stableflows.sandbox.job import Job
from stableflows.sandbox.processing import closest_checkpoint, note_loras
from stableflows.sandbox.weights import CheckpointInfo

_SAME = ("Use same checkpoint", "Use same sampler", "Use same scheduler")


@dataclass
class TextJob(Job):
    """A txt2img request."""

    hires_size: tuple[int, int] = (0, 0)
    hires_checkpoint: CheckpointInfo | None = None

    def __post_init__(self) -> None:
        r = self.r
        if r["firstphase_width"] or r["firstphase_height"]:
            # The old way to ask for hires: the size is the final one, the first pass has its own.
            r["hr_resize_x"], r["hr_resize_y"] = r["width"], r["height"]
            r["width"], r["height"] = r["firstphase_width"], r["firstphase_height"]
        for name in ("hr_sampler_name", "hr_scheduler"):
            if r.get(name) in _SAME:
                r[name] = None

    def init(self) -> None:
        r, extra = self.r, self.extra
        if not r["enable_hr"]:
            return
        extra["Denoising strength"] = r["denoising_strength"]
        if r["hr_checkpoint_name"] and r["hr_checkpoint_name"] not in _SAME:
            self.hires_checkpoint = closest_checkpoint(self.webui, r["hr_checkpoint_name"])
            extra["Hires checkpoint"] = self.hires_checkpoint.short_title
        if self.webui.family == "forge":
            if r["hr_additional_modules"] is None:
                raise type_error("argument of type 'NoneType' is not iterable")
            for number, module in enumerate(r["hr_additional_modules"], start=1):
                extra[f"Hires Module {number}"] = module
        if r["hr_sampler_name"] is not None and r["hr_sampler_name"] != self.sampler:
            extra["Hires sampler"] = r["hr_sampler_name"]
        extra["Hires prompt"] = lambda job: _other(job.r["hr_prompt"], job.all_prompts[0])
        extra["Hires negative prompt"] = lambda job: _other(job.r["hr_negative_prompt"], job.all_negative[0])
        if self.webui.family == "forge":
            extra["Hires CFG Scale"] = r["hr_cfg"]
            extra["Hires Distilled CFG Scale"] = None
        extra["Hires schedule type"] = None
        upscaler = r["hr_upscaler"]
        known = (*self.webui.latent_modes(), *self.webui.upscaler_names())
        if upscaler is not None and upscaler not in known:
            raise ServerError("Exception", f"could not find upscaler named {upscaler}")
        self.hires_size = self._target()
        self.webui.state.count(r["n_iter"], hires=True)
        if r["hr_second_pass_steps"]:
            extra["Hires steps"] = r["hr_second_pass_steps"]
        if upscaler is not None:
            extra["Hires upscaler"] = upscaler

    def _target(self) -> tuple[int, int]:
        """Size of the hires pass in pixels: floored to 8 like every latent."""
        r = self.r
        width, height, x, y = r["width"], r["height"], r["hr_resize_x"], r["hr_resize_y"]
        if x == 0 and y == 0:
            self.extra["Hires upscale"] = r["hr_scale"]
            return _floor8(int(width * r["hr_scale"])), _floor8(int(height * r["hr_scale"]))
        self.extra["Hires resize"] = f"{x}x{y}"
        if y == 0:
            return _floor8(x), _floor8(x * height // width)
        if x == 0:
            return _floor8(y * width // height), _floor8(y)
        wide, tall = (x, x * height // width) if width / height < x / y else (y * width // height, y)
        # What sticks out on one side is cut off in whole latents.
        return _floor8(wide) - (wide - x) // 8 * 8, _floor8(tall) - (tall - y) // 8 * 8

    def sample(self, position: int) -> list[Image.Image]:
        r = self.r
        self.check_size()
        if r["cfg_scale"] is None:
            raise type_error("unsupported operand type(s) for *: 'NoneType' and 'float'")
        if r["steps"] < 0:
            raise runtime_error("number of steps must be non-negative")
        if r["enable_hr"] and r["firstpass_image"] is not None:
            raise ServerError("ValueError", f"could not convert string to float: {r['firstpass_image']!r}")
        checkpoint = self.webui.weights.current().content
        numbers = range(position, position + self.batch_size)
        size = (r["width"] // 8 * 8, r["height"] // 8 * 8)
        self.note_schedule(self.sampler, self.scheduler)
        self.note_eta()
        first = pixels.recipe(self, position, checkpoint, {})
        done = self.run_sampler(r["steps"], first, size)
        if done == 1.0:
            self.use_refiner(r["steps"], hires=False)
        more: dict[str, Any] = {}
        word = "txt2img"
        if r["enable_hr"] and not self.webui.state.interrupted:
            more, size, done = self._second_pass(checkpoint, first)
            word = "txt2img + hires"
        if stock := self.webui.stock:
            return [stock.picture(size) for _ in numbers]
        recipes = [pixels.recipe(self, number, checkpoint, more) for number in numbers]
        made = [draw.generate(recipe, *size, word) for recipe in recipes]
        if done == 1.0:
            return made
        return [draw.unfinished(image, recipe, done) for image, recipe in zip(made, recipes, strict=True)]

    def _second_pass(
        self, checkpoint: str, first: draw.Recipe
    ) -> tuple[dict[str, Any], tuple[int, int], float]:
        r = self.r
        self.webui.state.next_job()
        if self.hires_checkpoint is not None:
            self.webui.weights.reload(self.hires_checkpoint)
            checkpoint = self.webui.weights.current().content
        prompt, tags = networks.parse_tags(r["hr_prompt"] or self.all_prompts[0])
        if r["hr_prompt"] and not r["disable_extra_networks"]:
            self.lora_hashes |= self.webui.loras.activate(tags)
            note_loras(self)
        if r["denoising_strength"] is None:
            raise type_error("'>' not supported between instances of 'NoneType' and 'int'")
        prompts = [
            " ".join(prompt.split()),
            " ".join((r["hr_negative_prompt"] or self.all_negative[0]).split()),
            sorted(self.webui.loras.applied.items()),
        ]
        more = pixels.hires(self, prompts, checkpoint, self.hires_size)
        sampler, scheduler = r["hr_sampler_name"] or self.sampler, r["hr_scheduler"] or self.scheduler
        sampler, scheduler = samplers.resolve(
            self.webui.family, sampler, scheduler, default_to_automatic=False
        )
        self.note_schedule(sampler, scheduler, hires=True)
        steps = r["hr_second_pass_steps"] or r["steps"]
        done = self.run_sampler(steps, first, self.hires_size)
        if done == 1.0:
            self.use_refiner(steps, hires=True)
        return more, self.hires_size, done


def _floor8(value: int) -> int:
    return value // 8 * 8


def _other(text: str | None, same: str) -> str | None:
    return text if text and text != same else None
