"""What a person asks for, on the command line, in Prefect's form or through its API, and what comes of it.

    RenderRequest --prepare--> Prepared (job, entries, calls)

Nothing here contacts a server or writes a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from stableflows.calls import StageCall
from stableflows.config.flat import set_in
from stableflows.config.generation import Seed
from stableflows.config.layers import Layer, explain
from stableflows.continued import Continued
from stableflows.entries import Entry, expand, read_job
from stableflows.errors import InputError, InvalidInputs, Places, Where
from stableflows.inputs import InputImages
from stableflows.job import Job, RunConfig, RunMode, SubmittedAs
from stableflows.packs import free_text, read_sources
from stableflows.packs.document import read_value
from stableflows.packs.files import full_path
from stableflows.packs.model import Source
from stableflows.prompts.sweep import parse_sweeps
from stableflows.schedule import schedule
from stableflows.seeds import Draws
from stableflows.stages import StageType

__all__ = ["Prepared", "RenderRequest", "parse_settings", "prepare", "prepare_job", "with_mode"]


class RenderRequest(BaseModel):
    """A render, as it is asked for. Prefect's UI draws its form from this model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    packs: tuple[str, ...] = Field(
        (),
        title="Packs",
        description="Files with prompts, such as packs/demo.yaml or packs/*.yaml, on the machine that "
        "renders. Or one job file. Clear this list if you write a prompt below.",
    )
    prompt: str | None = Field(None, title="Prompt", description="One prompt, in place of packs.")
    negative_prompt: str = Field(
        "", title="Negative prompt", description="What the prompt's picture should not show."
    )
    inputs: tuple[str, ...] = Field(
        (),
        title="Input images",
        description="Image files to continue; then the first stage is img2img or upscale.",
    )
    from_images: tuple[str, ...] = Field(
        (),
        title="From images",
        description="Finished images, in place of packs: made again from what they say of themselves. "
        "With stages that leave out txt2img, they are continued with the prompt and settings found in them.",
    )
    stages: tuple[StageType, ...] | None = Field(
        None,
        title="Stages",
        description="Exactly these run, in the order txt2img, img2img, upscale, adetailer. "
        "Left out: as packs say.",
    )
    settings: dict[str, JsonValue] = Field(
        default_factory=dict,
        title="Settings",
        description='Above all packs, such as {"txt2img": {"steps": 30}}; docs/stages.md lists them.',
    )
    seed: Seed | None = Field(
        None,
        title="Seed",
        description="Of every entry's first image; -1 draws anew. "
        "Left out: as packs say, else derived from the prompt.",
    )
    count: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, title="Images an entry", description="From 1 to 1000. Left out: as packs say, else 1."
    )
    server: str | None = Field(
        None,
        title="Server",
        description="A WebUI's address, the name of a block webui-server, or sandbox. Left out: what the "
        "worker's machine has configured, else the sandbox, which draws instead of rendering.",
    )
    out: str = Field(
        "outputs", title="Output folder", description="Where runs go, on the machine that renders."
    )
    job: str | None = Field(
        None,
        title="Saved job",
        description="Id of a job saved in the output folder, in place of packs and settings; "
        "commands fill it in.",
    )
    title: str | None = Field(None, title="Name of the run", description="As Prefect shows it.")
    again: str | None = Field(
        None,
        title="Again",
        description="A run's id: its job once more, with the seeds that were drawn, into a new folder.",
    )
    resume: str | None = Field(
        None, title="Resume", description="A run id: finish that run, into the same folder."
    )
    retry: str | None = Field(
        None, title="Retry", description="A run id: as Resume, and what failed in it is made again."
    )
    fresh: bool = Field(False, title="Fresh", description="Render again what the store has, too.")
    until: str | None = Field(
        None,
        title="Until",
        description='Local time such as "07:00", after which no further request is sent; resume finishes.',
        pattern=r"^([01]\d|2[0-3]):[0-5]\d$",
    )
    wait: bool = Field(
        True, title="Wait", description="Wait while another run uses the server; else fail at once."
    )
    window: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None,
        title="Window",
        description="Entries with several checkpoints that are under way together. Left out: chosen from "
        "what loading takes.",
    )
    sweep: tuple[str, ...] = Field(
        (), title="Sweep", description="Settings over lists, an axis each: txt2img.steps=20,30."
    )
    wildcards: tuple[str, ...] = Field(
        (), title="Wildcards", description="Folders of wildcard files, besides those that packs name."
    )
    on_memory_error: Literal["fail", "smaller"] | None = Field(
        None,
        title="On memory error",
        description="smaller: what the server has no memory for is tried once more in a smaller batch or "
        "with smaller tiles, and the result says so. Left out: as the job says, else fail.",
    )
    run_config: RunConfig | None = Field(None, title="Run config", description="See docs/jobs.md.")

    @classmethod
    def of(cls, **values: Any) -> RenderRequest:
        """The request of these values.

        Raises:
            InvalidInputs: one of them has a wrong type or is out of range.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            raise InvalidInputs(explain(error, cls)) from None

    @property
    def root(self) -> Path:
        """Raises: InputError: `out` is no path."""
        return full_path(self.out, where=Where(field="--out"))


@dataclass(frozen=True)
class Prepared:
    """A job, ready to be sent: every entry, every call in order."""

    job: Job
    entries: tuple[Entry, ...]
    calls: tuple[StageCall, ...]
    images: InputImages
    draws: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    places: tuple[Places, ...] = ()
    server: str | None = None
    """What the request, or the run that is repeated, named the server."""
    continued: Continued | None = None
    """The run that is taken up again; None for a new one."""

    @property
    def image_count(self) -> int:
        """Final images."""
        last = {entry.index: len(entry.plan) - 1 for entry in self.entries}
        return sum(call.n for call in self.calls if call.stage == last[call.entry])


def prepare(
    request: RenderRequest,
    source: Source | None = None,
    *,
    run_mode: RunMode = "direct",
    submitted: SubmittedAs | None = None,
) -> Prepared:
    """Read what is asked for, check it, and resolve everything that is random.

    Args:
        source: what to render, if it is not the request that says it.
        run_mode: how it will run, whatever a job file says.
        submitted: recorded as its source, unless a job file names one.

    Raises:
        InputError: what was asked for cannot be rendered; InvalidInputs names everything at once.
    """
    inputs = [full_path(path, where=Where(field="--input")) for path in request.inputs]
    source = source or _source(request, inputs)
    images = InputImages()
    job, places = read_job(
        source,
        images=images,
        settings=[*([source.settings] if source.settings else []), *_layers(request)],
        run_config=_run_config(request, source.run_config),
        inputs=inputs,
        first_seed=source.first_seed if request.seed is None else request.seed,
        sweep=parse_sweeps(request.sweep),
        wildcards=[full_path(path, where=Where(field="--wildcards")) for path in request.wildcards],
    )
    draws = Draws()
    entries = expand(job, images=images, draw=draws, places=places)
    warnings = (*source.warnings, *_idle_settings(request, entries), *_other_mode(job, run_mode))
    return Prepared(
        with_mode(job, run_mode, submitted), entries, schedule(entries), images, draws.made, warnings, places
    )


def _source(request: RenderRequest, inputs: Sequence[Path]) -> Source:
    """What the request names to be rendered."""
    if request.from_images and (request.packs or request.prompt is not None or inputs):
        raise InputError("goes with neither packs nor --prompt nor --input.", where=Where(field="--from"))
    if request.prompt is not None and request.packs:
        raise InputError("give packs or a prompt, not both.", where=Where(field="--prompt"))
    if request.packs:
        return read_sources(request.packs)
    if request.from_images:
        from stableflows.images import read_images  # not at the top: most requests name no image

        return read_images(request.from_images, stages=request.stages, settings=request.settings)
    if request.prompt is not None or inputs:
        source = free_text(request.prompt or "", request.negative_prompt, inputs)
        words = " ".join((request.prompt or "").split())[:60]
        return replace(source, name=words or inputs[0].stem)
    raise InputError("nothing to render: name a pack, or give --prompt or --input.")


def _idle_settings(request: RenderRequest, entries: Sequence[Entry]) -> list[str]:
    """Settings of a stage that no entry has."""
    running = {stage.config_key for entry in entries for stage in entry.plan}
    idle = [key for key in request.settings if key in {stage.value for stage in StageType} - running]
    return [f"--set says something of {key}, which is off; --stages switches it on" for key in idle]


def with_mode(job: Job, run_mode: RunMode, submitted: SubmittedAs | None = None) -> Job:
    """The job, with how it runs as what is recorded of that."""
    decided: dict[str, Any] = {"run_mode": run_mode}
    if submitted and "source" not in job.run_config.model_fields_set:
        decided["source"] = submitted
    return job.model_copy(update={"run_config": job.run_config.model_copy(update=decided)})


def _other_mode(job: Job, run_mode: RunMode) -> list[str]:
    written = job.run_config.run_mode
    if written == run_mode or "run_mode" not in job.run_config.model_fields_set:
        return []
    how = "runs it directly" if run_mode == "direct" else "puts it into the queue"
    return [f"the job's run_mode is {written!r}; this command {how}"]


def prepare_job(
    job: Job,
    *,
    inputs: Path,
    recorded: Mapping[str, int] | None = None,
    places: tuple[Places, ...] = (),
    warnings: tuple[str, ...] = (),
) -> Prepared:
    """A saved job, ready to be sent.

    Args:
        inputs: the folder in which its input images are kept.
        recorded: the draws of an earlier run, which are used again.
        places: where each entry was written, for messages.
        warnings: what was found when it was read.

    Raises:
        InputError: an image of it is gone, or it was saved by a version that allowed what this one refuses.
    """
    images, draws = InputImages(inputs), Draws(recorded)
    entries = expand(job, images=images, draw=draws, places=places)
    return Prepared(job, entries, schedule(entries), images, draws.made, warnings, places)


def _run_config(request: RenderRequest, written: Layer | None) -> RunConfig:
    given = request.run_config or (RunConfig.read(written) if written else None)
    if given is None or "prompt_source" not in given.model_fields_set:
        kind = "pack" if request.packs else "text" if request.prompt is not None else "image"
        given = (given or RunConfig()).model_copy(update={"prompt_source": kind})
    if request.on_memory_error is not None:
        given = given.model_copy(update={"on_memory_error": request.on_memory_error})
    return given


def _layers(request: RenderRequest) -> list[Layer]:
    """The request's own settings, above those of all files."""
    layers = []
    if request.stages is not None:
        toggles = {stage.value: {"enabled": stage in request.stages} for stage in StageType}
        layers.append(Layer(toggles, "--stages"))
    if request.count is not None:
        layers.append(Layer({"count": request.count}, "--count"))
    if request.settings:
        layers.append(Layer(request.settings, "--set"))
    return layers


def parse_settings(arguments: Sequence[str]) -> dict[str, Any]:
    """`txt2img.steps=30` ... as one nested mapping; a value is read as in a YAML pack.

    Raises:
        InputError: an argument has no `=`, or a value that nothing can be made of.
    """
    settings: dict[str, Any] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        path = tuple(part.strip() for part in name.split("."))
        if not equals or not all(path):
            raise InputError(
                f"{argument!r} is no setting; write it as FIELD=VALUE, such as txt2img.steps=30.",
                where=Where(field="--set"),
            )
        value = read_value(text, where=Where(field=f"--set {name.strip()}"))
        section: Any = settings
        for part in path[:-1]:
            section = section.get(part, {}) if isinstance(section, dict) else None
            if not isinstance(section, dict):
                raise InputError(f"{argument!r} contradicts another one.", where=Where(field="--set"))
        set_in(settings, path, value)
    return settings
