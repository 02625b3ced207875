"""The identity of a call: what decides its pixels, and nothing else.

SHA-256 over the stage type, the request without transport fields, each image and each model by its hash,
the backend family, the server options that change pixels, and a format version. No paths, times or names
of packs. A model of which the server reports no hash is named by its name and the server.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stableflows.payload import StageRequest

__all__ = ["KEY_VERSION", "KeyContext", "call_key", "models_in"]

KEY_VERSION = 1

TRANSPORT = frozenset(
    {
        "force_task_id",
        "send_images",
        "save_images",
        "do_not_save_samples",
        "do_not_save_grid",
        "override_settings_restore_afterwards",
        "show_extras_results",
    }
)
"""Fields that carry an answer rather than decide it."""

MODEL_FIELDS = {
    "sd_model_checkpoint": "checkpoint",
    "refiner_checkpoint": "checkpoint",
    "hr_checkpoint_name": "checkpoint",
    "ad_checkpoint": "checkpoint",
    "sd_vae": "vae",
    "ad_vae": "vae",
}


@dataclass(frozen=True)
class KeyContext:
    """What stands in no request and changes pixels all the same.

    Attributes:
        server: its identity, for models without a hash.
        family: `a1111`, `forge`, ...
        options: the server options that change pixels.
        hashes: (kind, name) of a model -> its hash, as the server reports it now.
    """

    server: str
    family: str
    options: Mapping[str, Any] = field(default_factory=dict)
    hashes: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def identity(self, kind: str, name: str) -> str:
        known = self.hashes.get((kind, name))
        return f"{kind}:{known}" if known else f"{kind}:{name}@{self.server}"


def call_key(request: StageRequest, context: KeyContext, networks: Collection[tuple[str, str]] = ()) -> str:
    """The key of a call.

    Args:
        request: with images as references to their content, never as base64 or paths.
        networks: (kind, name) of the LoRAs and embeddings that its prompts name.
    """
    used = {f"{kind}:{name}": context.identity(kind, name) for kind, name in networks}
    identity = {
        "version": KEY_VERSION,
        "stage": request.stage_type.value,
        "path": request.path,
        "request": _canonical(request.body, context),
        "networks": used,
        "family": context.family,
        "options": dict(context.options),
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def models_in(value: Any, field_name: str = "") -> Iterator[tuple[str, str]]:
    """(kind, name) of every model that a request's fields name."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from models_in(one, key)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from models_in(one)
    elif isinstance(value, str) and field_name in MODEL_FIELDS and value not in ("None", "Automatic"):
        yield MODEL_FIELDS[field_name], value


def _canonical(value: Any, context: KeyContext, field_name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {key: _canonical(one, context, key) for key, one in value.items() if key not in TRANSPORT}
    if isinstance(value, list | tuple):
        return [_canonical(one, context) for one in value]
    if isinstance(value, str) and field_name in MODEL_FIELDS and value not in ("None", "Automatic"):
        return context.identity(MODEL_FIELDS[field_name], value)
    # 2 and 2.0 are one number in JSON's eyes, and in the server's.
    return int(value) if isinstance(value, float) and value.is_integer() else value
