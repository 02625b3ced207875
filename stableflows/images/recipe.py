"""How a picture was made, in the words of our own configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stableflows.prompts.model import Drawing

__all__ = ["AS_IT_STANDS", "Recipe", "Unreadable"]

AS_IT_STANDS = Drawing(mode="off")
"""A prompt found in an image is final, also where it looks like a variant or a wildcard."""


class Unreadable(ValueError):  # noqa: N818 (of metadata: it names what is wrong, and becomes an InputError)
    """A value in the metadata is none that it can be."""


@dataclass(frozen=True)
class Recipe:
    """What a picture's metadata says.

    Attributes:
        prompt: final, nothing in it is to be resolved; "" if the metadata holds none.
        config: nested pipeline config with which the picture is made again; without `enabled`.
        seed: of this picture; also in `config`.
        left_out: keys that nobody here knows; their effect is missing from `config`.
        obstacles: why the picture cannot be made again from its metadata alone, if so.
        program: who made it.
        foreign: it is no WebUI's, which makes another picture of the same settings.
    """

    prompt: str
    negative_prompt: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    left_out: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()
    program: str = ""
    foreign: bool = False

    @property
    def txt2img(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.config.get("txt2img", {})
        return found
