"""SD.Next's built-in detailer and what it lists, as its source says; never observed on a running one."""

from typing import Any

from PIL import Image

from stableflows.sandbox import draw, fields, images, networks, pixels
from stableflows.sandbox.errors import HTTPError
from stableflows.sandbox.faults import Fault
from stableflows.sandbox.job import fixed_seed
from stableflows.sandbox.recorded import recorded
from stableflows.sandbox.webui import Interrupted, WebUI


def list_schedulers(_: WebUI) -> list[dict[str, Any]]:
    """Under this path it lists its samplers."""
    return [
        {"name": item["name"], "cls": item["name"], "options": item["options"]}
        for item in recorded("sdnext")["samplers"]
    ]


def list_detailers(webui: WebUI) -> list[dict[str, str]]:
    """Detection models by the stem of their file: those that it would fetch, then the user's own."""
    return [
        {"name": name, "path": f"{webui.catalog.root}/models/yolo/{name}.pt"} for name in _detectors(webui)
    ]


def _detectors(webui: WebUI) -> list[str]:
    own = [name.removesuffix(".pt") for name in webui.catalog.adetailer_models if name.endswith(".pt")]
    return list(dict.fromkeys([*recorded("sdnext")["detailers"], *own]))


class Detail:
    """POST /sdapi/v1/detail: the detailer alone, on an image that comes with the request.

    Checkpoint, VAE and schedule are those of the server. A model that it does not have is only logged, and
    so is one that finds nothing: the answer is an image and a seed either way.
    """

    def __init__(self, webui: WebUI, body: Any, fault: Fault | None) -> None:
        """
        Raises:
            InvalidError: 422.
            HTTPError: the image cannot be decoded, the sampler is unknown.
        """
        self.webui = webui
        self.fault = fault
        self.request = fields.fill("detail", body, "sdnext", webui.flavour.validation)
        if self.request["image"] is None:
            raise HTTPError(400, "invalid image")
        self.image = images.decode(self.request["image"], webui.options).convert("RGB")
        self.seed = fixed_seed(self.request["seed"])

    def run(self) -> Image.Image:
        """Inside the lock."""
        webui, request = self.webui, self.request
        webui.state.begin("API-DETAIL")
        try:
            if self.fault is not None:
                self.fault.strike(webui)
            webui.weights.reload()
            names = request["detailer_models"]
            known = _detectors(webui)
            image = self.image
            for name in webui.options["detailer_models"] if names is None else names:
                strength = 0.3 if request["detailer_strength"] is None else request["detailer_strength"]
                if name in known and strength > 0:
                    image = self._retouched(image, name, strength)
            return image
        except Interrupted:
            return self.image
        finally:
            webui.state.end()

    def _retouched(self, image: Image.Image, name: str, strength: float) -> Image.Image:
        webui, request = self.webui, self.request
        prompt, tags = networks.parse_tags(request["detailer_prompt"] or "")
        webui.loras.activate(tags)
        webui.sleep(webui.settings.step_seconds * (request["detailer_steps"] or 10))
        checkpoint = webui.weights.current().content
        vae = webui.weights.vae.sha256 if webui.weights.vae is not None else ""
        options = {
            key: value for key, value in webui.options.changed().items() if key.startswith("detailer_")
        }
        facts = {
            **{key: value for key, value in request.items() if key not in ("image", "detailer_models")},
            "model": name,
            "prompt": " ".join(prompt.split()),
            "loras": sorted(webui.loras.applied.items()),
            "seed": self.seed,
            "checkpoint": checkpoint,
            "vae": vae,
            "sigma": webui.options["schedulers_sigma"],
            "options": options,
            "image": pixels.digest_of(image),
        }
        recipe = draw.Recipe(facts, prompt=prompt, checkpoint=checkpoint, vae=vae)
        return draw.retouch(image, recipe, strength, name)
