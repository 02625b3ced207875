"""One generating call from its first byte to its last: sent, watched, stopped where it must be, decoded."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from .errors import CallSite, FewerImages, Interrupted, MissingEndpoint, Stalled, UnexpectedAnswer, WebUIError
from .images import decode_image
from .models import Info, Progress, TaskProgress, WebUIReply, WebUIRequest
from .transport import Answer, Transport
from .watch import CallState, QuietTimes, Sighting, Watch

__all__ = ["Caller"]

_EXTRAS = "/sdapi/v1/extra-single-image"
_IDLE_LOOKS = 2
"""Between two queued jobs the server looks idle for a moment."""
_FIRST_LOOK = 0.05
"""Seconds until the first look: the next call may leave once this one is seen at the server."""
_SECONDS_TO_LEAVE = 5.0
"""How long a cancelled task waits for its interrupt to arrive, before that goes on in the background."""


@dataclass(slots=True)
class _Flight:
    """A call under way."""

    site: CallSite
    task_id: str | None
    watch: Watch
    post: asyncio.Task[Answer]
    on_state: Callable[[CallState], None] | None = None
    interrupted: bool = False
    """We interrupted it: what comes back, even at 200, may be half a picture."""
    reported: tuple[object, ...] = field(default=())

    def report(self, state: CallState) -> None:
        seen = (state.phase, state.progress, state.step)
        if self.on_state and seen != self.reported:
            self.reported = seen
            self.on_state(state)


class Caller:
    """Makes the generating calls of one client, and knows which of them are under way."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._config = transport.config
        self._flights: list[_Flight] = []
        self._quiet = QuietTimes()
        self._stopping: set[asyncio.Task[bool]] = set()

    async def aclose(self) -> None:
        if self._stopping:
            await asyncio.wait(self._stopping)

    async def progress(self) -> Progress:
        path = "/sdapi/v1/progress"
        document = await self._transport.get(path, params={"skip_current_image": "true"})
        try:
            return Progress.model_validate(document)
        except ValidationError as error:
            raise UnexpectedAnswer(
                "this is no WebUI's progress", self._transport.site("GET", path)
            ) from error

    async def wait_idle(self, timeout: float) -> bool:
        end = time.monotonic() + timeout
        looks = 0
        while looks < _IDLE_LOOKS:
            looks = looks + 1 if (await self.progress()).idle else 0
            if looks < _IDLE_LOOKS:
                if time.monotonic() >= end:
                    return False
                await asyncio.sleep(self._config.poll_seconds)
        return True

    async def call(
        self,
        request: WebUIRequest,
        *,
        has_task_ids: bool,
        stage: str | None,
        cancel: asyncio.Event | None,
        on_state: Callable[[CallState], None] | None,
    ) -> WebUIReply:
        site = self._transport.site("POST", request.path, stage=stage, asked=request.summary)
        if cancel is not None and cancel.is_set():
            raise Interrupted("cancelled before it was sent", site)
        began = time.monotonic()
        flight = self._start(request, site, has_task_ids, on_state)
        try:
            answer = await self._watched(flight, cancel)
        except asyncio.CancelledError:
            await self._abandon(flight)
            raise
        finally:
            if flight.post.done():
                self._land(flight)
        flight.watch.finished()
        return await self._reply(answer, request, flight, time.monotonic() - began)

    def _start(
        self,
        request: WebUIRequest,
        site: CallSite,
        has_task_ids: bool,
        on_state: Callable[[CallState], None] | None,
    ) -> _Flight:
        body = dict(request.body)
        task_id = None
        if has_task_ids and request.path != _EXTRAS:
            task_id = body.setdefault("force_task_id", f"task(stableflows-{uuid.uuid4().hex[:16]})")
        watch = Watch(self._config.stall, self._quiet, steps_expected=request.path != _EXTRAS)
        post = asyncio.create_task(self._transport.send(site, None, body=body))
        # A call that was stopped has nobody left to look at how it ended.
        post.add_done_callback(lambda task: task.cancelled() or task.exception())
        flight = _Flight(site, task_id, watch, post, on_state)
        self._flights.append(flight)
        return flight

    def _land(self, flight: _Flight) -> None:
        if flight in self._flights:
            self._flights.remove(flight)

    # -- watching
    # ------------------------------------------------------------------------------------------------

    async def _watched(self, flight: _Flight, cancel: asyncio.Event | None) -> Answer:
        cancelled = asyncio.create_task(cancel.wait()) if cancel else None
        waited_for = {flight.post, cancelled} if cancelled else {flight.post}
        pause = min(_FIRST_LOOK, self._config.poll_seconds)
        try:
            while True:
                done, _ = await asyncio.wait(waited_for, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                pause = min(2 * pause, self._config.poll_seconds)
                if flight.post in done:
                    return flight.post.result()
                if done:
                    return await self._cancel(flight)
                flight.report(flight.watch.see(await self._sighting(flight)))
                if flight.watch.stalled and not flight.post.done():
                    return await self._stall(flight)
        finally:
            if cancelled:
                cancelled.cancel()

    async def _sighting(self, flight: _Flight) -> Sighting:
        oldest = flight is self._flights[0]
        try:
            progress = await self.progress()
            task = await self._task(flight.task_id) if flight.task_id else None
        except WebUIError:
            return Sighting(None, None, oldest)  # the watch takes silence as standing still
        return Sighting(progress, task, oldest)

    async def _task(self, task_id: str) -> TaskProgress | None:
        body = {"id_task": task_id, "live_preview": False}
        try:
            return TaskProgress.model_validate(await self._transport.post("/internal/progress", body))
        except (MissingEndpoint, ValidationError):
            return None

    # -- stopping
    # ------------------------------------------------------------------------------------------------

    async def _cancel(self, flight: _Flight) -> Answer:
        ended = await self._stop(flight)
        if answer := self._whole_answer(flight):
            return answer
        self._drop(flight)
        reason = (
            "cancelled"
            if ended
            else "cancelled while it waited in the server's queue, where it will still run"
        )
        raise Interrupted(reason, flight.site)

    async def _stall(self, flight: _Flight) -> Answer:
        standing, phase = flight.watch.standing, flight.watch.state.phase
        idle = await self._stop(flight) and await self._idle_again()
        if answer := self._whole_answer(flight):
            return answer
        self._drop(flight)
        raise Stalled(
            f"no progress for {standing:.0f} s (while {phase})",
            flight.site,
            idle=idle,
            advice="" if idle else "It did not become idle after an interrupt either: look at the server",
        )

    def _whole_answer(self, flight: _Flight) -> Answer | None:
        """An answer that came before we interrupted: it is whole. After that, 200 may mean half a picture."""
        if flight.interrupted or not flight.post.done():
            return None
        return flight.post.result()

    def _drop(self, flight: _Flight) -> None:
        flight.post.cancel()
        self._land(flight)

    async def _idle_again(self) -> bool:
        try:
            return await self.wait_idle(self._config.stall.interrupt)
        except WebUIError:
            return False

    async def _stop(self, flight: _Flight) -> bool:
        """Interrupts the call at the server until it has answered; False if it never came to run in that
        time.

        A call that still waits in the queue cannot be taken out of it. It is interrupted once it starts; the
        flag is reset at each job's beginning, so that an interrupt before that would be lost, or stop
        someone else's.
        """
        end = time.monotonic() + self._config.stall.interrupt
        while not flight.post.done():
            sighting = await self._sighting(flight)
            if flight.post.done():
                break
            if self._is_running(flight, sighting):
                await self._interrupt(flight)
            if time.monotonic() >= end:
                return False
            pause = min(self._config.poll_seconds, max(0.0, end - time.monotonic()))
            await asyncio.wait({flight.post}, timeout=pause)
        return True

    def _is_running(self, flight: _Flight, sighting: Sighting) -> bool:
        """It is ours that runs: by its task id; without, if no earlier call of ours is under way."""
        if sighting.progress is None:
            return False
        if sighting.task is not None:
            return sighting.task.active
        return sighting.oldest and not sighting.progress.idle

    async def _interrupt(self, flight: _Flight) -> None:
        flight.interrupted = True
        try:
            await self._transport.post("/sdapi/v1/interrupt")
        except WebUIError:
            return  # asked again at the next look, as long as the call is under way

    async def _abandon(self, flight: _Flight) -> None:
        """Our own task was cancelled: interrupt now, and go on in the background if the call is still
        queued.
        """
        stopping = asyncio.create_task(self._stop_and_land(flight))
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)
        await asyncio.wait({stopping}, timeout=_SECONDS_TO_LEAVE)

    async def _stop_and_land(self, flight: _Flight) -> bool:
        try:
            return await self._stop(flight)
        finally:
            self._drop(flight)

    # -- the answer
    # ----------------------------------------------------------------------------------------------

    async def _reply(
        self, answer: Answer, request: WebUIRequest, flight: _Flight, seconds: float
    ) -> WebUIReply:
        limit = self._config.max_image_pixels
        reply = await asyncio.to_thread(
            read_reply, answer.document, flight.site, max_pixels=limit, seconds=seconds
        )
        came = len(reply.wanted(request))
        if came < request.n_images:
            raise FewerImages(
                f"the server sent {came} of {request.n_images} images and called it a success",
                flight.site,
                advice="It was interrupted by someone, or swallowed an error: its log says which",
            )
        return reply


