"""How to reach a server, and how long to wait for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

__all__ = ["ServerConfig", "StallLimits"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


class StallLimits(BaseModel):
    """Seconds without progress after which a call counts as stalled. Time in the server's queue never counts.

    The numbers are what users' servers needed: sampling shows a step at least every minute even on a slow
    GPU, loading a checkpoint took up to 100 s, and extras, ADetailer and VAE report no steps at all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sampling: float = Field(default=60.0, gt=0)
    loading: float = Field(default=300.0, gt=0)
    other: float = Field(default=300.0, gt=0)
    """For extras, ADetailer and VAE; the larger of this and five times what such calls took counts."""
    interrupt: float = Field(default=120.0, gt=0)
    """How long an interrupted server may take to become idle."""


class ServerConfig(BaseModel):
    """A WebUI server: where it is, who we are, what it can bear.

    ``http://user:password@host:7860`` is taken apart: the credentials go into ``username`` and ``password``,
    so that they never stand in a log line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    base_url: str
    """Such as ``http://127.0.0.1:7860``, without ``/sdapi``; a path before it (a proxy's) is kept."""
    username: str | None = None
    password: SecretStr | None = None
    name: str = ""
    """What people call it; its URL, if left out."""
    identity: str = ""
    """What locks and keys are named after; its URL, if left out."""
    verify_tls: bool | Path = True
    """False: any certificate is taken. A path: the certificate (or authority) to trust."""
    connect_timeout: float = Field(default=10.0, gt=0)
    write_timeout: float = Field(default=60.0, gt=0)
    pool_timeout: float = Field(default=60.0, gt=0)
    read_timeout: float = Field(default=30.0, gt=0)
    """Seconds for the answers that need no rendering; a generating call is watched instead (``stall``)."""
    stall: StallLimits = StallLimits()
    depth: int = Field(default=2, ge=1, le=8)
    """Requests at the server at once: one renders, the others wait there."""
    poll_seconds: float = Field(default=1.0, gt=0)
    """Pause between two looks at the progress."""
    megapixel_limit: float | None = Field(default=None, gt=0)
    """Million pixels that one picture may have on this server's memory; above it a plan warns."""
    max_response_bytes: int = Field(default=512 * 1024 * 1024, gt=0)
    max_image_pixels: int = Field(default=256_000_000, gt=0)
    """A picture of more pixels is refused before it is decoded."""

    @model_validator(mode="before")
    @classmethod
    def _take_credentials_out(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("base_url"), str):
            return values
        text: str = values["base_url"].strip()
        # No message, of ours or of urlsplit, may quote what can be a password.
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
        except ValueError:
            raise ValueError("is no URL; a server's looks like http://127.0.0.1:7860") from None
        if "@" in parts.path + parts.query + parts.fragment:
            raise ValueError(
                "in a URL, / ? # and @ of a user name or password are written %2F %3F %23 %40; better leave "
                "both out, and name them beside it"
            )
        if "@" not in parts.netloc:
            return values
        user, _, host = parts.netloc.rpartition("@")
        name, _, password = user.partition(":")
        taken = {"username": unquote(name), "password": unquote(password)}
        return {**taken, **values, "base_url": parts._replace(netloc=host).geturl()}

    @field_validator("base_url")
    @classmethod
    def _normal_url(cls, value: str) -> str:
        text = value.strip()
        if "://" not in text:
            text = f"http://{text}"
        parts = urlsplit(text)
        name = parts.hostname or ""
        if parts.scheme.lower() not in _DEFAULT_PORTS or not name or not name.isprintable() or " " in name:
            raise ValueError(f"{value!r} is no server's URL; it looks like http://127.0.0.1:7860")
        port = parts.port  # raises ValueError itself when it is none
        host = f"[{name}]" if ":" in name else name
        scheme = parts.scheme.lower()
        if port is not None and port != _DEFAULT_PORTS[scheme]:
            host += f":{port}"
        path = parts.path.rstrip("/")
        for tail in ("/sdapi/v1", "/sdapi", "/docs"):
            path = path.removesuffix(tail)
        return f"{scheme}://{host}{path}"

    @property
    def server_identity(self) -> str:
        """The normal form of the URL, without credentials: lower-case host, no default port, no trailing
        slash.

        Locks and keys are named after it, unless `identity` says otherwise. Two names of one machine are two
        identities.
        """
        return self.identity or self.base_url

    @property
    def label(self) -> str:
        return self.name or self.base_url
