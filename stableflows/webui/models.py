"""The answers of a WebUI as models.

They are the servers' own and differ between families and versions, so unknown fields are kept or ignored and
null is taken wherever one of them sends it.
"""

from __future__ import annotations

import ntpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field

__all__ = [
    "Checkpoint",
    "Embedding",
    "Embeddings",
    "ImageBytes",
    "Info",
    "Lora",
    "Named",
    "PngInfo",
    "Progress",
    "ProgressState",
    "Sampler",
    "Scheduler",
    "ScriptArg",
    "ScriptInfo",
    "Style",
    "TaskProgress",
    "Upscaler",
    "Vae",
    "WebUIReply",
    "WebUIRequest",
]

GenerationPath = Literal[
    "/sdapi/v1/txt2img", "/sdapi/v1/img2img", "/sdapi/v1/extra-single-image", "/sdapi/v1/detail"
]
"""The last is SD.Next's: its detailer on a finished image."""


def _nothing_for_null(kind: type) -> BeforeValidator:
    return BeforeValidator(lambda value: kind() if value is None else value)


Text = Annotated[str, _nothing_for_null(str)]
Number = Annotated[float, _nothing_for_null(float)]
Count = Annotated[int, _nothing_for_null(int)]
Flag = Annotated[bool, _nothing_for_null(bool)]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Named(_Answer):
    """Anything of which only the name counts (face restorers, latent upscale modes)."""

    name: str


class Sampler(_Answer):
    name: str
    aliases: Annotated[tuple[str, ...], _nothing_for_null(tuple)] = ()
    options: Annotated[dict[str, Any], _nothing_for_null(dict)] = Field(default_factory=dict)

    @property
    def default_scheduler(self) -> str | None:
        """The schedule that "Automatic" means for this sampler, if it has one of its own."""
        value = self.options.get("scheduler")
        return value if isinstance(value, str) and value else None


class Scheduler(_Answer):
    name: str
    label: Text = ""
    aliases: Annotated[tuple[str, ...], _nothing_for_null(tuple)] = ()


class Checkpoint(_Answer):
    """``hash`` (10 characters) and ``sha256`` are None until the server loaded the file once."""

    title: str
    model_name: Text = ""
    hash: str | None = None
    sha256: str | None = None
    filename: Text = ""

    @property
    def filename_only(self) -> str:
        """The file's name, without its folder on the server (which may be a Windows one)."""
        return ntpath.basename(self.filename)


class Vae(_Answer):
    """A VAE file (``/sd-vae``), or one of Forge's modules. ``model_name`` has its extension."""

    model_name: str
    filename: Text = ""


class Upscaler(_Answer):
    name: str
    model_path: str | None = None
    scale: float | None = None


class Lora(_Answer):
    name: str
    alias: Text = ""
    path: Text = ""
    model_hash: Text = Field("", validation_alias=AliasPath("metadata", "sshs_model_hash"))
    """What its trainer wrote into the file; the server reports it as the hash, unchecked."""


class Embedding(_Answer):
    shape: int | None = None
    vectors: int | None = None


class Embeddings(_Answer):
    """``skipped`` are there, but do not fit the loaded model: their names are plain words in a prompt."""

    loaded: Annotated[dict[str, Embedding], _nothing_for_null(dict)] = Field(default_factory=dict)
    skipped: Annotated[dict[str, Embedding], _nothing_for_null(dict)] = Field(default_factory=dict)


class Style(_Answer):
    name: str
    prompt: Text = ""
    negative_prompt: Text = ""


class ScriptArg(_Answer):
    label: Text = ""
    value: Any = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | None = None


class ScriptInfo(_Answer):
    """A script as ``/script-info`` tells it: arguments are positional and must be complete."""

    name: str
    is_alwayson: Flag = False
    is_img2img: Flag = False
    args: Annotated[tuple[ScriptArg, ...], _nothing_for_null(tuple)] = ()


class ProgressState(_Answer):
    skipped: Flag = False
    interrupted: Flag = False
    job: Text = ""
    job_count: Count = 0
    job_timestamp: Text = ""
    job_no: Count = 0
    sampling_step: Count = 0
    sampling_steps: Count = 0


class Progress(_Answer):
    """``/sdapi/v1/progress``. It knows no tasks: what it shows may be anyone's."""

    progress: Number = 0.0
    eta_relative: Number = 0.0
    state: Annotated[ProgressState, _nothing_for_null(ProgressState)] = ProgressState()

    @property
    def idle(self) -> bool:
        """No job at this moment. Also true for a moment between two queued jobs."""
        return not self.state.job and self.state.job_count <= 0


