"""Faults that a test arms: what goes wrong, at which coming call, how often."""

import threading
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from stableflows.sandbox.catalog import Catalog
from stableflows.sandbox.errors import NAN, OUT_OF_MEMORY

if TYPE_CHECKING:
    from stableflows.sandbox.webui import WebUI

FaultKind = Literal[
    "crash",
    "refuse",
    "reset",
    "hang",
    "slow",
    "oom",
    "nan",
    "truncated",
    "broken_image",
    "wrong_size",
    "fewer_images",
    "wrong_checkpoint",
    "swallowed_adetailer",
    "partial",
    "restart",
    "status",
]
GENERATING = (
    "/sdapi/v1/txt2img",
    "/sdapi/v1/img2img",
    "/sdapi/v1/extra-single-image",
    "/sdapi/v1/extra-batch-images",
    "/sdapi/v1/detail",
)


class Fault(BaseModel):
    """One thing that goes wrong.

    Kinds:
        ``crash``: the process dies; every connection is cut and nobody listens until ``Sandbox.restart``.
        ``refuse``: the same for ``seconds``, then the same process is back.
        ``restart``: a crash, and after ``seconds`` a new process with ``catalog``.
        ``reset``: the connection is cut, the job goes on.
        ``hang``: the job stands still until it is interrupted.
        ``slow``: the job takes ``seconds`` more.
        ``oom``, ``nan``: out of memory, NaN, inside sampling.
        ``truncated``: half of the answer. ``broken_image``: a third of each image.
        ``wrong_size``: half the size. ``fewer_images``: the last one is missing.
        ``wrong_checkpoint``: another checkpoint renders; the answer says which.
        ``swallowed_adetailer``: its units are dropped at 200.
        ``partial``: as if somebody else had interrupted.
        ``status``: the answer of a proxy in front.

    Attributes:
        at: the coming matching call that it hits, counted from 1 when it was armed.
        times: how many calls in a row it hits.
        path: only calls of this path; None means any generating call.
        adetailer: only calls with (True) or without (False) units of ADetailer.
        step: the sampling step at which ``oom``, ``nan``, ``hang``, ``partial`` and ``slow`` strike.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FaultKind
    at: int = Field(default=1, ge=1)
    times: int = Field(default=1, ge=1)
    path: str | None = None
    adetailer: bool | None = None
    step: int = Field(default=1, ge=0)
    seconds: float = Field(default=0.5, ge=0)
    status: int = 503
    body: str = "<html><body><h1>Service Unavailable</h1></body></html>"
    catalog: Catalog | None = None
    checkpoint: str | None = None
    """``wrong_checkpoint``: which one renders; None takes another than asked."""
    message: str | None = None
    """``oom``/``nan``: another text of the exception."""

    def strike(self, webui: "WebUI") -> None:
        """What happens inside sampling.

        Raises:
            ServerError: out of memory, NaN.
            Interrupted: the hanging or foreign-interrupted job ended.
        """
        if self.kind in ("oom", "nan"):
            error = OUT_OF_MEMORY if self.kind == "oom" else NAN
            raise type(error)(error.error, self.message or error.text)
        if self.kind == "slow":
            webui.sleep(self.seconds)
        elif self.kind == "partial":
            webui.state.interrupt()
            webui.sleep(0)
        elif self.kind == "hang":
            while True:
                webui.sleep(3600)


class Armed:
    """The faults that are armed, and the count of calls that passed them."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._armed: list[tuple[Fault, list[int]]] = []

    def arm(self, fault: Fault) -> None:
        with self._guard:
            self._armed.append((fault, [0]))

    def clear(self) -> None:
        with self._guard:
            self._armed = []

    def waiting(self) -> list[dict[str, Any]]:
        with self._guard:
            return [fault.model_dump(mode="json") | {"passed": passed[0]} for fault, passed in self._armed]

    def hit(self, path: str, body: bytes) -> Fault | None:
        """The fault that this call meets, if any; every armed fault counts it."""
        adetailer = b'"ADetailer"' in body
        struck: Fault | None = None
        with self._guard:
            for fault, passed in self._armed:
                matches = path == fault.path if fault.path else path in GENERATING
                if not matches or fault.adetailer not in (None, adetailer):
                    continue
                passed[0] += 1
                if struck is None and fault.at <= passed[0] < fault.at + fault.times:
                    struck = fault
            self._armed = [
                (fault, passed) for fault, passed in self._armed if passed[0] < fault.at + fault.times - 1
            ]
        return struck
