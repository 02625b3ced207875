"""One stage call, from the image that it continues to verified images on disk. Every run comes here."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from stableflows.calls import FirstSeeds, StageCall, next_request
from stableflows.config import ExtrasUpscale
from stableflows.dialects import Spoken, in_dialect
from stableflows.entries import Entry
from stableflows.errors import StableflowsError
from stableflows.healing import BrokenModels
from stableflows.inputs import REFERENCE, InputImages, with_images
from stableflows.keys import call_key
from stableflows.payload import EXTRAS, SourceImage, StageRequest
from stableflows.results import ImageRecord, StageOutput
from stableflows.run.folder import RunFolder
from stableflows.server_state import MANAGED, ServerState
from stableflows.webui.capabilities import Family
from stableflows.webui.client import WebUIClient
from stableflows.webui.errors import CallSite, CheckpointLoadFailed, Disagreement, Mismatch
from stableflows.webui.models import WebUIReply, WebUIRequest
from stableflows.webui.verify import Verdict, verify
from stableflows.webui.watch import CallState

__all__ = ["StageRunner"]

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}
TILE_OPTIONS = ("ESRGAN_tile", "DAT_tile")


class StageRunner:
    """What a call needs beside itself; one for a whole run.

    A plain class: Prefect walks through dataclasses and models that are passed to a task.

    Attributes:
        attempts: how often each call was tried, by its id.
    """

    def __init__(
        self,
        *,
        client: WebUIClient,
        server: ServerState,
        entries: tuple[Entry, ...],
        images: InputImages,
        folder: RunFolder,
        cancel: asyncio.Event,
        on_state: Callable[[str, CallState], None],
    ) -> None:
        """
        Args:
            entries: settled, so that nothing in them is left open.
            images: inputs and masks, by their content.
            cancel: once set, the call under way is interrupted at the server.
            on_state: told where a call is, by its id.
        """
        self.client = client
        self.server = server
        self.entries = entries
        self.images = images
        self.folder = folder
        self.cancel = cancel
        self.on_state = on_state
        self.attempts: dict[str, int] = {}
        # Where options of the server belong to a call, no other call may come between.
        sdnext = server.capabilities.family is Family.SDNEXT
        self.turn = asyncio.Lock() if sdnext else nullcontext()
        self.broken = BrokenModels(server.options.get("sd_model_checkpoint"))

    async def run(self, call: StageCall, before: ImageRecord | None) -> StageOutput:
        """Send one call, verify its answer, and put its images on disk.

        Raises:
            WebUIError: what the server did instead; `Mismatch` if it did something else than was asked.
            OSError: the disk is full or gone.
        """
        started = time.monotonic()
        request = self.request(call, before)
        self.broken.refuse(request.body)
        body = with_images(request.body, lambda sha256: self._load(sha256, before))
        spoken = in_dialect(
            WebUIRequest(request.path, body, request.n_images, request.size),
            self.server.capabilities.family,
            self.server.names,
        )
        sent = self._restated(spoken)
        async with self.turn:
            await self._set_options(call, spoken)
            await self._check_loaded(call, spoken)
            reply = await self._send(call, sent)
        verdict = verify(sent, reply, self.server.capabilities, self.server.names)
        verdict.raise_for_mismatch(
            CallSite(self.client.config.base_url, "POST", sent.path, str(call.stage_type), sent.summary)
        )
        # Encoding, hashing and syncing must not hold up the next request.
        images = await asyncio.to_thread(self._save, call, sent, reply, verdict, before)
        return StageOutput(
            stage_type=call.stage_type,
            images=images,
            key=self.key(call, request, reply),
            duration=round(time.monotonic() - started, 3),
            unverified=tuple(verdict.unverified),
            warnings=tuple(verdict.warnings),
            reported=_reported(reply, verdict),
        )

    async def _check_loaded(self, call: StageCall, spoken: Spoken) -> None:
        """SD.Next takes an option also if its file cannot be loaded, and its detailer does not say what it
        worked with.

        Raises:
            Mismatch: another checkpoint is loaded.
        """
        asked = spoken.options.get("sd_model_checkpoint")
        known = self.server.names.checkpoint(asked) if asked else None
        if known is None:
            return
        loaded = await self.client.loaded_checkpoint()
        if loaded != known.model_name:
            why = "the server could not load what its option names; its log says why"
            site = CallSite(self.client.config.base_url, "POST", spoken.request.path, str(call.stage_type))
            raise Mismatch(site, (Disagreement("checkpoint", str(asked), loaded or "none", why),))

    async def _send(self, call: StageCall, sent: WebUIRequest) -> WebUIReply:
        try:
            reply = await self.client.call(
                sent,
                stage=str(call.stage_type),
                cancel=self.cancel,
                on_state=lambda state: self.on_state(call.call_id, state),
            )
        except CheckpointLoadFailed as error:
            await self.broken.heal(sent.body, error, self.client, self.server)
            raise
        self.broken.rendered(sent.body)
        return reply

    def request(self, call: StageCall, before: ImageRecord | None) -> StageRequest:
        """The call's request, with images as references to their content."""
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
        return next_request(
            entry.plan.stages[call.stage],
            entry.texts,
            first=first,
            source=source,
            variant=call.index % entry.count,
            n=call.n,
        )

    def key(self, call: StageCall, request: StageRequest, reply: WebUIReply | None = None) -> str:
        """The call's identity; with its answer, under the hashes that the answer reports."""
        context = self.server.key_context
        if tile := self._tile(call):
            context = replace(context, options={**context.options, **tile})
        networks = self.server.networks(request.body, reply)
        return call_key(request, self.server.with_reported(context, request, reply), networks)

    def _load(self, sha256: str, before: ImageRecord | None) -> str:
        if before is None or before.sha256 != sha256:
            return self.images.base64(sha256)
        data = (self.folder.root / before.path).read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise StableflowsError(f"{before.path} was changed since it was rendered; it is not continued.")
        return base64.b64encode(data).decode()

    def _tile(self, call: StageCall) -> dict[str, int]:
        config = self.entries[call.entry].plan.stages[call.stage].config
        if not isinstance(config, ExtrasUpscale) or config.tile_size is None:
            return {}
        return {name: config.tile_size for name in TILE_OPTIONS if name in self.server.options}

    def _restated(self, spoken: Spoken) -> WebUIRequest:
        """The request with every option that another call of the run changes and this one does not, as the
        server had it: a WebUI keeps an override for all requests that follow. No part of the call's identity,
        where the server's options stand as they were."""
        request = spoken.request
        if request.path == EXTRAS:
            return request
        originals = {
            name: value for name, value in self.server.changes.originals.items() if name not in spoken.options
        }
        overrides = {**originals, **request.body.get("override_settings", {})}
        body = {**request.body, "override_settings": overrides} if overrides else request.body
        return replace(request, body=body)

    async def _set_options(self, call: StageCall, spoken: Spoken) -> None:
        """What a request cannot say is an option of the server (the tile size of extras, for one). All that a
        run sets or overrides is put back at its end."""
        changes = self.server.changes
        changes.will_change(set(spoken.request.body.get("override_settings") or ()))
        options = {**self._tile(call), **spoken.options}
        if spoken.request.path == EXTRAS:  # which take no overrides: what other calls left is put back here
            left = {name: value for name, value in changes.originals.items() if name not in MANAGED.values()}
            options = {**left, **options}
        if options:
            await changes.set(self.client, options)

    def _save(
        self,
        call: StageCall,
        sent: WebUIRequest,
        reply: WebUIReply,
        verdict: Verdict,
        before: ImageRecord | None,
    ) -> tuple[ImageRecord, ...]:
        entry = self.entries[call.entry]
        total = entry.count * max(1, len(entry.inputs))
        first = reply.first_wanted(sent)
        records = []
        for place in range(call.n):
            image = reply.images[first + place]
            seed = verdict.seeds[place] if place < len(verdict.seeds) else None
            if seed is None and before is not None:  # extras report none: it is still the same image's
                seed = before.seed
            path = self.folder.save_image(
                image.data,
                final=call.stage == len(entry.plan) - 1,
                entry=call.entry,
                stage=call.stage_type,
                index=call.index + place,
                n=total,
                seed=seed,
                prompt=entry.title,
                suffix=SUFFIXES[image.format],
            )
            records.append(
                ImageRecord(
                    path=self.folder.relative(path),
                    sha256=hashlib.sha256(image.data).hexdigest(),
                    width=image.width,
                    height=image.height,
                    seed=seed,
                    infotext=image.infotext or "",
                )
            )
        return tuple(records)


def _reported(reply: WebUIReply, verdict: Verdict) -> dict[str, Any]:
    """What the server says it did, for the manifest."""
    if reply.info is None:
        return {"html_info": reply.html_info} if reply.html_info else {}
    return {
        "sampler": verdict.sampler,
        "scheduler": verdict.scheduler,
        "checkpoint": verdict.checkpoint,
        "checkpoint_hash": verdict.checkpoint_hash,
        "vae": verdict.vae,
        "version": reply.info.version,
    }