class TaskProgress(_Answer):
    """``/internal/progress``: one task, by the id that its request gave it.

    A task that failed stays ``active`` until the next one starts.
    """

    active: Flag = False
    queued: Flag = False
    completed: Flag = False
    progress: float | None = None


class PngInfo(_Answer):
    info: Text = ""
    items: Annotated[dict[str, Any], _nothing_for_null(dict)] = Field(default_factory=dict)
    parameters: Annotated[dict[str, Any], _nothing_for_null(dict)] = Field(default_factory=dict)


class Info(BaseModel):
    """The ``info`` of a generation: what the server says it did (a JSON string within the answer).

    ``width`` and ``height`` are the request's, not the picture's; ``all_seeds`` is wrong for the script "SD
    upscale".
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    prompt: Text = ""
    seed: int | None = None
    all_seeds: Annotated[tuple[int, ...], _nothing_for_null(tuple)] = ()
    subseed: int | None = None
    sampler_name: str | None = None
    steps: int | None = None
    sd_model_name: str | None = None
    sd_model_hash: str | None = None
    sd_vae_name: str | None = None
    sd_vae_hash: str | None = None
    clip_skip: int | None = None
    extra_generation_params: Annotated[dict[str, Any], _nothing_for_null(dict)] = Field(default_factory=dict)
    index_of_first_image: Count = 0
    infotexts: Annotated[tuple[str, ...], _nothing_for_null(tuple)] = ()
    job_timestamp: Text = ""
    version: str | None = None


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """A picture exactly as the server sent it (after base64), decoded once to know that it is whole.

    Args:
        data: the file's bytes.
        format: ``PNG``, ``JPEG`` or ``WEBP``.
        width, height: decoded pixels.
        infotext: the one inside the picture, if there is one.
    """

    data: bytes = field(repr=False)
    format: str
    width: int
    height: int
    infotext: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height


@dataclass(frozen=True, slots=True)
class WebUIRequest:
    """One generating call.

    Args:
        path: the endpoint.
        body: the request in the API's own terms.
        n_images: how many pictures must come back at least.
        size: width and height in pixels that they must have; None, if it cannot be said.
    """

    path: GenerationPath
    body: Mapping[str, Any]
    n_images: int = 1
    size: tuple[int, int] | None = None

    @property
    def summary(self) -> str:
        """What is asked, in a few words, for messages."""
        pictures = "1 image" if self.n_images == 1 else f"{self.n_images} images"
        size = f" {self.size[0]}x{self.size[1]}" if self.size else ""
        details = []
        if sampler := self.body.get("sampler_name"):
            details.append(str(sampler))
        if steps := self.body.get("steps"):
            details.append(f"{steps} steps")
        if upscaler := self.body.get("upscaler_1"):
            details.append(str(upscaler))
        return ", ".join([pictures + size, *details])


@dataclass(frozen=True, slots=True)
class WebUIReply:
    """The answer of a generating call: pictures, and what the server says about them.

    ``images`` holds all that came, grids and ControlNet maps included; `wanted` picks those that were asked
    for.
    """

    images: tuple[ImageBytes, ...]
    info: Info | None = None
    html_info: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def raw_images(self) -> tuple[bytes, ...]:
        return tuple(image.data for image in self.images)

    @property
    def infotexts(self) -> tuple[str, ...]:
        """One for each of ``images``, as far as there are: a picture's own, else the one that ``info`` gives
        it.
        """
        listed = self.info.infotexts if self.info else ()
        pairs = [
            image.infotext or (listed[at] if at < len(listed) else "") for at, image in enumerate(self.images)
        ]
        return tuple(pairs)

    def first_wanted(self, request: WebUIRequest) -> int:
        """Index of the first picture that was asked for: a grid comes before it.

        The script "loopback" puts a grid first and says ``index_of_first_image`` 0, so that a surplus
        picture of another size than the next one's, which has the right one, is stepped over too.
        """
        at = max(0, self.info.index_of_first_image) if self.info else 0
        while (
            request.size
            and len(self.images) - at > request.n_images
            and self.images[at].size != request.size
            and self.images[at + 1].size == request.size
        ):
            at += 1
        return at

    def wanted(self, request: WebUIRequest) -> tuple[ImageBytes, ...]:
        """The pictures that were asked for, in order; fewer than ``n_images`` if fewer came."""
        first = self.first_wanted(request)
        return self.images[first : first + request.n_images]
