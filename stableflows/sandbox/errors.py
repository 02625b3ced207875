"""Exceptions that carry the name of the Python class a real server would have raised.

A WebUI answers any exception with its class name and text, so that both are part of the contract.
"""

from typing import Any


class HTTPError(Exception):
    """The server raised an HTTPException: status and detail reach the client."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


class ServerError(Exception):
    """Any other exception inside the server: 500, with the class name that the real one would show."""

    def __init__(self, error: str, text: str, body: Any = "") -> None:
        super().__init__(text)
        self.error = error
        self.text = text
        self.body = body


class InvalidError(Exception):
    """The request's body does not fit its model: 422 with these details."""

    def __init__(self, details: list[dict[str, Any]]) -> None:
        super().__init__(str(details))
        self.details = details


def type_error(text: str) -> ServerError:
    return ServerError("TypeError", text)


def runtime_error(text: str) -> ServerError:
    return ServerError("RuntimeError", text)


OUT_OF_MEMORY = ServerError(
    "OutOfMemoryError",
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB"
    " of which 1.02 GiB is free.",
)
NAN = ServerError(
    "NansException",
    "A tensor with NaNs was produced in Unet."
    " Use --disable-nan-check commandline argument to disable this check.",
)
POISONED = ServerError("AssertionError", "Torch not compiled with CUDA enabled")
"""What A1111 on a CPU answers to newly encoded prompts after a checkpoint failed to load."""
