"""A checkpoint that fails to load, and the server that it breaks.

AUTOMATIC1111 answers a failed load with 500 and is broken afterwards: new prompts fail, or lose emphasis and
embeddings without a word, on the model that it still names too. Neither reload-checkpoint nor unloading
helps; loading another checkpoint does (observed on v1.10.1). So another one is loaded, once, and every
further call that names the same models fails at once instead of breaking the server again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stableflows.server_state import ServerState
from stableflows.webui.client import WebUIClient
from stableflows.webui.errors import CheckpointLoadFailed
from stableflows.webui.names import checkpoint_names

__all__ = ["BrokenModels"]

Models = tuple[tuple[str, str], ...]


class BrokenModels:
    """Remembers what could not be loaded, and heals the server afterwards."""

    def __init__(self, loaded: str | None) -> None:
        """Args: loaded: the checkpoint that the server has loaded, by any of its names."""
        self._loaded = loaded
        self._failed: dict[Models, CheckpointLoadFailed] = {}
        self.failures = 0
        """How often a load has failed; what was under way meanwhile cannot be trusted."""

    def refuse(self, body: Mapping[str, Any]) -> None:
        """Raises: CheckpointLoadFailed: the models that `body` names could not be loaded before."""
        known = self._failed.get(_models(body))
        if known is not None:
            raise known

    def rendered(self, body: Mapping[str, Any]) -> None:
        """A call was answered: its checkpoint is the one that is loaded now."""
        overrides = body.get("override_settings") or {}
        self._loaded = overrides.get("sd_model_checkpoint") or self._loaded

    async def heal(
        self, body: Mapping[str, Any], error: CheckpointLoadFailed, client: WebUIClient, server: ServerState
    ) -> None:
        """Load a checkpoint that is neither the broken one nor the one that is still named: loading that
        "again" does nothing. The next call then loads its own anew.

        Raises:
            ServerError: there is no other, or it could not be loaded either.
        """
        models = _models(body)
        self._failed[models] = error
        self.failures += 1
        unfit = {name for _, name in models} | {self._loaded}
        for other in server.names.checkpoints:
            if unfit & set(checkpoint_names(other)):
                continue
            await server.changes.set(client, {"sd_model_checkpoint": other.title})
            # A file that cannot be read is answered with 200 here, and the option stays as it was.
            if server.names.checkpoint(str((await client.options())["sd_model_checkpoint"])) == other:
                self._loaded = other.title
                return
        raise error


def _models(body: Mapping[str, Any]) -> Models:
    overrides = body.get("override_settings") or {}
    found = {
        "sd_model_checkpoint": overrides.get("sd_model_checkpoint"),
        "sd_vae": overrides.get("sd_vae"),
        "refiner_checkpoint": body.get("refiner_checkpoint"),
        "hr_checkpoint_name": body.get("hr_checkpoint_name"),
    }
    return tuple((field, str(name)) for field, name in found.items() if name)
