"""The generating endpoints: from a coerced request to images and the rest of the answer."""

import json
from typing import Any

from PIL import Image

from stableflows.sandbox import images, infotext, samplers, scripts, sdnext
from stableflows.sandbox.adetailer import Detailer
from stableflows.sandbox.errors import HTTPError, ServerError
from stableflows.sandbox.faults import Fault
from stableflows.sandbox.img2img import ImageJob
from stableflows.sandbox.job import Job
from stableflows.sandbox.processing import Processed
from stableflows.sandbox.txt2img import TextJob
from stableflows.sandbox.webui import WebUI


class Prepared:
    """A generating request that was looked at before the lock and now waits for it."""

    def __init__(
        self, webui: WebUI, kind: str, request: dict[str, Any], given: set[str], fault: Fault | None
    ) -> None:
        self.webui = webui
        self.kind = kind
        self.request = request
        self.fault = fault
        self.task_id = request.get("force_task_id") or webui.tasks.new_id(kind)
        if kind == "img2img" and request["init_images"] is None:
            if webui.family == "sdnext":
                raise HTTPError(400, "Init image is none")
            raise HTTPError(404, "Init image not found")
        self.mask = images.decode(request["mask"], webui.options) if request.get("mask") else None
        if request.get("infotext"):
            infotext.apply(request, given, request["infotext"])
        self.script = scripts.selected(webui, kind, request)
        self.fields = self._fields()
        args = scripts.alwayson(webui, kind, request)
        swallowed = fault is not None and fault.kind == "swallowed_adetailer"
        self.detailer = Detailer(args) if args is not None and not swallowed else None
        webui.tasks.queue(self.task_id)

    def _fields(self) -> dict[str, Any]:
        request = self.request
        if self.webui.family == "sdnext":
            sampler = samplers.sdnext_sampler(request["sampler_name"] or "Default")
            return {**sdnext.as_job(request, self.kind), "sampler_name": sampler}
        sampler, label = samplers.resolve(
            self.webui.family,
            request["sampler_name"] or request["sampler_index"],
            request["scheduler"],
            default_to_automatic=True,
        )
        automatic = label == samplers.AUTOMATIC
        scheduler = request["scheduler"] or (None if automatic else label)
        return {**request, "sampler_name": sampler, "scheduler": scheduler}

    def run(self) -> Processed:
        """Inside the lock. A task that fails stays the current one; undecodable images stay pending."""
        webui = self.webui
        job = self._job()
        webui.state.begin(f"scripts_{self.kind}")
        webui.tasks.start(self.task_id)
        try:
            if self.fault is not None and self.fault.kind in ("oom", "nan") and self.fault.step == 0:
                self.fault.strike(webui)
            done = scripts.run(job, self.script)
            webui.tasks.finish(self.task_id)
        finally:
            webui.state.end()
            if not webui.options["persistent_cond_cache"]:
                webui.conditioning.clear()
        return done

    def _job(self) -> Job:
        if self.kind == "txt2img":
            return TextJob(self.webui, self.fields, self.fault, self.detailer)
        inits = [images.decode(text, self.webui.options) for text in self.request["init_images"]]
        job = ImageJob(self.webui, self.fields, self.fault, self.detailer)
        job.init_images = inits
        job.mask = self.mask
        if job.mask is not None and self.detailer is not None and self.detailer.skip_img2img:
            # Inpainting with skip_img2img is not supported: ADetailer goes out without a word.
            job.detailer = None
        return job

    def rest(self, done: Processed) -> dict[str, Any]:
        """The answer without its images."""
        request = self.request
        if self.kind == "img2img" and not request["include_init_images"]:
            request["init_images"] = None
            request["mask"] = None
        info = json.dumps(done.as_json(), ensure_ascii=True)
        return {"images": [], "parameters": request, "info": info}


def shown_images(prepared: Prepared, done: Processed) -> list[Image.Image]:
    """The images of the answer, after the faults that touch them."""
    made = done.images
    if prepared.webui.family == "forge" and prepared.request["save_images"] and len(made) > 1:
        made = [_rgba(image) for image in made]
    return spoiled(made, prepared.fault) if prepared.request["send_images"] else []


def _rgba(image: Image.Image) -> Image.Image:
    converted = image.convert("RGBA")
    converted.info = dict(image.info)
    return converted


def spoiled(made: list[Image.Image], fault: Fault | None) -> list[Image.Image]:
    """Fewer images, or images of a wrong size, if a fault says so."""
    if fault is None or fault.kind not in ("fewer_images", "wrong_size"):
        return made
    if fault.kind == "fewer_images":
        return made[:-1]
    result = []
    for image in made:
        smaller = image.resize((max(8, image.width // 2), max(8, image.height // 2)))
        smaller.info = dict(image.info)
        result.append(smaller)
    return result


def sdnext_swallows(error: ServerError) -> bool:
    """SD.Next catches these in its pipeline, logs them, and answers 200 without images (from its source)."""
    return error.error in ("RuntimeError", "ValueError", "OutOfMemoryError", "NansException")
