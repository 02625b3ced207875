"""One generation from its request to images with infotexts: the common half of txt2img and img2img."""

from dataclasses import dataclass
from typing import Any

from PIL import Image

from stableflows.sandbox import adetailer, draw, images, networks, pixels, samplers, sdnext
from stableflows.sandbox.errors import ServerError
from stableflows.sandbox.faults import Fault
from stableflows.sandbox.job import Job, fixed_seed
from stableflows.sandbox.webui import Interrupted, WebUI
from stableflows.sandbox.weights import CheckpointInfo


@dataclass
class Processed:
    """Images of an answer, in order, with what ``info`` says of them."""

    images: list[Image.Image]
    infotexts: list[str]
    info: dict[str, Any]
    index_of_first_image: int = 0

    def as_json(self) -> dict[str, Any]:
        position = list(self.info).index("infotexts")
        items = list(self.info.items())
        items[position] = ("infotexts", self.infotexts)
        answer = dict(items)
        answer["index_of_first_image"] = self.index_of_first_image
        return answer


def process_images(job: Job) -> Processed:
    """Run a job inside the lock, with its options set and put back.

    Raises:
        ServerError: what a real server's pipeline would raise.
    """
    webui = job.webui
    overrides = dict(job.overrides)
    stored = webui.options.stored(list(overrides))
    if webui.family == "forge" and webui.weights.exact(overrides.get("sd_model_checkpoint")) is None:
        # Forge drops it from the request's own dictionary: the echo in "parameters" lacks it.
        job.overrides.pop("sd_model_checkpoint", None)
    asked_checkpoint = webui.options["sd_model_checkpoint"]
    wrong = job.fault if job.fault is not None and job.fault.kind == "wrong_checkpoint" else None
    try:
        webui.apply_overrides(overrides)
        if wrong is not None:
            webui.options.data["sd_model_checkpoint"] = _another_checkpoint(webui, wrong).title
            webui.weights.reload()
        if webui.family == "sdnext":
            inits = getattr(job, "init_images", None)
            sdnext.settle(job, inits[0].size if inits else None)
        asked = (job.r["sampler_name"], job.r.get("scheduler"))
        job.sampler, job.scheduler = samplers.resolve(webui.family, *asked, default_to_automatic=False)
        return _process(job)
    finally:
        if job.r["override_settings_restore_afterwards"]:
            webui.restore(stored)
        if webui.family == "sdnext":
            sdnext.unsettle(webui)
        if wrong is not None:
            webui.options.data["sd_model_checkpoint"] = asked_checkpoint


def _another_checkpoint(webui: WebUI, fault: Fault) -> CheckpointInfo:
    if fault.checkpoint is not None and (named := webui.weights.exact(fault.checkpoint)):
        return named
    loaded = webui.weights.current().info.file.name
    return next(info for info in webui.weights.checkpoints if info.file.name != loaded)


def _process(job: Job) -> Processed:
    webui, r, state = job.webui, job.r, job.webui.state
    if r["prompt"] is None:
        raise ServerError("AssertionError", "")
    seed, subseed = fixed_seed(r["seed"]), fixed_seed(r["subseed"])
    options = webui.options
    job.restore_faces = options["face_restoration"] if r["restore_faces"] is None else r["restore_faces"]
    job.tiling = options["tiling"] if r["tiling"] is None else r["tiling"]
    if r["refiner_checkpoint"] not in (None, "", "None", "none"):
        job.refiner = closest_checkpoint(webui, r["refiner_checkpoint"])
    model = webui.weights.current()
    job.model_name, job.model_hash = model.info.file.name, model.hash
    if webui.weights.vae is not None and webui.family != "forge":
        job.vae_name, job.vae_hash = webui.weights.vae.name, webui.weights.vae_hash()
    job.setup_prompts()
    numbers = range(len(job.all_prompts))
    varied = bool(r["subseed_strength"])
    job.all_seeds = [seed + (0 if varied else number) for number in numbers]
    job.all_subseeds = [subseed + number for number in numbers]
    webui.conditioning.notice_new_files()
    if job.detailer is not None and job.detailer.active:
        job.extra |= job.detailer.infotext()
    job.init()
    state.count(r["n_iter"])
    made: list[Image.Image] = []
    texts: list[str] = []
    for iteration in range(r["n_iter"]):
        state.skipped = False
        if state.interrupted:
            break
        made_now = _iterate(job, iteration)
        texts += [str(image.info["parameters"]) for image in made_now]
        made += made_now
    if not texts:
        texts = [job.infotext(0)]
    if not options["enable_pnginfo"]:
        for image in made:
            image.info = {}
    first = 0
    if _wants_grid(job, made):
        sheet = images.grid(made, job.batch_size, options)
        text = job.infotext(0, main_prompt=True)
        sheet.info["parameters"] = text
        made.insert(0, sheet)
        texts.insert(0, text)
        first = 1
    return Processed(made, texts, job.info(), first)


