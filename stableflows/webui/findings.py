"""What the rules of verification look at, and what they find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .capabilities import Capabilities, Family
from .errors import Disagreement
from .infotext import Infotext
from .models import ImageBytes, WebUIReply, WebUIRequest
from .names import ServerNames

__all__ = ["OF_AUTOMATIC1111", "Case", "Finding", "Unverified", "Warned", "reported_sampler"]

OF_AUTOMATIC1111 = (Family.A1111, Family.REFORGE, Family.FORGE)
"""The families that write AUTOMATIC1111's infotext, all of its keys."""


@dataclass(frozen=True, slots=True)
class Unverified:
    text: str


@dataclass(frozen=True, slots=True)
class Warned:
    text: str


Finding = Disagreement | Unverified | Warned


@dataclass(frozen=True)
class Case:
    """A request and its answer, as the rules look at them."""

    request: WebUIRequest
    reply: WebUIReply
    caps: Capabilities
    names: ServerNames
    images: tuple[ImageBytes, ...]
    texts: tuple[Infotext, ...]
    """The infotext of each of ``images``: its own, else the one that ``info`` lists for it."""

    @property
    def body(self) -> Mapping[str, Any]:
        return self.request.body

    @property
    def overrides(self) -> Mapping[str, Any]:
        return self.body.get("override_settings") or {}

    @property
    def params(self) -> Mapping[str, str]:
        return self.texts[0].params if self.texts else {}

    @property
    def skips_base_pass(self) -> bool:
        """ADetailer was told to skip img2img: what is reported is its stand-in of 1 step Euler at 128x128."""
        scripts = self.body.get("alwayson_scripts") or {}
        for title, script in scripts.items():
            args = script.get("args") if isinstance(script, Mapping) else None
            if title.casefold() == "adetailer" and isinstance(args, list) and args[:2] == [True, True]:
                return True
        return False

    def option(self, key: str) -> Any:
        """An option as it was for this call."""
        return self.overrides.get(key, self.names.options.get(key))


def reported_sampler(case: Case) -> str | None:
    return case.params.get("Sampler") or (case.reply.info.sampler_name if case.reply.info else None)
