"""The request and the key of each call: what is asked of the server, and what makes two askings the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from stableflows.calls import FirstSeeds, StageCall, next_request
from stableflows.config import ExtrasUpscale
from stableflows.config.base import Strict
from stableflows.entries import Entry
from stableflows.inputs import REFERENCE
from stableflows.keys import call_key
from stableflows.payload import SourceImage, StageRequest
from stableflows.results import ImageRecord
from stableflows.server_state import ServerState, prompts_of
from stableflows.settling import as_listed
from stableflows.stages import StageExecutionPlan
from stableflows.store import StoredImage
from stableflows.webui.prompts import lora_tags

__all__ = ["CallIdentity"]

TILE_OPTIONS = ("ESRGAN_tile", "DAT_tile")


class CallIdentity:
    """Knows the calls of one run at one server.

    Attributes:
        server: as it was when the run started, and what its answers have told since.
    """

    def __init__(self, entries: tuple[Entry, ...], server: ServerState) -> None:
        """Args: entries: settled, so that nothing in them is left open."""
        self.entries = entries
        self.server = server
        # A job's negative prompt stands in each request, and a server may have hundreds of embeddings.
        self._named = lru_cache(maxsize=1024)(self._named_in)

    def request(self, call: StageCall, before: ImageRecord | StoredImage | None) -> StageRequest:
        """The call's request, with images as references to their content.

        Args:
            before: the image that it continues.
        """
        entry = self.entries[call.entry]
        source = None
        if before is not None:
            source = SourceImage(REFERENCE + before.sha256, (before.width, before.height), before.seed)
        elif call.input is not None:
            image = entry.inputs[call.input]
            source = SourceImage(image.reference, (image.width, image.height))
        first = FirstSeeds()
        if call.stage == 0:
            first = FirstSeeds(
                entry.seed.value if entry.seed else None, entry.subseed.value if entry.subseed else None
            )
        request = next_request(
            entry.plan.stages[call.stage],
            entry.texts,
            first=first,
            source=source,
            variant=call.index % entry.count,
            n=call.n,
        )
        return as_listed(request, self.server.names)

    def config(self, call: StageCall) -> Strict:
        """The settings of the call's stage."""
        return self.entries[call.entry].plan.stages[call.stage].config

    def change(self, call: StageCall, config: Strict) -> None:
        """Give the stage of the call's entry other settings, from now on."""
        entry = self.entries[call.entry]
        stages = list(entry.plan.stages)
        stages[call.stage] = stages[call.stage].model_copy(update={"config": config})
        changed = replace(entry, plan=StageExecutionPlan(stages=tuple(stages)))
        self.entries = (*self.entries[: call.entry], changed, *self.entries[call.entry + 1 :])

    def key(self, call: StageCall, request: StageRequest) -> str:
        """The call's key, by the hashes that the server has reported so far."""
        context = self.server.key_context
        if tile := self.tile(call):
            context = replace(context, options={**context.options, **tile})
        return call_key(request, context, self._networks(request.body))

    def name_key(self, call: StageCall, request: StageRequest) -> str | None:
        """The key of a call if its LoRAs and embeddings had no hashes; None for one that names none."""
        networks = self._networks(request.body)
        if not networks:
            return None
        context = self.server.key_context
        hashes = {model: found for model, found in context.hashes.items() if model[0] == "checkpoint"}
        return call_key(request, replace(context, hashes=hashes), networks)

    def lacks_hashes(self, request: StageRequest) -> bool:
        """Whether it names LoRAs or embeddings of which the server has not told the hash yet."""
        return any(network not in self.server.hashes for network in self._networks(request.body))

    def tile(self, call: StageCall) -> dict[str, int]:
        """The server options that an extras call needs set beside its request."""
        config = self.config(call)
        if not isinstance(config, ExtrasUpscale) or config.tile_size is None:
            return {}
        return {name: config.tile_size for name in TILE_OPTIONS if name in self.server.options}

    def _networks(self, body: Mapping[str, Any]) -> set[tuple[str, str]]:
        """The LoRAs and embeddings that a request's prompts name."""
        return {model for text in prompts_of(body) if text for model in self._named(text)}

    def _named_in(self, text: str) -> frozenset[tuple[str, str]]:
        loras = {("lora", tag.name) for tag in lora_tags(text)}
        return frozenset(loras | {("embedding", name) for name in self.server.names.embeddings_in(text)})
