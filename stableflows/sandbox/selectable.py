"""Selectable scripts: SD upscale, loopback, prompt matrix, prompts from file; X/Y/Z plot is in ``xyz``."""

import copy
import math
from collections.abc import Callable
from typing import Any

from PIL import Image

from stableflows.sandbox import draw, images, pixels, xyz
from stableflows.sandbox.errors import ServerError, type_error
from stableflows.sandbox.img2img import ImageJob
from stableflows.sandbox.job import Job, fixed_seed
from stableflows.sandbox.processing import Processed, process_images
from stableflows.sandbox.sheets import lettered


def run(name: str, job: Job, args: list[Any]) -> Processed:
    """Run a selectable script.

    Raises:
        ServerError: what the script would raise, and NotImplementedError for one that the sandbox lacks.
    """
    script = _SCRIPTS.get(name)
    if script is None:
        raise ServerError("NotImplementedError", f"the sandbox has no script {name!r}")
    return script(job, args)


def fresh(job: Job, **changes: Any) -> Job:
    """A copy of a job to run again with other fields."""
    again = copy.copy(job)
    again.r = {**job.r, **changes}
    again.extra = dict(job.extra)
    again.encoded = {}
    again.lora_hashes = {}
    return again


def _of_images(job: Job) -> ImageJob:
    if not isinstance(job, ImageJob):
        raise ServerError(
            "AttributeError", "'StableDiffusionProcessingTxt2Img' object has no attribute 'init_images'"
        )
    return job


