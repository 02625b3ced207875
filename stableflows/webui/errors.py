# ruff: noqa: N818  (each is named after what happened)
"""What a WebUI server can do wrong, as one tree.

    ServerError
    └─ WebUIError                 exit 1        a call: server, path, stage, what was asked and said
       ├─ Unreachable             exit 3 retry  refused, reset, no such host, TLS
       │  └─ TLSFailed            exit 3        a certificate that we do not trust, or no TLS at all
       ├─ NotReady                exit 3 retry  it answers, but has not finished starting
       ├─ NotAWebUI               exit 3        a web page, another API, a proxy's login page
       ├─ AuthenticationFailed    exit 2        no or wrong user name and password
       ├─ Overloaded              exit 1 retry  502, 503, 504 (mostly of a proxy before it)
       ├─ IncompleteResponse      exit 1 retry  the answer broke off, or is not whole
       ├─ UnexpectedAnswer        exit 1        whole, but not what this call answers, or too large
       ├─ CallFailed              exit 1        the server raised something of no better name
       │  ├─ OutOfMemory          exit 1        the same request would fail again
       │  ├─ NansError            exit 1        the model computed "not a number"
       │  ├─ UnknownName          exit 1        no sampler, upscaler, script, option ... of that name
       │  ├─ BadImage             exit 1        it cannot read the picture that was sent
       │  ├─ CheckpointLoadFailed exit 1        the file is gone, unreadable or of another architecture
       │  └─ RequestRejected      exit 1        any other 4xx: field, type, range
       │     └─ MissingEndpoint   exit 1        404/405: this server has no such path
       ├─ Stalled                 exit 1        no progress; interrupted (one more try is the caller's)
       ├─ SetAside                exit 1        the server died each time that it rendered this entry
       ├─ Interrupted             exit 130      we stopped it: cancelled
       ├─ FewerImages             exit 1        200, but fewer images than asked for
       └─ Mismatch                exit 1        200, but not what was asked; carries all disagreements

``retryable`` says whether sending the same call again may help: only connections, 502/503/504 and answers
that are not whole. Each of them can be pickled: task runners store them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from stableflows.errors import ExitCode, ServerError

__all__ = [
    "AuthenticationFailed",
    "BadImage",
    "CallFailed",
    "CallSite",
    "CheckpointLoadFailed",
    "Disagreement",
    "FewerImages",
    "IncompleteResponse",
    "Interrupted",
    "Mismatch",
    "MissingEndpoint",
    "NansError",
    "NotAWebUI",
    "NotReady",
    "OutOfMemory",
    "Overloaded",
    "RequestRejected",
    "SetAside",
    "Stalled",
    "TLSFailed",
    "UnexpectedAnswer",
    "UnknownName",
    "Unreachable",
    "WebUIError",
]


@dataclass(frozen=True, slots=True)
class CallSite:
    """Which call of which server: what every error says besides its reason.

    Args:
        server: the server's identity (its URL without credentials).
        method: HTTP method.
        path: path below the URL.
        stage: the stage that made the call, if one did.
        asked: what was asked, in a few words ("2 images 512x768, Euler a, 30 steps").
    """

    server: str
    method: str
    path: str
    stage: str | None = None
    asked: str = ""

    def __str__(self) -> str:
        text = f"{self.method} {self.server}{self.path}"
        if self.stage:
            text += f", stage {self.stage}"
        return text + (f", asked for {self.asked}" if self.asked else "")


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One thing that the server did otherwise than asked; ``why`` says how that comes about and what to
    do.
    """

    field: str
    asked: str
    got: str
    why: str = ""

    def __str__(self) -> str:
        text = f"{self.field}: asked for {self.asked}, got {self.got}"
        return text + (f" ({self.why})" if self.why else "")


