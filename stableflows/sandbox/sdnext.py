"""What SD.Next makes of a request, as its source says (at or near commit 058a7f0); never observed running.

Not drawn: its detailer as a part of txt2img and img2img (``detailer_enabled``), ``/control``, and its newer
modifiers. What an unknown upscaler does there is a guess.
"""

from typing import TYPE_CHECKING, Any

from stableflows.sandbox import samplers
from stableflows.sandbox.recorded import recorded
from stableflows.sandbox.webui import WebUI

if TYPE_CHECKING:
    from stableflows.sandbox.job import Job

_SIGMAS = {"karras": "Karras", "exponential": "Exponential"}
_ONLY_OF_A1111 = (
    "Schedule type",
    "Hires schedule type",
    "Refiner switch at",
    "Hires upscale",
    "Hires resize",
    "Lora hashes",
    "TI hashes",
    "VAE hash",
)


def as_job(request: dict[str, Any], kind: str) -> dict[str, Any]:
    """The fields of a request as the drawing half knows them, with what SD.Next leaves out left out.

    Its hires pass needs ``hr_resize_mode``, and samples only with ``hr_force`` or a latent upscaler.
    """
    lacking = {
        name: spec["default"] for name, spec in recorded("fields")[kind].items() if name not in request
    }
    known = {**lacking, **request, "scheduler": None, "hr_scheduler": None, "hr_sampler_name": None}
    if kind == "img2img":
        return known
    known["refines"] = request["enable_hr"]
    upscaler = request["hr_upscaler"]
    upscales = request["enable_hr"] and request["hr_resize_mode"] > 0 and upscaler not in (None, "None")
    strength = request["hr_denoising_strength"] or request["denoising_strength"]
    samples = upscales and (request["hr_force"] or upscaler.lower().startswith("latent"))
    sampler = request["hr_sampler_name"]
    return {
        **known,
        "enable_hr": upscales,
        "hr_sampler_name": None if sampler == "Same as primary" else sampler,
        "denoising_strength": strength if samples else 0.0,
        "hr_prompt": request["refiner_prompt"],
        "hr_negative_prompt": request["refiner_negative"],
    }


def settle(job: "Job", size: tuple[int, int] | None) -> None:
    """What its options decide, read inside the lock; ``size`` is that of an img2img request's input."""
    options, r = job.webui.options, job.r
    sigma = options["schedulers_sigma"]
    takes = samplers.sampler_option("sdnext", r["sampler_name"], f"use_{sigma}_sigmas") is not None
    r["scheduler"] = _SIGMAS.get(sigma) if takes else None
    options.data["CLIP_stop_at_last_layers"] = r["clip_skip"]
    start, refiner = r["refiner_start"], options["sd_model_refiner"]
    if size is None and refiner != "None" and r["refines"] and r["refiner_steps"] > 0 and 0 < start < 1:
        r["refiner_checkpoint"], r["refiner_switch_at"] = refiner, start
    if size is not None:
        if r["resize_mode"] == 0:
            r["width"], r["height"] = (side // 8 * 8 for side in size)
        r["resize_mode"] = max(0, r["resize_mode"] - 1)


def unsettle(webui: WebUI) -> None:
    """Clip skip is a field of its requests; the option of that name decides nothing there."""
    webui.options.data["CLIP_stop_at_last_layers"] = 1


def infotext_values(job: "Job", values: dict[str, Any]) -> dict[str, Any]:
    """AUTOMATIC1111's keys as SD.Next has them."""
    r, options = job.r, job.webui.options
    found = {key: value for key, value in values.items() if key not in _ONLY_OF_A1111}
    sigma = options["schedulers_sigma"]
    found["Sampler sigma"] = sigma if sigma != "default" else None
    if found.get("Refiner"):
        found["Refiner"] = str(found["Refiner"]).split(" [")[0]
        found["Refiner start"] = r["refiner_start"]
    if r.get("enable_hr"):
        resized = r["hr_resize_x"] or r["hr_resize_y"]
        found["Hires fixed" if resized else "Hires scale"] = (
            f"{r['hr_resize_x']}x{r['hr_resize_y']}" if resized else r["hr_scale"]
        )
        found["Hires strength"] = r["hr_denoising_strength"]
    found["App"] = "SD.Next"
    return found


def info_values(job: "Job", values: dict[str, Any]) -> dict[str, Any]:
    """``info`` names no checkpoint and no VAE."""
    return {**{key: values[key] for key in recorded("sdnext")["info"]}, "clip_skip": job.r["clip_skip"]}
