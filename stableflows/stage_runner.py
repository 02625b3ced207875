"""One stage call, from the image that it continues to verified images on disk. Every run comes here.

look into the store ──hit──> link its images into the run's folder
        │ miss
request ──> in the server's dialect ──door──> send ──> verify ──> store ──> link
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from stableflows.calls import StageCall
from stableflows.comings_back import ComingsBack
from stableflows.dialects import Spoken, in_dialect
from stableflows.door import Door, Turn
from stableflows.errors import StableflowsError
from stableflows.failpoints import failpoint
from stableflows.healing import BrokenModels
from stableflows.identity import CallIdentity
from stableflows.inputs import InputImages, with_images
from stableflows.naming import own_name
from stableflows.payload import EXTRAS, StageRequest
from stableflows.results import ImageRecord, StageOutput
from stableflows.run.folder import RunFolder
from stableflows.server_state import ServerState
from stableflows.settling import MANAGED
from stableflows.smaller import one_after_the_other, said_of_tiles, singly, with_smaller_tiles
from stableflows.store import Damage, Store, StoreRecord
from stableflows.timekeeping import Timekeeper
from stableflows.waiting import unless_cancelled
from stableflows.webui.capabilities import Family
from stableflows.webui.client import WebUIClient
from stableflows.webui.errors import (
    CallFailed,
    CallSite,
    CheckpointLoadFailed,
    Disagreement,
    Mismatch,
    OutOfMemory,
    Unreachable,
    WebUIError,
)
from stableflows.webui.models import WebUIReply, WebUIRequest
from stableflows.webui.verify import Verdict, verify
from stableflows.webui.watch import CallState

__all__ = ["StageRunner"]

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}


class StageRunner:
    """What a call needs beside itself; one for a whole run.

    A plain class: Prefect walks through dataclasses and models that are passed to a task.

    Attributes:
        attempts: how often each call was tried, by its id.
        identity: the request and the key of each call.
    """

    def __init__(
        self,
        *,
        client: WebUIClient,
        identity: CallIdentity,
        images: InputImages,
        folder: RunFolder,
        store: Store,
        cancel: asyncio.Event,
        stop: asyncio.Event,
        on_state: Callable[[str, CallState], None],
        time: Timekeeper,
        depth: int = 2,
        fresh: bool = False,
        smaller: bool = False,
    ) -> None:
        """
        Args:
            identity: of the calls of settled entries, so that nothing in them is left open.
            images: inputs and masks, by their content.
            cancel: once set, the calls under way are interrupted at the server.
            stop: once set, those at the server end in peace, and nothing further is sent.
            on_state: told where a call is, by its id.
            time: of the run.
            depth: calls at the server at most.
            fresh: do not take from the store what this run did not make itself.
            smaller: try what the server has no memory for once more, smaller.
        """
        self.client = client
        self.identity = identity
        self.images = images
        self.folder = folder
        self.store = store
        self.cancel = cancel
        self.stop = stop
        self.on_state = on_state
        self.fresh = fresh
        self.smaller = smaller
        self.attempts: dict[str, int] = {}
        self.door = Door(depth)
        self.came_back = ComingsBack()
        self.broken = BrokenModels(identity.server.options.get("sd_model_checkpoint"))
        self._made: set[str] = set()
        self.time = time

    @property
    def server(self) -> ServerState:
        """As it was when the run started, and what its answers have told since."""
        return self.identity.server

    def let_go(self) -> None:
        """No further call comes: drop the entries. Timers of the last requests keep the tasks' contexts, and
        these this runner."""
        self.identity.entries = ()
        del self.time

    async def run(self, call: StageCall, before: ImageRecord | None) -> StageOutput:
        """Take a call from the store, or send it, verify the answer and put its images on disk.

        Raises:
            WebUIError: what the server did instead; `Mismatch` if it did something else than was asked.
            WaitCancelled: the run was cancelled or stopped while the call waited for its turn.
            OSError: the disk is full or gone.
        """
        try:
            return await self._run(call, before)
        except OutOfMemory:
            if not self.smaller:
                raise
            if call.n > 1:
                return one_after_the_other([await self._run(one, before) for one in singly(call)])
            config = with_smaller_tiles(self.identity.config(call), self.server.options)
            if config is None:
                raise
            self.identity.change(call, config)
            output = await self._run(call, before)
            return output.model_copy(update={"warnings": (*output.warnings, said_of_tiles(config))})

    async def _run(self, call: StageCall, before: ImageRecord | None) -> StageOutput:
        request = self.identity.request(call, before)
        key = self.identity.key(call, request)
        try:
            async with AsyncExitStack() as stack:
                if self.store.is_making(key):
                    self.door.step_out(call.call_id)  # its turn is for who can use it
                await unless_cancelled(stack.enter_async_context(self.store.making(key)), self.cancel)
                key = self.identity.key(call, request)  # an answer may have told a hash meanwhile
                stored = await asyncio.to_thread(self._stored, call, key)
                if isinstance(stored, StageOutput):
                    return stored
                return await self._make(call, request, before, damage=stored)
        finally:
            self.door.step_out(call.call_id)

    def _stored(self, call: StageCall, key: str) -> StageOutput | Damage | None:
        if self.fresh and key not in self._made:
            return None
        found = self.store.find(key)
        if not isinstance(found, StoreRecord):
            return found
        self.store.used(key)
        images = tuple(
            ImageRecord(
                path=self._placed(call, place, self.store.image_file(image.sha256, image.suffix), image.seed),
                sha256=image.sha256,
                width=image.width,
                height=image.height,
                seed=image.seed,
                infotext=image.infotext,
            )
            for place, image in enumerate(found.images[: call.n])
        )
        return StageOutput(
            stage_type=call.stage_type,
            images=images,
            key=key,
            duration=found.duration,
            cached=True,
            unverified=found.unverified,
            warnings=found.warnings,
            reported=found.reported,
        )

    async def _make(
        self, call: StageCall, request: StageRequest, before: ImageRecord | None, damage: Damage | None
    ) -> StageOutput:
        self.broken.refuse(request.body)
        body = await asyncio.to_thread(with_images, request.body, lambda sha: self._load(sha, before))
        spoken = in_dialect(
            WebUIRequest(request.path, body, request.n_images, request.size),
            self.server.capabilities.family,
            self.server.names,
        )
        async with self.door.turn(call.call_id, self.cancel, self.stop) as turn:
            sent, reply = await self._exchange(call, spoken, turn)
            seconds = self.time.answered(call)
            failpoint("after-answer")
            verdict = verify(sent, reply, self.server.capabilities, self.server.names)
            verdict.raise_for_mismatch(self._site(call, sent))
            self.identity.server = self.server.learned(request, reply)
            key = self.identity.key(call, request)
            # Hashing and syncing must not hold up the other calls.
            images = await asyncio.to_thread(self._save, call, sent, reply, verdict, before)
            again = (f"made again: {damage.reason}",) if damage else ()
            output = StageOutput(
                stage_type=call.stage_type,
                images=images,
                key=key,
                duration=round(seconds, 3),
                unverified=tuple(verdict.unverified),
                warnings=(*verdict.warnings, *again),
                reported=_reported(reply, verdict),
            )
            name_key = self.identity.name_key(call, request)
            await asyncio.to_thread(self.store.put, key, output, name_key)
            self._made.add(key)
            return output

    async def _exchange(self, call: StageCall, spoken: Spoken, turn: Turn) -> tuple[WebUIRequest, WebUIReply]:
        """Set the options that the call needs, and send it: once more, if a checkpoint failed to load
        meanwhile, for that spoils what the server renders until it is healed."""
        while True:
            self.broken.refuse(spoken.request.body)
            await self.look_again()
            self.came_back.refuse(self.identity.entries[call.entry], spoken.request.body, self.server)
            sent = self._restated(spoken)
            await self._set_options(call, spoken, turn)
            await self._check_loaded(call, spoken)
            failures = self.broken.failures
            try:
                reply = await self._send(call, sent, turn)
            except CheckpointLoadFailed:
                raise
            except CallFailed:
                if self.broken.failures == failures:
                    raise
            else:
                if self.broken.failures == failures:
                    return sent, reply

    async def look_again(self) -> None:
        """If the server was away, read anew what it has.

        Raises:
            WebUIError: it is not back yet, or went away again.
        """
        if not self.came_back.away:
            return
        await self.client.wait_ready(0)
        self.identity.server = await self.came_back.read(self.client, self.server)

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

    async def _send(self, call: StageCall, sent: WebUIRequest, turn: Turn) -> WebUIReply:
        running = False

        def seen(state: CallState) -> None:
            nonlocal running
            running = state.phase.running
            if state.phase.at_server:
                turn.seen()
            self.on_state(call.call_id, state)

        changes = self.server.changes
        self.time.sent(call)
        changes.now_set(sent.body.get("override_settings") or {})
        try:
            reply = await self.client.call(
                sent, stage=str(call.stage_type), cancel=self.cancel, on_state=seen
            )
        except CheckpointLoadFailed as error:
            await self.broken.heal(sent.body, error, self.client, self.server)
            raise
        except WebUIError as error:
            changes.unsure()
            if isinstance(error, Unreachable):
                self.came_back.lost(call, error, running=running)
            raise
        turn.seen()
        self.broken.rendered(sent.body)
        return reply

    def _load(self, sha256: str, before: ImageRecord | None) -> str:
        if before is None or before.sha256 != sha256:
            return self.images.base64(sha256)
        data = (self.folder.root / before.path).read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise StableflowsError(f"{before.path} was changed since it was rendered; it is not continued.")
        return base64.b64encode(data).decode()

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

    async def _set_options(self, call: StageCall, spoken: Spoken, turn: Turn) -> None:
        """What a request cannot say is an option of the server (the tile size of extras, for one). All that a
        run sets or overrides is put back at its end."""
        changes = self.server.changes
        changes.will_change(set(spoken.request.body.get("override_settings") or ()))
        options = {**self.identity.tile(call), **spoken.options}
        if spoken.request.path == EXTRAS:  # which take no overrides: what other calls left is put back here
            left = {name: value for name, value in changes.originals.items() if name not in MANAGED.values()}
            options = {**left, **options}
        differing = changes.differing(options)
        # SD.Next's options belong to the call: no other may come between.
        sdnext = self.server.capabilities.family is Family.SDNEXT
        if differing or sdnext:
            await turn.alone(until_done=sdnext)
        if differing:
            await changes.set(self.client, differing)

    def _save(
        self,
        call: StageCall,
        sent: WebUIRequest,
        reply: WebUIReply,
        verdict: Verdict,
        before: ImageRecord | None,
    ) -> tuple[ImageRecord, ...]:
        first = reply.first_wanted(sent)
        records = []
        for place in range(call.n):
            image = reply.images[first + place]
            seed = verdict.seeds[place] if place < len(verdict.seeds) else None
            if seed is None and before is not None:  # extras report none: it is still the same image's
                seed = before.seed
            stored = self.store.put_image(image.data, SUFFIXES[image.format])
            records.append(
                ImageRecord(
                    path=self._placed(call, place, stored, seed),
                    sha256=stored.stem,
                    width=image.width,
                    height=image.height,
                    seed=seed,
                    infotext=image.infotext or "",
                )
            )
        return tuple(records)

    def _placed(self, call: StageCall, place: int, stored: Path, seed: int | None) -> str:
        """Put an image of the store into the run's folder; its path, relative to the output root."""
        entry = self.identity.entries[call.entry]
        index, n = call.index + place, entry.count * max(1, len(entry.inputs))
        path = self.folder.place_image(
            stored,
            final=call.stage == len(entry.plan) - 1,
            entry=call.entry,
            stage=call.stage_type,
            index=index,
            n=n,
            seed=seed,
            prompt=entry.title,
            named=own_name(entry, index=index, n=n, seed=seed, day=self.folder.day, suffix=stored.suffix),
        )
        return self.folder.relative(path)

    def _site(self, call: StageCall, sent: WebUIRequest) -> CallSite:
        return CallSite(self.client.config.base_url, "POST", sent.path, str(call.stage_type), sent.summary)


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
