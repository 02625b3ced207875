"""What a server would leave out or do differently at HTTP 200, foreseen from what it says it has."""

from __future__ import annotations

from collections.abc import Iterator

from stableflows.config import ADetailerConfig, GenerationConfig, Txt2ImgConfig
from stableflows.config.base import PROMPT_FIELDS, Strict, request_fields
from stableflows.embeddings import bare_embeddings
from stableflows.entries import Entry
from stableflows.errors import InputError, nearest
from stableflows.sdnext_faults import sdnext_faults
from stableflows.stages import StageExecution, StageType
from stableflows.webui.capabilities import ADetailerSupport, Capabilities, Family
from stableflows.webui.prompts import lora_tags, stray_tags

__all__ = ["positive_prompts", "silent_faults", "written_prompts"]


NO_VAE = (None, "None", "Automatic")

Fault = tuple[str, str]
"""(field, what would happen)"""


def silent_faults(entry: Entry, capabilities: Capabilities) -> Iterator[InputError]:
    """Everything of an entry that this server would not do as asked, without a word."""
    for field, message in _faults(entry, capabilities):
        yield InputError(message, where=entry.places.of(field))


def _faults(entry: Entry, capabilities: Capabilities) -> Iterator[Fault]:
    for field, prompt in positive_prompts(entry):
        yield from _prompt_faults(field, prompt)
    for stage in entry.plan:
        if stage.refiner_switch_step and not capabilities.has_option("refiner_switch_by_sample_steps"):
            message = "the server cannot switch the refiner at a step; use switch_at, a fraction."
            yield "txt2img.refiner.switch_step", message
        if capabilities.family is Family.SDNEXT:
            yield from sdnext_faults(stage)
        elif isinstance(stage.config, ADetailerConfig):
            yield from _adetailer_faults(stage.config, capabilities.adetailer)
        if capabilities.vae == "modules" and stage.generation and stage.generation.vae not in NO_VAE:
            message = (
                f"the server takes no VAE by name and would ignore {stage.generation.vae!r}; give it as "
                "override_settings: {forge_additional_modules: [PATH]}."
            )
            yield f"{stage.config_key}.vae", message
        if stage.generation:
            yield from _script_faults(stage, stage.generation, capabilities)
            yield from _option_faults(stage, stage.generation, capabilities)


def written_prompts(entry: Entry) -> Iterator[tuple[str, str]]:
    """Every prompt as somebody wrote it, positive and negative, and the field it stands in."""
    spec = entry.item.entry
    yield from (("prompt", spec.prompt), ("negative_prompt", spec.negative_prompt))
    yield from (
        ("globals.prompt", spec.globals.prompt),
        ("globals.negative_prompt", spec.globals.negative_prompt),
    )
    for stage in entry.plan:
        config = stage.generation
        if config is None:
            continue
        parts: list[tuple[str, Strict]] = [(stage.config_key, config)]
        if isinstance(config, Txt2ImgConfig) and config.hires.enabled:
            parts.append(("txt2img.hires", config.hires))
        if isinstance(config, ADetailerConfig):
            parts += [(f"adetailer.units.{number}", unit) for number, unit in enumerate(config.units)]
        for path, part in parts:
            for field in (name for name in PROMPT_FIELDS if name in type(part).model_fields):
                yield f"{path}.{field}", getattr(part, field) or ""


def positive_prompts(entry: Entry) -> Iterator[tuple[str, str]]:
    """Every positive prompt as it is sent, and the field it stands in. Only these are read for tags."""
    if any(stage.generation for stage in entry.plan):
        yield "prompt", entry.texts.prompt
    for field, text in written_prompts(entry):
        if "." in field and "negative" not in field and not field.startswith("globals"):
            yield field, bare_embeddings(text)


def _prompt_faults(field: str, prompt: str) -> Iterator[Fault]:
    for tag in lora_tags(prompt):
        if not tag.weight_is_readable:
            weight = f"the weight {tag.weight_text!r} of the LoRA {tag.name!r} is no number"
            yield field, f"{weight}; the server would drop all LoRAs of the prompt."
    for stray in stray_tags(prompt):
        yield field, f"the server knows no tag such as {stray} and would take it out silently."


def _adetailer_faults(config: ADetailerConfig, support: ADetailerSupport | None) -> Iterator[Fault]:
    """For each of these the extension would drop a unit."""
    if support is None:
        message = (
            "the server has no ADetailer; install the extension Bing-su/adetailer there, or leave it out."
        )
        yield "adetailer", message
        return
    if support.max_units and len(config.units) > support.max_units:
        message = (
            f"{len(config.units)} units, and the server takes {support.max_units} (option ad_max_models)."
        )
        yield "adetailer.units", message
    for number, unit in enumerate(config.units):
        for argument in request_fields(unit):
            if support.args and argument not in support.args:
                message = f"ADetailer {support.version or ''} there does not know it and would drop the unit."
                yield f"adetailer.units.{number}.{argument}", message


def _script_faults(
    stage: StageExecution, config: GenerationConfig, capabilities: Capabilities
) -> Iterator[Fault]:
    is_img2img = stage.stage_type is not StageType.TXT2IMG
    page = "img2img" if is_img2img else "txt2img"  # each script is listed once for either that has it
    always_on = sorted(
        {
            script.name
            for script in capabilities.scripts
            if script.is_alwayson and script.is_img2img == is_img2img
        }
    )
    for title, script in (config.alwayson_scripts or {}).items():
        field = f"{stage.config_key}.alwayson_scripts.{title}"
        known = capabilities.script(title, is_img2img=is_img2img, is_alwayson=True)
        args = script["args"] if isinstance(script, dict) else None
        if known is None:
            yield field, f"the server has no always-on script {title!r} for {page}.{_hint(title, always_on)}"
        elif isinstance(args, list) and len(args) > len(known.args):
            yield field, f"{len(args)} arguments; the script takes {len(known.args)} and drops the rest."


def _option_faults(
    stage: StageExecution, config: GenerationConfig, capabilities: Capabilities
) -> Iterator[Fault]:
    for option in config.override_settings or {}:
        if not capabilities.has_option(option):
            hint = _hint(option, sorted(capabilities.options))
            yield f"{stage.config_key}.override_settings", f"the server has no option {option!r}.{hint}"


def _hint(name: str, existing: list[str]) -> str:
    near = nearest(name, existing)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
