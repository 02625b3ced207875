"""The sandbox as a real HTTP server: uvicorn in a thread of its own, which can die and come back."""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import Scope

from stableflows.sandbox.app import Application
from stableflows.sandbox.catalog import Catalog
from stableflows.sandbox.control import Control
from stableflows.sandbox.faults import Armed, Fault
from stableflows.sandbox.log import LoggedRequest, RequestLog
from stableflows.sandbox.settings import SandboxSettings
from stableflows.sandbox.webui import WebUI
from stableflows.sandbox.weights import HashCache

_PATIENCE = 20.0
"""Seconds that a start or a stop may take before it counts as failed."""
_KEEP_ALIVE = 30
_RESET = struct.pack("ii", 1, 0)


class Sandbox:
    """A running sandbox. Its methods may be called from any thread.

    Attributes:
        url: ``http://127.0.0.1:PORT``; it stays the same across restarts.
        settings: what it was started with.
        webui: the state of the pretended server, for tests that look inside.
    """

    def __init__(self, settings: SandboxSettings, catalog: Catalog) -> None:
        self.settings = settings
        self.armed = Armed()
        self.requests = RequestLog(settings.request_log)
        self._hashes = HashCache()
        if settings.knows_hashes:
            for file in catalog.checkpoints:
                self._hashes.computed(f"checkpoint/{file.filename}", file.mtime, file.sha256)
        self.webui = WebUI(settings, catalog, self._hashes)
        self._socket = _bound(settings.host, settings.port)
        self.url = f"http://{settings.host}:{self._socket.getsockname()[1]}"
        self._server: uvicorn.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._stopping = False
        self._next: asyncio.Future[None] | None = None
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)

    # What tests use.

    @property
    def log(self) -> list[LoggedRequest]:
        """Every request so far, in order of arrival."""
        return self.requests.snapshot()

    def generating(self) -> list[LoggedRequest]:
        """The requests that render: txt2img, img2img and the extras."""
        return self.requests.generating()

    def arm(self, fault: Fault) -> None:
        self.armed.arm(fault)

    def disarm(self) -> None:
        self.armed.clear()

    @property
    def catalog(self) -> Catalog:
        return self.webui.catalog

    def set_catalog(self, catalog: Catalog) -> None:
        """Put other files on the disk. The server notices when a real one would (refresh, next load)."""
        self.webui.change_disk(catalog)

    def set_options(self, **values: Any) -> None:
        """Set options directly, also such as the API refuses.

        Raises:
            KeyError: for an option that this flavour does not have.
        """
        for name, value in values.items():
            if name not in self.webui.options:
                raise KeyError(name)
            self.webui.options.data[name] = value

    def restart(self, catalog: Catalog | None = None, *, seconds: float = 0.0) -> None:
        """A new process at the same address: nothing is loaded, saved options and the hash cache are kept.

        ``seconds`` nobody listens. Returns when the new one answers (at once from the server's own thread).
        """
        self._up.clear()
        fault = Fault(kind="restart", seconds=seconds, catalog=catalog)
        self._loop.call_soon_threadsafe(self._die, fault)
        if threading.current_thread() is not self._thread:
            self.wait(_PATIENCE + seconds)

    def wait(self, seconds: float = _PATIENCE) -> None:
        """Until it answers, for example after a fault that ended it for a while.

        Raises:
            TimeoutError: if it does not within ``seconds``.
        """
        if not self._up.wait(seconds):
            raise TimeoutError(f"the sandbox at {self.url} does not answer")

    def crash(self) -> None:
        """Die: every connection is cut, and nobody listens until ``restart``. Returns when it is dead."""
        dead = threading.Event()

        def die() -> None:
            self._die(Fault(kind="crash"))
            dead.set()

        self._loop.call_soon_threadsafe(die)
        if not dead.wait(_PATIENCE):
            raise TimeoutError(f"the sandbox at {self.url} did not die")

    # The life of the server.

    def start(self) -> None:
        self._thread.start()
        self.wait()

    def stop(self) -> None:
        """End quietly; nothing is left behind, not even a job that was running."""
        self._stopping = True
        self.webui.close()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._die, Fault(kind="crash"))
            self._thread.join(_PATIENCE)
        self._socket.close()
        self.webui.lock.shutdown(wait=True, cancel_futures=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._live())
        finally:
            self._loop.close()

    async def _live(self) -> None:
        while not self._stopping:
            self._next = self._loop.create_future()
            app = Application(
                self.webui,
                self.requests,
                self.armed,
                control_surface=Control(self),
                die=self._die,
                cut=self._cut,
            )
            config = uvicorn.Config(
                app,
                log_config=None,
                log_level="critical",
                access_log=False,
                lifespan="off",
                ws="none",
                timeout_keep_alive=_KEEP_ALIVE,
            )
            self._server = uvicorn.Server(config)
            serving = asyncio.ensure_future(self._server.serve(sockets=[self._socket]))
            while not self._server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event
                await asyncio.sleep(0.005)
            self._up.set()
            await serving
            if self._stopping:
                return
            await self._next
            if not self._stopping:
                self._socket.close()
                self._socket = _bound(self.settings.host, int(self.url.rsplit(":", 1)[1]))

    def _die(self, fault: Fault) -> None:
        """End the process (in the server's thread): close the listener and cut every connection at once."""
        self._up.clear()
        server = self._server
        if server is not None and not server.should_exit:
            for listener in getattr(server, "servers", []):
                listener.close()
            self._socket.close()
            for connection in list(server.server_state.connections):
                _abort(connection)
            server.should_exit = server.force_exit = True
        if fault.kind != "refuse":
            # A process that died has taken its jobs with it.
            self.webui.close()
        if self._stopping:
            self._release()
        elif fault.kind == "restart":
            self._loop.call_later(fault.seconds, self._revive, fault.catalog or self.webui.catalog)
        elif fault.kind == "refuse":
            self._loop.call_later(fault.seconds, self._release)

    def _revive(self, catalog: Catalog) -> None:
        self.webui = WebUI(self.settings, catalog, self._hashes, self.webui.options.saved)
        self._release()

    def _release(self) -> None:
        if self._next is not None and not self._next.done():
            self._next.set_result(None)

    def _cut(self, scope: Scope, reset: bool) -> None:
        """Close a client's connection: at once with a reset, or after what was written has left."""
        server = self._server
        for connection in list(server.server_state.connections) if server else ():
            if getattr(connection, "client", None) == tuple(scope["client"]):
                if reset:
                    _abort(connection)
                else:
                    connection.transport.close()


def _abort(connection: Any) -> None:
    raw = connection.transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.transport.abort()


def _bound(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


@contextmanager
def run_sandbox(
    settings: SandboxSettings | None = None, *, catalog: Catalog | None = None
) -> Iterator[Sandbox]:
    """A sandbox for the time of a ``with`` block, in a daemon thread of this process.

    Raises:
        OSError: if the port is taken.
    """
    sandbox = Sandbox(settings or SandboxSettings(), catalog or Catalog())
    try:
        sandbox.start()
        yield sandbox
    finally:
        sandbox.stop()
