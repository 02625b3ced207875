"""A checkpoint that fails to load, and the server that it breaks.

AUTOMATIC1111 answers a failed load with 500 and is broken afterwards: new prompts fail, or lose emphasis and
embeddings without a word, on the model that it still names too. Neither reload-checkpoint nor unloading
helps; loading another checkpoint does (observed on v1.10.1). So another one is loaded, once, and every
further call that names the same models fails at once instead of breaking the server again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stableflows.errors import ServerError
from stableflows.server_state import ServerState
from stableflows.webui.client import WebUIClient
from stableflows.webui.errors import CheckpointLoadFailed

__all__ = ["BrokenModels"]

Models = tuple[tuple[str, str], ...]


class BrokenModels:
    """Remembers what could not be loaded, and heals the server afterwards."""

    def __init__(self) -> None:
        self._failed: dict[Models, CheckpointLoadFailed] = {}

    def refuse(self, body: Mapping[str, Any]) -> None:
        """Raises: CheckpointLoadFailed: the models that `body` names could not be loaded before."""
        known = self._failed.get(_models(body))
        if known is not None:
            raise known

    async def heal(
        self, body: Mapping[str, Any], error: CheckpointLoadFailed, client: WebUIClient, server: ServerState
    ) -> None:
        """Load another checkpoint than those of `body`; the next call then loads its own anew.

        Raises:
            ServerError: no other checkpoint could be loaded either.
        """
        models = _models(body)
        self._failed[models] = error
        named = {name for _, name in models}
        loaded = (await client.options()).get("sd_model_checkpoint")
        others = [
            checkpoint.title
            for checkpoint in server.names.checkpoints
            if not named & {checkpoint.title, checkpoint.model_name, checkpoint.filename_only}
        ]
        # That of the options is the one that is named and broken: loading it "again" does nothing.
        others.sort(key=lambda title: title == loaded)
        last: ServerError = error
        for title in others[:2]:
            try:
                await server.changes.set(client, {"sd_model_checkpoint": title})
            except ServerError as failed:
                last = failed
            else:
                return
        if others:
            raise last


def _models(body: Mapping[str, Any]) -> Models:
    overrides = body.get("override_settings") or {}
    found = {
        "sd_model_checkpoint": overrides.get("sd_model_checkpoint"),
        "sd_vae": overrides.get("sd_vae"),
        "refiner_checkpoint": body.get("refiner_checkpoint"),
        "hr_checkpoint_name": body.get("hr_checkpoint_name"),
    }
    return tuple((field, str(name)) for field, name in found.items() if name)