def closest_checkpoint(webui: WebUI, name: str) -> CheckpointInfo:
    """A refiner's or hires pass's checkpoint.

    Raises:
        ServerError: "Could not find checkpoint with name ...".
    """
    found = webui.weights.closest(name)
    if found is None:
        raise ServerError("Exception", f"Could not find checkpoint with name {name}")
    return found


def _wants_grid(job: Job, made: list[Image.Image]) -> bool:
    options = job.webui.options
    alone = len(made) < 2 and (options["grid_only_if_multiple"] or not made)
    return bool(job.r["save_images"] and options["return_grid"] and not alone and not job.no_grid)


def _iterate(job: Job, iteration: int) -> list[Image.Image]:
    webui, r, state = job.webui, job.r, job.webui.state
    job.iteration = iteration
    webui.weights.reload()
    position = iteration * job.batch_size
    prompt, tags = networks.parse_tags(job.all_prompts[position])
    if not r["disable_extra_networks"]:
        job.lora_hashes = webui.loras.activate(tags)
        note_loras(job)
    job.setup_conds(prompt)
    if r["n_iter"] > 1:
        state.job = f"Batch {iteration + 1} out of {r['n_iter']}"
    made = job.sample(position)
    state.next_job()
    result = []
    for offset, image in enumerate(made):
        index = position + offset
        finished = _finish(job, index, image)
        finished.info = {"parameters": job.infotext(index)}
        result.append(finished)
    return result


def note_loras(job: Job) -> None:
    if job.lora_hashes and job.webui.options["lora_add_hashes_to_infotext"]:
        job.extra["Lora hashes"] = ", ".join(f"{name}: {value}" for name, value in job.lora_hashes.items())


def _finish(job: Job, index: int, image: Image.Image) -> Image.Image:
    """What comes after sampling: face restoration, ADetailer."""
    if job.restore_faces:
        image = draw.restore_faces(image, str(job.webui.options["face_restoration_model"]), 1.0)
    detailer = job.detailer
    if detailer is None or not detailer.active:
        return image
    for number, unit in enumerate(detailer.working(job.webui.catalog.adetailer_models)):
        image = _detail(job, index, number, unit, image)
    return image


def _detail(job: Job, index: int, number: int, unit: adetailer.Unit, image: Image.Image) -> Image.Image:
    webui = job.webui
    # Its inner pass wants its own checkpoint, or the request's back where a refiner took over.
    webui.weights.reload(webui.weights.exact(unit.ad_checkpoint) if unit.ad_use_checkpoint else None)
    steps = unit.ad_steps if unit.ad_use_steps else job.r["steps"]
    try:
        webui.sleep(webui.settings.step_seconds * max(1, int(steps * unit.ad_denoising_strength)))
    except Interrupted:
        return image
    if webui.stock:
        return image
    recipe = pixels.detail_recipe(job, index, number, unit, image)
    return draw.retouch(image, recipe, unit.ad_denoising_strength, unit.ad_model)
