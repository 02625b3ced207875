"""The control surface for tests of other processes: logs to read, faults to arm.

``GET  /__sandbox__/requests``    every request (``?generating=1``: only those that render)
``GET  /__sandbox__/faults``      what is armed
``POST /__sandbox__/faults``      arm one (the fields of ``Fault``); ``DELETE`` disarms all
``GET  /__sandbox__/catalog``     what lies on the disk
``POST /__sandbox__/catalog``     other files on the disk (the server notices when a real one would)
``GET  /__sandbox__/loads``       how many checkpoints were loaded since the process started
``POST /__sandbox__/restart``     a new process: ``{"catalog": {...} | null, "seconds": 0.0}``
``POST /__sandbox__/options``     set options past every rule
"""

from collections.abc import Callable
from typing import Any, Protocol

from pydantic import ValidationError
from starlette.requests import Request

from stableflows.sandbox import replies
from stableflows.sandbox.catalog import Catalog
from stableflows.sandbox.faults import Armed, Fault
from stableflows.sandbox.log import RequestLog
from stableflows.sandbox.replies import Reply
from stableflows.sandbox.webui import WebUI

PREFIX = "/__sandbox__/"


class Host(Protocol):
    """What the control surface needs of the sandbox."""

    webui: WebUI
    armed: Armed
    requests: RequestLog

    def restart(self, catalog: Catalog | None = None, *, seconds: float = 0.0) -> None: ...

    def set_catalog(self, catalog: Catalog) -> None: ...

    def set_options(self, **values: Any) -> None: ...


class Control:
    """Answers below ``/__sandbox__/``; none of its requests is logged or needs a password."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._routes: dict[tuple[str, str], Callable[[Request, Any], Reply]] = {
            ("GET", "requests"): self._requests,
            ("GET", "faults"): self._faults,
            ("POST", "faults"): self._arm,
            ("DELETE", "faults"): self._disarm,
            ("GET", "catalog"): self._catalog,
            ("POST", "catalog"): self._set_catalog,
            ("GET", "loads"): self._loads,
            ("POST", "restart"): self._restart,
            ("POST", "options"): self._set_options,
        }

    async def answer(self, request: Request) -> Reply:
        name = request.url.path[len(PREFIX) :].strip("/")
        route = self._routes.get((request.method, name))
        if route is None:
            names = sorted(" ".join(key) for key in self._routes)
            return replies.as_json({"detail": f"no such control; there are: {', '.join(names)}"}, 404)
        try:
            raw = await request.body()
            body = await request.json() if raw else {}
            return route(request, body)
        except (ValidationError, ValueError, TypeError) as error:
            return replies.as_json({"detail": str(error)}, 422)

    def _requests(self, request: Request, _: Any) -> Reply:
        log = self._host.requests
        entries = log.generating() if request.query_params.get("generating") else log.snapshot()
        return replies.as_json([entry.model_dump(mode="json") for entry in entries])

    def _faults(self, _: Request, __: Any) -> Reply:
        return replies.as_json(self._host.armed.waiting())

    def _arm(self, _: Request, body: Any) -> Reply:
        self._host.armed.arm(Fault.model_validate(body))
        return self._faults(_, body)

    def _disarm(self, _: Request, __: Any) -> Reply:
        self._host.armed.clear()
        return replies.as_json([])

    def _catalog(self, _: Request, __: Any) -> Reply:
        return replies.as_json(self._host.webui.catalog.model_dump(mode="json"))

    def _set_catalog(self, _: Request, body: Any) -> Reply:
        self._host.set_catalog(Catalog.model_validate(body))
        return self._catalog(_, body)

    def _loads(self, _: Request, __: Any) -> Reply:
        return replies.as_json({"checkpoints": self._host.webui.weights.loads})

    def _restart(self, _: Request, body: Any) -> Reply:
        catalog = Catalog.model_validate(body["catalog"]) if body.get("catalog") else None
        self._host.restart(catalog, seconds=float(body.get("seconds", 0.0)))
        return replies.as_json({})

    def _set_options(self, _: Request, body: Any) -> Reply:
        self._host.set_options(**body)
        return replies.as_json({})
