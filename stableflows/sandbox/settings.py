"""What a sandbox is told when it starts."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FlavourName = Literal["a1111", "forge", "api-only", "sdnext"]


class SandboxSettings(BaseModel):
    """Settings of one sandbox server. Everything has a default that is quick and open.

    Attributes:
        flavour: which WebUI it stands in for. ``api-only`` is AUTOMATIC1111 with ``--nowebui``.
        port: 0 takes a free one.
        step_seconds: time of one sampling step, spent inside the lock like a real server's.
        load_seconds: time to load a checkpoint, inside the lock.
        encode_seconds: time to encode the PNGs of one answer, outside the lock (as on real servers).
        auth: user and password of ``--api-auth``; None leaves it open.
        more_users: further users and passwords of ``--api-auth``.
        sparse_config: start with a nearly empty ``config.json``, as after a fresh installation: an
            override of an option that does not stand in it leaks into all later requests.
        knows_hashes: as a server that has loaded each of its checkpoints once; otherwise its list has a
            checkpoint's hash only after its first use.
        start_seconds: how long the start takes; routes come one by one during it.
        request_log: a file that gets one JSON line when a request starts and one when it ends.
        stock_pictures: every answer has the same picture of its size (its infotext is its own), as a PNG, and
            drawing takes no time: for benchmarks, where the sandbox must not be what is measured.
        server_stop: offer ``/sdapi/v1/server-stop|kill|restart`` (``--api-server-stop``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flavour: FlavourName = "a1111"
    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    step_seconds: float = Field(default=0.0, ge=0)
    load_seconds: float = Field(default=0.0, ge=0)
    encode_seconds: float = Field(default=0.0, ge=0)
    auth: tuple[str, str] | None = None
    more_users: tuple[tuple[str, str], ...] = ()
    sparse_config: bool = False
    knows_hashes: bool = False
    start_seconds: float = Field(default=0.0, ge=0)
    request_log: Path | None = None
    stock_pictures: bool = False
    server_stop: bool = False
