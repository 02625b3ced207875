"""What stands in a prompt besides words: the tags that a WebUI takes out of it.

Facts of AUTOMATIC1111 v1.10.1: a tag is ``<kind:name:...>``, without a blank before the kind, which is lower
case; a tag of an unknown kind is removed without a word. Only the positive prompt is read for tags.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["LoraTag", "lora_tags", "stray_tags"]

_TAG = re.compile(r"<(\w+):([^>]+)>")
_LORA_KINDS = ("lora", "lyco")
_KNOWN_KINDS = (*_LORA_KINDS, "hypernet")
_WEIGHTS = 2
"""Text encoder and UNet; a third number is the rank of a dynamic one."""


@dataclass(frozen=True, slots=True)
class LoraTag:
    """A ``<lora:name:weight>``. ``name`` is exactly what the server looks up: case and blanks count."""

    name: str
    weight_text: str = ""

    @property
    def hash_key(self) -> str:
        """The name as the infotext's "Lora hashes" spells it."""
        return self.name.replace(":", "").replace(",", "")

    @property
    def weight_is_readable(self) -> bool:
        """If not, the server drops *all* LoRAs of the request without a word."""
        positional = [part for part in self.weight_text.split(":") if part and "=" not in part]
        named = [part.partition("=") for part in self.weight_text.split(":") if "=" in part]
        numbers = positional[:_WEIGHTS] + [value for key, _, value in named if key in ("te", "unet")]
        return all(map(_is_number, numbers))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def lora_tags(prompt: str) -> list[LoraTag]:
    """The LoRA tags of a positive prompt, in order, as the server reads them (``lyco`` is the same)."""
    return [LoraTag(*_split(content)) for kind, content in _TAG.findall(prompt) if kind in _LORA_KINDS]


def _split(content: str) -> tuple[str, str]:
    name, _, weights = content.partition(":")
    return name, weights


def stray_tags(prompt: str) -> list[str]:
    """Tags of a kind that the server does not know (``<embedding:...>``, ``<LORA:...>``): it removes them
    silently.
    """
    return [found[0] for found in _TAG.finditer(prompt) if found[1] not in _KNOWN_KINDS]
