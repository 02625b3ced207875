"""The infotext: how a WebUI writes generation parameters into an image, and how it reads them back."""

import json
import re
from typing import Any

_PARAM = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"^(\d+)x(\d+)$")
_LORA = re.compile(r"<lora:([^:>]+)")
_DEFAULTS: tuple[tuple[str, Any], ...] = (
    ("Clip skip", "1"),
    ("Hires resize-1", 0),
    ("Hires resize-2", 0),
    ("Hires sampler", "Use same sampler"),
    ("Hires schedule type", "Use same scheduler"),
    ("Hires checkpoint", "Use same checkpoint"),
    ("Hires prompt", ""),
    ("Hires negative prompt", ""),
    ("Mask mode", "Inpaint masked"),
    ("Masked content", "original"),
    ("Inpaint area", "Whole picture"),
    ("Masked area padding", 32),
    ("RNG", "GPU"),
    ("Schedule type", "Automatic"),
    ("Schedule max sigma", 0),
    ("Schedule min sigma", 0),
    ("Schedule rho", 0),
    ("VAE Encoder", "Full"),
    ("VAE Decoder", "Full"),
    ("FP8 weight", "Disable"),
    ("Refiner switch by sampling steps", False),
)


def quoted(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",\n:") else text


def write(prompt: str, negative: str, parameters: dict[str, Any]) -> str:
    """``prompt``, ``Negative prompt: ...`` and one line of ``key: value``; values None are left out."""
    items = [
        key if key == value else f"{key}: {quoted(value)}"
        for key, value in parameters.items()
        if value is not None
    ]
    middle = f"\nNegative prompt: {negative}" if negative else ""
    return f"{prompt}{middle}\n{', '.join(items)}".strip()


def read(text: str, *, lora_name: Any = None, forge: bool = False) -> dict[str, Any]:
    """The parameters of an infotext, with the defaults that a WebUI fills in; every parsed value is text.

    ``lora_name`` looks a LoRA up by its hash: the prompt's tags are rewritten to the file found that way.
    """
    *lines, last = text.strip().split("\n")
    if len(_PARAM.findall(last)) < 3:
        lines, last = [*lines, last], ""
    prompt: list[str] = []
    negative: list[str] = []
    target = prompt
    for raw in lines:
        line = raw.strip()
        if line.startswith("Negative prompt:"):
            target = negative
            line = line[len("Negative prompt:") :].strip()
        target.append(line)
    result: dict[str, Any] = {}
    for key, raw in _PARAM.findall(last):
        value = json.loads(raw) if raw[:1] == '"' and raw[-1:] == '"' else raw
        size = _SIZE.match(value)
        if size:
            result[f"{key}-1"], result[f"{key}-2"] = size.groups()
        else:
            result[key] = value
    result["Prompt"] = "\n".join(prompt)
    result["Negative prompt"] = "\n".join(negative)
    for key, default in _DEFAULTS:
        result.setdefault(key, default)
    if forge:
        result.pop("Model", None)
        result.setdefault("Hires VAE/TE", ["Use same choices"])
    if lora_name is not None and "Lora hashes" in result:
        result["Prompt"] = _rewrite_loras(result["Prompt"], result["Lora hashes"], lora_name)
    return result


def _rewrite_loras(prompt: str, hashes: str, lora_name: Any) -> str:
    named = dict(item.split(": ", 1) for item in hashes.split(", ") if ": " in item)

    def replace(match: re.Match[str]) -> str:
        found = lora_name(named.get(match.group(1).replace(":", "").replace(",", ""), ""))
        return f"<lora:{found}" if found else match.group(0)

    return _LORA.sub(replace, prompt)


_REQUEST_FIELDS: tuple[tuple[str, str, type], ...] = (
    ("Prompt", "prompt", str),
    ("Negative prompt", "negative_prompt", str),
    ("Steps", "steps", int),
    ("Seed", "seed", int),
    ("Size-1", "width", int),
    ("Size-2", "height", int),
    ("CFG scale", "cfg_scale", float),
    ("Denoising strength", "denoising_strength", float),
    ("Sampler", "sampler_name", str),
    ("Schedule type", "scheduler", str),
    ("Variation seed", "subseed", int),
    ("Variation seed strength", "subseed_strength", float),
    ("Hires upscale", "hr_scale", float),
    ("Hires upscaler", "hr_upscaler", str),
    ("Hires steps", "hr_second_pass_steps", int),
    ("Hires checkpoint", "hr_checkpoint_name", str),
    ("Hires sampler", "hr_sampler_name", str),
    ("Hires schedule type", "hr_scheduler", str),
    ("Hires prompt", "hr_prompt", str),
    ("Hires negative prompt", "hr_negative_prompt", str),
)


def apply(request: dict[str, Any], given: set[str], text: str) -> None:
    """The request field ``infotext``: fill the fields that the client left out."""
    parameters = read(text)
    for key, name, kind in _REQUEST_FIELDS:
        if key in parameters and name in request and name not in given:
            request[name] = kind(parameters[key])
    if "Hires upscale" in parameters and "enable_hr" in request and "enable_hr" not in given:
        request["enable_hr"] = True
    if "override_settings" not in given:
        request["override_settings"] = {}