def read_reply(document: Any, site: CallSite, *, max_pixels: int, seconds: float = 0.0) -> WebUIReply:
    """Reads the document of a generating call's success, pictures and all.

    Raises:
        UnexpectedAnswer: it has no pictures where they must be, or they are none.
        IncompleteResponse: a picture is damaged or cut short.
    """
    if not isinstance(document, dict):
        raise UnexpectedAnswer("the answer has no pictures: it is no object", site)
    images = [document.get("image")] if "image" in document else document.get("images") or []
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise UnexpectedAnswer("the pictures of the answer are no texts", site)
    parameters = document.get("parameters")
    return WebUIReply(
        images=tuple(decode_image(image, site, max_pixels=max_pixels) for image in images),
        info=_info(document.get("info"), site),
        html_info=str(document.get("html_info") or ""),
        parameters=parameters if isinstance(parameters, dict) else {},
        seconds=seconds,
    )


def _info(text: Any, site: CallSite) -> Info | None:
    if not text:
        return None  # extras have none; SD.Next sends "" where it has rendered nothing
    try:
        return Info.model_validate_json(text) if isinstance(text, str) else Info.model_validate(text)
    except ValidationError as error:
        raise UnexpectedAnswer(f"its info cannot be read: {error.errors()[0]['msg']}", site) from error
