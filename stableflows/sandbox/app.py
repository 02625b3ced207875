"""The ASGI application: finds the endpoint, guards it, meets the armed faults, logs."""

import asyncio
import base64
import binascii
import json
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from stableflows.sandbox import control, openapi, replies
from stableflows.sandbox.endpoints import SD, Call, routes
from stableflows.sandbox.errors import HTTPError, ServerError
from stableflows.sandbox.faults import Armed, Fault
from stableflows.sandbox.log import RequestLog
from stableflows.sandbox.replies import Reply
from stableflows.sandbox.webui import WebUI

_DYING = ("crash", "refuse", "restart")


class Application:
    """One server process, from the outside.

    ``die`` is called for faults that end it; ``cut`` closes the connection of a client without a word.
    """

    def __init__(
        self,
        webui: WebUI,
        log: RequestLog,
        armed: Armed,
        *,
        control_surface: "control.Control",
        die: Callable[[Fault], None],
        cut: Callable[[Scope, bool], None],
    ) -> None:
        self.webui = webui
        self.log = log
        self.armed = armed
        self._control = control_surface
        self._die = die
        self._cut = cut
        self._routes = routes(webui)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        if scope["path"].startswith(control.PREFIX):
            reply = await self._control.answer(request)
            await _send(send, reply, close=False)
            return
        await self._serve(request, scope, send)

    async def _serve(self, request: Request, scope: Scope, send: Send) -> None:
        started = time.monotonic()
        try:
            raw = await request.body()
        except ClientDisconnect:
            return
        path = scope["path"]
        fault = self.armed.hit(path, raw)
        number = self.log.start(
            {
                "t_start": started,
                "method": scope["method"],
                "path": path,
                "query": scope["query_string"].decode("latin-1"),
                "body": _decoded(raw),
                "fault": fault.kind if fault else None,
            },
            len(raw),
        )
        if fault is not None and fault.kind in _DYING:
            self.log.update(number, t_end=time.monotonic())
            self._die(fault)
            return
        work = asyncio.ensure_future(self._answer(request, raw, fault))
        if fault is not None and fault.kind == "reset":
            # The job goes on at the server; only the client is gone.
            await asyncio.sleep(min(fault.seconds, 0.05))
            self._cut(scope, True)
            await work
            self.log.update(number, t_end=time.monotonic())
            return
        reply = await work
        await self._finish(reply, scope, send, fault=fault, started=started, number=number, request=request)

    async def _finish(
        self,
        reply: Reply,
        scope: Scope,
        send: Send,
        *,
        fault: Fault | None,
        started: float,
        number: int,
        request: Request,
    ) -> None:
        accepts = request.headers.get("accept-encoding", "")
        reply = await asyncio.to_thread(replies.zipped, reply, accepts)
        if self.webui.flavour.process_time and not reply.crashed:
            # The handler of exceptions sits outside of what measures the time.
            reply.headers["x-process-time"] = f"{time.monotonic() - started:.4}"
        t_run, t_ran = reply.rendered or (None, None)
        self.log.update(
            number,
            t_end=time.monotonic(),
            t_run=t_run,
            t_ran=t_ran,
            status=reply.status,
            images=reply.images,
        )
        if fault is not None and fault.kind == "truncated":
            await _send(send, reply, close=False, half=True)
            self._cut(scope, False)
            return
        await _send(send, reply, close=False)
        if reply.crashed and self.webui.flavour.closes_after_500:
            # Forge ends the connection without having said so: the next request on it is reset.
            self._cut(scope, False)

    async def _answer(self, request: Request, raw: bytes, fault: Fault | None) -> Reply:
        path, method = request.url.path, request.method
        api = path.startswith(SD)
        flavour = self.webui.flavour
        if fault is not None and fault.kind == "status":
            return replies.as_text(fault.body, fault.status)
        try:
            methods = self._available(path)
            if methods is None:
                return replies.as_json({"detail": "Not Found"}, 404)
            if method not in methods:
                allowed = ", ".join(methods)
                return replies.as_json({"detail": "Method Not Allowed"}, 405, {"allow": allowed})
            if api and self.webui.settings.auth is not None:
                users = (self.webui.settings.auth, *self.webui.settings.more_users)
                _authenticate(request, users)
            call = Call(
                self.webui, dict(request.query_params), raw, request.headers.get("content-type"), fault
            )
            answer: Reply = await methods[method](call)
            return answer
        except asyncio.CancelledError:
            raise
        except Exception as error:
            return replies.of_error(error, flavour, api=api)

    def _available(self, path: str) -> dict[str, Any] | None:
        """The path's endpoints, unless a slow start has not brought them yet."""
        special = self._server_routes().get(path)
        if special is not None:
            return special
        methods = self._routes.get(path)
        seconds = self.webui.settings.start_seconds
        share = (time.monotonic() - self.webui.started) / seconds if seconds else 1.0
        if methods is None or share >= list(self._routes).index(path) / len(self._routes):
            return methods
        return {"GET": _unready} if path == f"{SD}/embeddings" and self.webui.family == "forge" else None

    def _server_routes(self) -> dict[str, dict[str, Any]]:
        # SD.Next has its document only with --docs.
        documented = self.webui.family != "sdnext"
        table: dict[str, dict[str, Any]] = {"/openapi.json": {"GET": self._openapi}} if documented else {}
        if self.webui.settings.server_stop:
            table[f"{SD}/server-stop"] = {"POST": self._stop}
            table[f"{SD}/server-kill"] = {"POST": self._kill}
            table[f"{SD}/server-restart"] = {"POST": self._restart}
        return table

    async def _openapi(self, _: Call) -> Reply:
        return replies.as_json(openapi.document(self.webui, {**self._routes, **self._server_routes()}))

    async def _stop(self, _: Call) -> Reply:
        if self.webui.settings.flavour != "api-only":
            # With --nowebui the real server only says so and goes on.
            asyncio.get_running_loop().call_later(0.1, self._die, Fault(kind="crash"))
        return replies.as_text("Stopping.", kind="text/plain; charset=utf-8")

    async def _kill(self, _: Call) -> Reply:
        self._die(Fault(kind="crash"))
        return Reply(500)

    async def _restart(self, _: Call) -> Reply:
        return Reply(501)


async def _unready(_: Call) -> Reply:
    """Forge's list of embeddings before they are loaded."""
    raise ServerError("AttributeError", "'Api' object has no attribute 'embedding_db'")


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return None


def _authenticate(request: Request, users: tuple[tuple[str, str], ...]) -> None:
    """HTTP Basic, checked before the body.

    Raises:
        HTTPError: 401.
    """
    challenge = {"www-authenticate": "Basic"}
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        raise HTTPError(401, "Not authenticated", challenge)
    try:
        user, colon, password = base64.b64decode(value, validate=True).decode("ascii").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise HTTPError(401, "Invalid authentication credentials", challenge) from None
    if not colon:
        raise HTTPError(401, "Invalid authentication credentials", challenge)
    if (user, password) not in users:
        raise HTTPError(401, "Incorrect username or password", challenge)


async def _send(send: Send, reply: Reply, *, close: bool, half: bool = False) -> None:
    headers = [(key.encode(), value.encode("latin-1")) for key, value in reply.headers.items()]
    if reply.status != 204:
        headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    body = reply.body[: len(reply.body) // 2] if half else reply.body
    await send({"type": "http.response.body", "body": body, "more_body": half})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return
