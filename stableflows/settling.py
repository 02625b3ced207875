"""What a job leaves open, filled in from a server's options, and what it names otherwise than the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stableflows.entries import Entry
from stableflows.keys import MODEL_FIELDS
from stableflows.payload import StageRequest
from stableflows.stages import StageExecution, StageExecutionPlan

if TYPE_CHECKING:
    from stableflows.webui.names import ServerNames

__all__ = ["MANAGED", "as_listed", "settle"]

MANAGED = {"checkpoint": "sd_model_checkpoint", "vae": "sd_vae", "clip_skip": "CLIP_stop_at_last_layers"}
"""Config fields that a job may leave open, and the server options that then decide."""


def settle(entries: tuple[Entry, ...], options: Mapping[str, Any]) -> tuple[Entry, ...]:
    """The entries with the checkpoint, VAE and clip skip that they leave open filled in from the server's
    options, as far as it has them: what one job leaves behind must not decide how the next one looks."""
    return tuple(
        replace(
            entry, plan=StageExecutionPlan(stages=tuple(_settled(stage, options) for stage in entry.plan))
        )
        for entry in entries
    )


def _settled(stage: StageExecution, options: Mapping[str, Any]) -> StageExecution:
    config = stage.generation
    if config is None:
        return stage
    known = {
        name: options[option]
        for name, option in MANAGED.items()
        if getattr(config, name) is None and options.get(option)
    }
    return stage.model_copy(update={"config": config.model_copy(update=known)}) if known else stage


def as_listed(request: StageRequest, names: ServerNames) -> StageRequest:
    """The request with each checkpoint that is named by its content (`name [hash]`) under the server's own
    name for it, so that its key is that of the same request in the server's words."""

    def listed(value: Any, field: str = "") -> Any:
        if isinstance(value, Mapping):
            return {key: listed(one, key) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [listed(one) for one in value]
        if isinstance(value, str) and MODEL_FIELDS.get(field) == "checkpoint":
            return names.own_checkpoint(value)
        return value

    return replace(request, body=listed(request.body))
