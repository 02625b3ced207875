"""The client of one WebUI server."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from .calls import Caller
from .capabilities import Capabilities, Family, probe
from .errors import (
    CallFailed,
    MissingEndpoint,
    NotAWebUI,
    NotReady,
    UnexpectedAnswer,
    Unreachable,
    WebUIError,
)
from .models import (
    Checkpoint,
    Embeddings,
    Lora,
    Named,
    PngInfo,
    Progress,
    Sampler,
    Scheduler,
    ScriptInfo,
    Style,
    Upscaler,
    Vae,
    WebUIReply,
    WebUIRequest,
)
from .server import ServerConfig
from .transport import Transport
from .watch import CallState

__all__ = ["WebUIClient"]

Item = TypeVar("Item", bound=BaseModel)
Kind = TypeVar("Kind")

_REFRESHES = ("checkpoints", "loras", "vae", "embeddings")
_GRACE_WITHOUT_LORAS = 3.0
"""Seconds after which a server that has everything but ``/loras`` is taken for one without LoRAs."""
_GRACE_OF_A_STRANGER = 15.0
"""Seconds that something without a single WebUI route is taken for a WebUI that is only starting."""


class WebUIClient:
    """Talks to one server, as an async context manager.

    Errors are `WebUIError`; nothing is retried here: ``error.retryable`` says what the caller may try again.

    Args:
        config: the server.
        http: an own httpx client, for tests.
    """

    def __init__(self, config: ServerConfig, *, http: httpx.AsyncClient | None = None) -> None:
        self.config = config
        self._transport = Transport(config, http)
        self._caller = Caller(self._transport)
        self._capabilities: Capabilities | None = None
        self._probing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Waits for interrupts that are still under way (bounded by ``stall.interrupt``), then closes."""
        await self._caller.aclose()
        await self._transport.aclose()

    # -- what it is
    # ----------------------------------------------------------------------------------------------

    async def wait_ready(self, timeout: float, on_wait: Callable[[str, float], None] | None = None) -> None:
        """Waits until the server has registered its last routes.

        ``/progress`` answers before the others are there (seen on Forge), so a late route decides:
        ``/loras``, or the scripts where there is none.

        Args:
            timeout: seconds; 0 looks once.
            on_wait: told the reason and the seconds waited so far, before each pause.

        Raises:
            Unreachable, NotReady: still so when the time is over.
            NotAWebUI, AuthenticationFailed, TLSFailed: at once; waiting does not help.
        """
        began = time.monotonic()
        while True:
            try:
                if await self._look_if_ready():
                    return
                error, patience = None, _GRACE_WITHOUT_LORAS
            except (Unreachable, NotReady, NotAWebUI) as failure:
                error, patience = failure, _patience_with(failure)
            waited = time.monotonic() - began
            left = min(timeout, patience) - waited
            if left <= 0:
                if error is None:
                    return
                raise error
            if on_wait:
                on_wait(error.reason if error else "the server lists no LoRAs yet", waited)
            await asyncio.sleep(min(self.config.poll_seconds, left))

    async def _look_if_ready(self) -> bool:
        """Whether all is there; False if all but ``/loras``, which some servers never have."""
        site = self._transport.site("GET", "/sdapi/v1/loras")
        try:
            await self._transport.get(site.path)
        except CallFailed as error:
            if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                return True  # the route is there; that it fails is told by whoever needs its list
        except UnexpectedAnswer as error:
            reason = "what answers here is no WebUI"
            raise NotAWebUI(reason, site, said=error.said, advice="Check address and port") from error
        else:
            return True
        try:
            scripts = await self._transport.get("/sdapi/v1/script-info")
            await self._transport.get("/sdapi/v1/embeddings")
        except MissingEndpoint as error:
            await self._raise_for_stranger(error)
            raise NotReady("the server has not registered all its routes yet", site) from error
        except CallFailed as error:
            raise NotReady("the server has not loaded its embeddings yet", site, said=error.said) from error
        if not scripts:
            raise NotReady("the server has not loaded its scripts yet", site)
        return False

    async def _raise_for_stranger(self, missing: MissingEndpoint) -> None:
        try:
            await self._transport.get("/sdapi/v1/progress")
        except MissingEndpoint:
            advice = "Check address and port; a WebUI must be started with --api"
            reason = "what answers here has no WebUI API"
            raise NotAWebUI(reason, missing.site, said=missing.said, advice=advice) from missing

    async def probe(self) -> Capabilities:
        """What the server is and has; asked once, then remembered. Raises as `capabilities.probe`."""
        async with self._probing:
            if self._capabilities is None:
                self._capabilities = await probe(self._transport)
            return self._capabilities

    async def system_information(self) -> dict[str, Any]:
        """What the server tells of itself (version, command line), if it has a web page."""
        document = await self._transport.get("/internal/sysinfo")
        return self._parsed("/internal/sysinfo", dict[str, Any], document)

    # -- lists
    # ---------------------------------------------------------------------------------------------------

    async def samplers(self) -> tuple[Sampler, ...]:
        return await self._list("samplers", Sampler)

    async def schedulers(self) -> tuple[Scheduler, ...]:
        """Empty on servers before 1.9, where the schedule is part of the sampler's name."""
        return await self._list("schedulers", Scheduler, optional=True)

    async def checkpoints(self) -> tuple[Checkpoint, ...]:
        return await self._list("sd-models", Checkpoint)

    async def vaes(self) -> tuple[Vae, ...]:
        """The VAE files; on Forge its modules (VAE and text encoders)."""
        modules = (await self.probe()).vae == "modules"
        return await self._list("sd-modules" if modules else "sd-vae", Vae, optional=True)

    async def upscalers(self) -> tuple[Upscaler, ...]:
        return await self._list("upscalers", Upscaler)

    async def latent_upscale_modes(self) -> tuple[Named, ...]:
        return await self._list("latent-upscale-modes", Named, optional=True)

    async def loras(self) -> tuple[Lora, ...]:
        return await self._list("loras", Lora, optional=True)

    async def embeddings(self) -> Embeddings:
        document = await self._transport.get("/sdapi/v1/embeddings")
        return self._parsed("/sdapi/v1/embeddings", Embeddings, document)

    async def styles(self) -> tuple[Style, ...]:
        return await self._list("prompt-styles", Style, optional=True)

    async def face_restorers(self) -> tuple[Named, ...]:
        return await self._list("face-restorers", Named, optional=True)

    async def ad_models(self) -> tuple[str, ...]:
        """ADetailer's detection models, or those of SD.Next's own detailer; empty without either."""
        capabilities = await self.probe()
        if capabilities.family is Family.SDNEXT:
            return tuple(model.name for model in await self._list("detailers", Named, optional=True))
        return capabilities.adetailer.models if capabilities.adetailer else ()

    async def scripts(self) -> tuple[ScriptInfo, ...]:
        return (await self.probe()).scripts

    async def _list(self, name: str, kind: type[Item], *, optional: bool = False) -> tuple[Item, ...]:
        path = f"/sdapi/v1/{name}"
        try:
            document = await self._transport.get(path)
        except MissingEndpoint:
            if optional:
                return ()
            raise
        return self._parsed(path, tuple[kind, ...], document)  # type: ignore[valid-type]

    def _parsed(self, path: str, kind: type[Kind], document: Any) -> Kind:
        try:
            return TypeAdapter(kind).validate_python(document)
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(map(str, problem["loc"]))
            raise UnexpectedAnswer(
                f"the answer is not what this path answers: {place} {problem['msg']}",
                self._transport.site("GET", path),
            ) from error

    # -- state
    # ---------------------------------------------------------------------------------------------------

    async def options(self) -> dict[str, Any]:
        """All options as they are now."""
        document = await self._transport.get("/sdapi/v1/options")
        return self._parsed("/sdapi/v1/options", dict[str, Any], document)

    async def set_options(self, values: Mapping[str, Any]) -> None:
        """Sets options for good (they stay until set again).

        An unknown key fails, with the keys before it already set; a value of a wrong type is taken without a
        word and breaks the server's ``/options``; a checkpoint that cannot be read answers 200 and changes
        nothing. So: look at `options` afterwards.
        """
        await self._transport.post("/sdapi/v1/options", dict(values), waits_for_lock=True)

    async def loaded_checkpoint(self) -> str | None:
        """The name of the checkpoint in memory, as in `checkpoints`. SD.Next alone tells it.

        Raises:
            MissingEndpoint: it is another WebUI.
        """
        document = await self._transport.get("/sdapi/v1/checkpoint")
        name = document.get("name") if isinstance(document, dict) else None
        return str(name) if name else None

    async def refresh(self) -> None:
        """Has the server read its folders again: checkpoints, LoRA, VAE, embeddings, as far as it can."""
        for name in _REFRESHES:
            try:
                await self._transport.post(f"/sdapi/v1/refresh-{name}", waits_for_lock=True)
            except MissingEndpoint:
                continue

    async def progress(self) -> Progress:
        """What it does now, without the preview picture."""
        return await self._caller.progress()

    async def interrupt(self) -> None:
        """Stops the job that runs, whoever's it is; harmless when none does."""
        await self._transport.post("/sdapi/v1/interrupt")

    async def is_idle(self) -> bool:
        """No job at this moment (also true for a moment between two queued ones: see `wait_idle`)."""
        return (await self.progress()).idle

    async def wait_idle(self, timeout: float) -> bool:
        """Waits until two looks in a row find no job; False when ``timeout`` seconds did not suffice."""
        return await self._caller.wait_idle(timeout)

    async def png_info(self, image_base64: str) -> PngInfo:
        """What the server reads in a picture. ``parameters`` may name another LoRA of the same content."""
        document = await self._transport.post("/sdapi/v1/png-info", {"image": image_base64})
        return self._parsed("/sdapi/v1/png-info", PngInfo, document)

    # -- rendering
    # -----------------------------------------------------------------------------------------------

    async def call(
        self,
        request: WebUIRequest,
        *,
        stage: str | None = None,
        cancel: asyncio.Event | None = None,
        on_state: Callable[[CallState], None] | None = None,
    ) -> WebUIReply:
        """Makes one generating call and decodes its pictures wholly.

        There is no time limit: a watch looks whether it still moves (`ServerConfig.stall`).

        Args:
            request: what to make.
            stage: named in errors.
            cancel: once set, the call is stopped at the server and `Interrupted` raised. Cancelling the
            asyncio task
                stops it at the server too.
            on_state: told each change of what is known of the call.

        Raises:
            WebUIError: see `stableflows.webui.errors`. Not `Mismatch`: that is `verify`'s.
        """
        capabilities = await self.probe()
        return await self._caller.call(
            request,
            has_task_ids=capabilities.has_task_ids,
            stage=stage,
            cancel=cancel,
            on_state=on_state,
        )


def _patience_with(error: WebUIError) -> float:
    """Seconds to wait for this to pass."""
    if error.retryable:
        return math.inf
    if isinstance(error, NotAWebUI) and isinstance(error.__cause__, MissingEndpoint):
        return _GRACE_OF_A_STRANGER  # a WebUI has its web page before its API
    return 0.0