def _sd_upscale(job: Job, args: list[Any]) -> Processed:
    """Tiles of the enlarged image, painted over one by one; ``all_seeds`` has the last tile's seed."""
    job = _of_images(job)
    _, overlap, upscaler, factor = args
    webui, r, state = job.webui, job.r, job.webui.state
    names = webui.upscaler_names()
    lower = [name.lower() for name in names]
    if isinstance(upscaler, str):
        if upscaler.lower() not in lower:
            raise ServerError("ValueError", f"{upscaler.lower()!r} is not in list")
        upscaler = names[lower.index(upscaler.lower())]
    else:
        upscaler = names[upscaler]
    seed = fixed_seed(r["seed"])
    job.extra["SD upscale overlap"] = overlap
    job.extra["SD upscale upscaler"] = upscaler
    if not job.init_images:
        raise ServerError("IndexError", "list index out of range")
    start = images.flatten(job.init_images[0], str(webui.options["img2img_background_color"]))
    if upscaler != "None":
        if not isinstance(factor, int | float):
            raise type_error("can't multiply sequence by non-int of type 'float'")
        size = (int(start.width * factor) // 8 * 8, int(start.height * factor) // 8 * 8)
        start = draw.enlarge(start, size, upscaler)
    tiles = images.tiles(start, r["width"], r["height"], overlap)
    batch, count = r["batch_size"], r["n_iter"]
    batches = math.ceil(len(tiles) / batch)
    state.job_count = batches * count
    made: list[Image.Image] = []
    texts: list[str] = []
    info: dict[str, Any] = {}
    for number in range(count):
        sheet = start.copy()
        next_seed = seed + number
        for at in range(batches):
            if state.interrupted:
                break
            part = tiles[at * batch : (at + 1) * batch]
            state.job = f"Batch {at + 1 + number * batches} out of {state.job_count}"
            once = _of_images(fresh(job, seed=next_seed, n_iter=1, batch_size=batch, save_images=False))
            once.is_tile = True
            once.init_images = [tile for _, _, tile in part]
            done = process_images(once)
            texts = texts or done.infotexts[:1]
            info = done.info
            next_seed = int(info["seed"]) + 1
            for (left, top, _), image in zip(part, done.images, strict=False):
                sheet.paste(image, (left, top))
        made.append(draw.mark(sheet, bytes.fromhex(pixels.digest_of(sheet)), "sd upscale"))
    return Processed(made, texts, {**(info or job.info()), "seed": seed})


def _loopback(job: Job, args: list[Any]) -> Processed:
    """Each result is the next one's input; a grid in front that ``index_of_first_image`` does not tell of."""
    job = _of_images(job)
    loops, final, curve, _ = args
    loops = int(loops)
    job.extra["Final denoising strength"] = final
    job.extra["Denoising curve"] = curve
    seed = fixed_seed(job.r["seed"])
    batches = job.r["n_iter"]
    job.webui.state.job_count = loops * batches
    first = float(job.r["denoising_strength"])
    history: list[Image.Image] = []
    texts: list[str] = []
    info: dict[str, Any] = {}
    for _ in range(batches):
        inputs = list(job.init_images)
        next_seed = seed
        for loop in range(loops):
            strength = _curve(first, float(final), loop, loops, str(curve))
            once = _of_images(
                fresh(
                    job,
                    seed=next_seed,
                    n_iter=1,
                    batch_size=1,
                    denoising_strength=strength,
                    save_images=False,
                )
            )
            once.init_images = inputs
            done = process_images(once)
            if job.webui.state.interrupted and not done.images:
                break
            texts = texts or done.infotexts[:1]
            info = done.info
            next_seed = int(info["seed"]) + 1
            inputs = done.images[:1]
            history += done.images[:1]
    if not history:
        return Processed([], [], job.info())
    sheet = images.grid(history, 1, job.webui.options)
    return Processed([sheet, *history], texts * (len(history) + 1), {**info, "seed": seed})


def _curve(first: float, final: float, loop: int, loops: int, curve: str) -> float:
    if loops == 1 or loop == 0:
        return first
    share = loop / (loops - 1)
    bent = {"Aggressive": math.sin(share * math.pi * 0.5), "Lazy": 1 - math.cos(share * math.pi * 0.5)}
    return min(1.0, first + (final - first) * bent.get(curve, share))


def _prompt_matrix(job: Job, args: list[Any]) -> Processed:
    """All combinations of the parts of ``a|b|c``; the grid comes first whatever ``save_images`` says."""
    at_start, different_seeds, which, joiner, margin = args
    if which not in ("positive", "negative"):
        raise ServerError("ValueError", f"Unknown prompt type {which}")
    if joiner not in ("comma", "space"):
        raise ServerError("ValueError", f"Unknown variations delimiter {joiner}")
    delimiter = ", " if joiner == "comma" else " "
    key = "prompt" if which == "positive" else "negative_prompt"
    base, *options = (part.strip() for part in str(job.r[key]).split("|"))
    prompts = []
    for number in range(2 ** len(options)):
        chosen = [text for bit, text in enumerate(options) if number & (1 << bit)]
        prompts.append(delimiter.join([*chosen, base] if at_start else [base, *chosen]))
    seed = fixed_seed(job.r["seed"])
    seeds = [seed + number if different_seeds else seed for number in range(len(prompts))]
    job.webui.state.job_count = len(prompts)
    runs = [
        process_images(fresh(job, **{key: text}, seed=one, n_iter=1, batch_size=1, save_images=False))
        for text, one in zip(prompts, seeds, strict=True)
    ]
    shots = [image for done in runs for image in done.images]
    split = len(options) // 2
    columns, rows = 2 ** (len(options) - split), 2**split
    sheet = lettered(
        images.tiled(shots, rows, columns), shots[0].size, prompts[:columns], [], int(margin or 0)
    )
    texts = [text for done in runs for text in done.infotexts]
    info = {
        **runs[0].info,
        "seed": seed,
        "all_seeds": seeds,
        "all_prompts": prompts if key == "prompt" else runs[0].info["all_prompts"] * len(prompts),
        "all_negative_prompts": runs[0].info["all_negative_prompts"] * len(prompts),
        "all_subseeds": [value for done in runs for value in done.info["all_subseeds"]],
    }
    return Processed([sheet, *shots], [texts[0], *texts], info, 1)


def _prompts_from_file(job: Job, args: list[Any]) -> Processed:
    """One generation a line."""
    iterate_seed, same_seed, place, text = args[:4]
    lines = [line.strip() for line in str(text or "").splitlines() if line.strip()]
    seed = fixed_seed(job.r["seed"])
    job.webui.state.job_count = len(lines) * job.r["n_iter"]
    runs = []
    for number, line in enumerate(lines):
        prompt = job.r["prompt"]
        joined = f"{line} {prompt}" if place == "start" else f"{prompt} {line}"
        one = seed + number if iterate_seed else seed if same_seed else fixed_seed(job.r["seed"])
        runs.append(process_images(fresh(job, prompt=joined.strip() if prompt else line, seed=one)))
    if not runs:
        return Processed([], [], job.info())
    info = {**runs[0].info}
    for key in ("all_prompts", "all_negative_prompts", "all_seeds", "all_subseeds"):
        info[key] = [value for done in runs for value in done.info[key]]
    return Processed(
        [image for done in runs for image in done.images],
        [text for done in runs for text in done.infotexts],
        info,
    )


_SCRIPTS: dict[str, Callable[[Job, list[Any]], Processed]] = {
    "sd upscale": _sd_upscale,
    "loopback": _loopback,
    "prompt matrix": _prompt_matrix,
    "prompts from file or textbox": _prompts_from_file,
    "x/y/z plot": lambda job, args: xyz.plot(job, args, fresh),
}