def _rebuild(kind: type[WebUIError], args: tuple[Any, ...], state: dict[str, Any]) -> WebUIError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class WebUIError(ServerError):
    """A call of a WebUI server that did not do what was asked.

    Args:
        reason: what went wrong.
        site: the call.
        said: what the server said, in its own words, if it said something.
        advice: what to do.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, reason: str, site: CallSite, *, said: str = "", advice: str = "") -> None:
        self.reason, self.site, self.said, self.advice = reason, site, said, advice
        text = f"{reason} [{site}]"
        if said and said not in reason:
            text += f"; the server said: {said}"
        super().__init__(text + (f". {advice}" if advice else ""))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)

    @property
    def server(self) -> str:
        return self.site.server

    @property
    def path(self) -> str:
        """Method and path, as in an access log."""
        return f"{self.site.method} {self.site.path}"

    @property
    def stage(self) -> str | None:
        return self.site.stage

    @property
    def asked(self) -> str:
        return self.site.asked


class Unreachable(WebUIError):
    """No connection: refused, reset, no such host."""

    retryable = True
    exit_code = ExitCode.SERVER_UNREACHABLE


class TLSFailed(Unreachable):
    """TLS failed: a certificate that we do not trust, or the port does not speak TLS."""

    retryable = False


class NotReady(WebUIError):
    """It answers, but its last route is not there yet: still starting."""

    retryable = True
    exit_code = ExitCode.SERVER_UNREACHABLE


class NotAWebUI(WebUIError):
    """Something answers at this URL, but no WebUI API: a web page, another API, a proxy's login page."""

    exit_code = ExitCode.SERVER_UNREACHABLE


class AuthenticationFailed(WebUIError):
    """User name or password are missing or wrong.

    Exit code 2: the server could be used, what the user wrote is wrong.
    """

    exit_code = ExitCode.BAD_INPUT


class Overloaded(WebUIError):
    """502, 503 or 504."""

    retryable = True


class IncompleteResponse(WebUIError):
    """The answer broke off: fewer bytes than announced, half a JSON document, half an image."""

    retryable = True


class UnexpectedAnswer(WebUIError):
    """A whole answer that this call cannot have, or one that is larger than we accept."""


class CallFailed(WebUIError):
    """The server raised an exception; ``error_class`` is its Python class, where it says so."""

    def __init__(
        self,
        reason: str,
        site: CallSite,
        *,
        said: str = "",
        advice: str = "",
        status: int = 0,
        error_class: str = "",
    ) -> None:
        super().__init__(reason, site, said=said, advice=advice)
        self.status, self.error_class = status, error_class


class OutOfMemory(CallFailed):
    """The server ran out of (graphics) memory; it stays usable. A smaller size or batch is what helps."""


class NansError(CallFailed):
    """The model produced "not a number" (a black image otherwise)."""


class UnknownName(CallFailed):
    """The server has nothing of that name and said so; ``name`` is the name, where it can be read."""

    def __init__(self, reason: str, site: CallSite, *, name: str = "", **more: Any) -> None:
        super().__init__(reason, site, **more)
        self.name = name


class BadImage(CallFailed):
    """The server cannot read a picture of the request."""


class CheckpointLoadFailed(CallFailed):
    """Loading a checkpoint (or VAE) failed.

    AUTOMATIC1111 is broken afterwards, also for the model that it still names, until another checkpoint was
    loaded and back; then the calls of this checkpoint must fail and the others can go on.
    """


class RequestRejected(CallFailed):
    """The server refused the request (4xx)."""


class MissingEndpoint(RequestRejected):
    """This server has no such path (404), or not with this method (405)."""


class Stalled(WebUIError):
    """No progress for longer than allowed. The server was interrupted and (``idle``) has become idle."""

    def __init__(self, reason: str, site: CallSite, *, idle: bool, advice: str = "") -> None:
        super().__init__(reason, site, advice=advice)
        self.idle = idle


class SetAside(WebUIError):
    """The server died each time that it rendered this entry, and came back: the others go on without it."""


class Interrupted(WebUIError):
    """We interrupted the call, because the run was cancelled; a partial image it answered with is not one of
    ours.
    """

    exit_code = ExitCode.CANCELLED


class FewerImages(WebUIError):
    """Answered as a success, with fewer images than asked for (an interrupt from elsewhere, a swallowed
    out-of-memory).
    """


class Mismatch(WebUIError):
    """Answered as a success, but something else was rendered than what was asked.

    Args:
        site: the call.
        disagreements: all of them, at least one.
    """

    def __init__(self, site: CallSite, disagreements: Sequence[Disagreement]) -> None:
        self.disagreements = tuple(disagreements)
        listed = "; ".join(map(str, self.disagreements))
        super().__init__(f"the server rendered something else: {listed}", site)
