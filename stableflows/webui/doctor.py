"""A look at a server: what it is, what works, what cannot be verified on it, what it would need.

The first thing to run against a WebUI that one does not know. It reads, and changes nothing there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from .capabilities import Capabilities, Family
from .client import WebUIClient
from .errors import WebUIError
from .names import ServerNames, load_names
from .serverstate import pixel_options, troubling_options

__all__ = ["Ability", "Advice", "Diagnosis", "examine"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ability(_Part):
    """Something that a run may use: whether this server has it, and what follows."""

    name: str
    works: bool
    note: str = ""


class Advice(_Part):
    """Something that would be better otherwise, and how to set it."""

    what: str
    effect: str
    how: str


class Diagnosis(_Part):
    """What is known of a server.

    Args:
        server: its identity (URL without credentials).
        family, version: what it is. Most WebUIs tell their version only in their pictures.
        idle: whether no job ran at that moment.
        counts: how many there are of each kind of name.
        abilities: what works.
        unverifiable: what a run may ask of it without learning whether it was done.
        pixel_options: options that change pixels and stand in no request, with their values.
        advice: what it would need.
    """

    server: str
    family: Family
    version: str | None
    idle: bool
    checkpoint: str | None
    counts: dict[str, int]
    abilities: tuple[Ability, ...]
    unverifiable: tuple[str, ...]
    pixel_options: dict[str, Any]
    advice: tuple[Advice, ...]


async def examine(client: WebUIClient) -> Diagnosis:
    """Looks at a server that is ready. It sends nothing but reading requests.

    Raises:
        WebUIError: it cannot be reached, wants a password, is none, or one of its lists cannot be read.
    """
    await client.wait_ready(0)
    caps = await client.probe()
    names = await load_names(client)
    options = names.options
    return Diagnosis(
        server=client.config.server_identity,
        family=caps.family,
        version=caps.version or await _version_of_its_page(client, caps),
        idle=await client.is_idle(),
        checkpoint=str(options.get("sd_model_checkpoint") or "") or None,
        counts=_counts(names),
        abilities=_abilities(caps, names),
        unverifiable=_unverifiable(caps, names),
        pixel_options=pixel_options(options, caps.family),
        advice=(*_advice(caps, names), *_option_advice(options)),
    )


async def _version_of_its_page(client: WebUIClient, caps: Capabilities) -> str | None:
    """AUTOMATIC1111 and its forks tell their version in the page of system information, if they show one."""
    if "/internal/sysinfo" not in caps.endpoints:
        return None
    try:
        document = await client.system_information()
    except WebUIError:
        return None  # no information is no fault: the version stands in the first picture
    return str(document["Version"]) if document.get("Version") else None


def _counts(names: ServerNames) -> dict[str, int]:
    return {
        "samplers": len(names.samplers),
        "schedulers": len(names.schedulers),
        "checkpoints": len(names.checkpoints),
        "VAEs": len(names.vaes),
        "upscalers": len(names.upscalers),
        "LoRAs": len(names.loras),
        "embeddings": len(names.embeddings.loaded),
        "embeddings that do not fit the loaded checkpoint": len(names.embeddings.skipped),
        "styles": len(names.styles),
        "scripts": len({script.name for script in names.scripts}),
        "ADetailer models": len(names.ad_models),
    }


def _abilities(caps: Capabilities, names: ServerNames) -> tuple[Ability, ...]:
    refiner = caps.has_option("refiner_switch_by_sample_steps")
    found = [
        Ability(
            name="task ids",
            works=caps.has_task_ids,
            note="" if caps.has_task_ids else "which job is ours is told by order only",
        ),
        Ability(
            name="schedulers", works=caps.has_schedulers, note="" if caps.has_schedulers else _NO_SCHEDULERS
        ),
        Ability(name="VAE", works=caps.vae != "none", note=_vae_note(caps)),
        Ability(
            name="refiner switch at a step",
            works=refiner,
            note="" if refiner else "write switch_at, a fraction, instead",
        ),
        Ability(name="latent hires upscalers", works=bool(names.latent_upscale_modes)),
        _detailer(caps),
        Ability(name='"SD upscale" script', works=caps.script("sd upscale", is_img2img=True) is not None),
    ]
    return tuple(found)


def _detailer(caps: Capabilities) -> Ability:
    if caps.family is Family.SDNEXT:
        return Ability(name="ADetailer", works=True, note="through its own detailer; see docs/servers.md")
    if caps.adetailer is None:
        return Ability(name="ADetailer", works=False)
    version = caps.adetailer.version or "old version"
    return Ability(name="ADetailer", works=True, note=f"{version}, {caps.adetailer.max_units} units")


_NO_SCHEDULERS = "write the schedule into the sampler's name, as DPM++ 2M Karras"


def _vae_note(caps: Capabilities) -> str:
    if caps.vae == "modules":
        return "Forge takes forge_additional_modules; sd_vae has no effect there"
    return "" if caps.vae == "list" else "the VAE is the server's own choice"


def _unverifiable(caps: Capabilities, names: ServerNames) -> tuple[str, ...]:
    found = ["embeddings: reported only when their prompt is newly encoded; preflight looks them up instead"]
    if caps.adetailer:
        found.append("ADetailer: whether it found a face is not told")
        if not caps.adetailer.args:
            found.append("ADetailer: this version does not tell its arguments; an unknown one drops a unit")
    if names.options.get("lora_add_hashes_to_infotext") is False:
        found.append("LoRA: the option lora_add_hashes_to_infotext is off")
    if caps.family in (Family.SDNEXT, Family.UNKNOWN):
        found.append("LoRA, VAE, refiner and hires: its infotext is another than AUTOMATIC1111's")
    if caps.family is Family.FORGE:
        found.append("modules (VAE, text encoders): their files are not reported")
    if any(model.hash is None and model.sha256 is None for model in names.checkpoints):
        found.append(
            "checkpoints that were never loaded have no hash yet: until then only the name is compared"
        )
    found.append("extras: an upscaler whose weights cannot be downloaded only resizes, and says nothing")
    return tuple(found)


def _advice(caps: Capabilities, names: ServerNames) -> list[Advice]:
    found = []
    if caps.adetailer is None and caps.family is not Family.SDNEXT:
        found.append(
            Advice(
                what="ADetailer is not installed",
                effect="the stage adetailer is refused",
                how="install the extension: Extensions, Install from URL, github.com/Bing-su/adetailer",
            )
        )
    if not caps.has_task_ids and caps.family is not Family.SDNEXT:
        found.append(
            Advice(
                what="the server has no task ids",
                effect="a cancel interrupts whatever runs, if nothing else of ours waits before it",
                how="start it with --api, without --nowebui",
            )
        )
    if not names.checkpoints:
        found.append(
            Advice(
                what="the server has no checkpoint",
                effect="nothing can be rendered",
                how="put one into its models/Stable-diffusion folder",
            )
        )
    return found


def _option_advice(options: Mapping[str, Any]) -> list[Advice]:
    return [
        Advice(
            what=f"option {trouble.option} is {trouble.value!r}",
            effect=trouble.effect,
            how=f"Settings, or POST /sdapi/v1/options {{{trouble.option!r}: {trouble.better!r}}}",
        )
        for trouble in troubling_options(options)
    ]
