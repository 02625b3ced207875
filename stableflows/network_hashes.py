"""The hashes of the LoRAs and embeddings of a job, without which nobody knows whether a file was replaced.

No list of a WebUI has them; answers do, which comes too late for a call that should not be made again. So
where the store has calls with the same names, a run asks once, before its first call, with a picture of 64x64
pixels and one step that names all of them.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from stableflows.entries import Entry
from stableflows.payload import TXT2IMG
from stableflows.run.files import as_json, write_whole
from stableflows.server_state import ServerState
from stableflows.silent_faults import positive_prompts, written_prompts
from stableflows.webui.client import WebUIClient
from stableflows.webui.errors import WebUIError
from stableflows.webui.infotext import parse_infotext
from stableflows.webui.models import WebUIRequest
from stableflows.webui.names import ServerNames
from stableflows.webui.prompts import LoraTag, lora_tags

__all__ = ["listed_networks", "network_hashes", "remember", "remembered"]

HASH_OPTIONS = ("lora_add_hashes_to_infotext", "textual_inversion_add_hashes_to_infotext")
LORA_HASH = 12
"""Characters of a LoRA's hash in an answer."""
SIDE = 64
"""Pixels: the smallest picture that all of them draw."""

Hashes = dict[tuple[str, str], str]


def listed_networks(names: ServerNames) -> Hashes:
    """The hashes of LoRAs whose trainer wrote one into the file, which the server takes as it stands."""
    return {
        ("lora", name): lora.model_hash[:LORA_HASH]
        for lora in names.loras
        if lora.model_hash
        for name in {lora.name, lora.alias}
    }


async def network_hashes(
    client: WebUIClient, entries: tuple[Entry, ...], server: ServerState, say: Callable[[str], None]
) -> Hashes:
    """The hash of each LoRA and embedding that the entries' prompts name, as far as the server reports it.

    Raises:
        WebUIError: the server went away.
    """
    loras = {
        tag.name: tag
        for entry in entries
        for _, text in positive_prompts(entry)
        for tag in lora_tags(text)
        if ("lora", tag.name) not in server.hashes
    }
    embeddings = sorted(
        {
            name
            for text in {text for entry in entries for text in _texts(entry)}
            for name in server.names.embeddings_in(text)
        }
    )
    if not loras and not embeddings:
        return {}
    try:
        return await _asked(client, loras, embeddings, server.options)
    except WebUIError as error:
        if error.retryable:
            raise
        say(
            "Warning: the server does not tell the hashes of LoRAs and embeddings, so that a replaced file "
            f"is not noticed: {error}"
        )
        return {}


def remember(root: Path, server_identity: str, hashes: Mapping[tuple[str, str], str]) -> None:
    """Keep what a server has said, for plans to come.

    Raises:
        OSError: it cannot be written.
    """
    networks = {f"{kind}:{name}": found for (kind, name), found in hashes.items() if kind != "checkpoint"}
    if networks:
        file = _file(root, server_identity)
        file.parent.mkdir(parents=True, exist_ok=True)
        known = {f"{kind}:{name}": found for (kind, name), found in remembered(root, server_identity).items()}
        write_whole(file, as_json({**known, **networks}))


def remembered(root: Path, server_identity: str) -> Hashes:
    """What a server has said at earlier runs. A file may have been replaced since: it serves an estimate, and
    never decides whether a call is made."""
    try:
        known = json.loads(_file(root, server_identity).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    pairs = known.items() if isinstance(known, dict) else ()
    return {(kind, name): str(found) for key, found in pairs for kind, _, name in [key.partition(":")]}


def _file(root: Path, server_identity: str) -> Path:
    return root / "store" / "networks" / f"{sha256(server_identity.encode()).hexdigest()[:16]}.json"


def _texts(entry: Entry) -> set[str]:
    return {entry.texts.prompt, entry.texts.negative_prompt, *(text for _, text in written_prompts(entry))}


async def _asked(
    client: WebUIClient, loras: Mapping[str, LoraTag], embeddings: list[str], options: Mapping[str, Any]
) -> Hashes:
    tags = [f"<lora:{name}:0>" for name in loras]  # with no weight it is found and hashed all the same
    # A prompt that was never encoded, for the server reports embeddings only of such.
    body: dict[str, Any] = {
        "prompt": ", ".join([f"stableflows {secrets.token_hex(4)}", *embeddings]) + "".join(tags),
        "width": SIDE,
        "height": SIDE,
        "steps": 1,
        "seed": 1,
        "batch_size": 1,
        "n_iter": 1,
        "save_images": False,
        "override_settings": {name: True for name in HASH_OPTIONS if options.get(name) is False},
        "override_settings_restore_afterwards": True,
    }
    reply = await client.call(WebUIRequest(TXT2IMG, body, 1, (SIDE, SIDE)), stage="preflight")
    found: Hashes = {}
    for text in map(parse_infotext, reply.infotexts):
        found |= {
            ("lora", name): text.lora_hashes[tag.hash_key]
            for name, tag in loras.items()
            if tag.hash_key in text.lora_hashes
        }
        folded = {name.casefold(): found_hash for name, found_hash in text.embedding_hashes.items()}
        found |= {
            ("embedding", name): folded[name.casefold()] for name in embeddings if name.casefold() in folded
        }
    return found
