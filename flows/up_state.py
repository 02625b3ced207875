"""Where `stableflows up` keeps what it knows of itself, and whether it runs.

It runs as long as its keeper (`flows.keeper`) holds the lock `stableflows-up.lock` of PREFECT_HOME, which the
operating system takes away from a process that dies, however it dies. A process number alone could be someone
else's by now.
"""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from flows.prefect_settings import prefect_setting

__all__ = [
    "POOL",
    "STOP_BOUND",
    "UpState",
    "is_healthy",
    "keeper_lock",
    "log_folder",
    "prefect_home",
    "project_folder",
    "read_state",
    "running",
    "state_file",
]

POOL = "stable-diffusion"
"""The work pool: a process pool that runs one job at a time."""
STOP_BOUND = 75.0
"""Seconds that worker and server get to end in peace."""


class UpState(BaseModel):
    """PREFECT_HOME/stableflows-up.json.

    Attributes:
        url: of the API; ends in `/api`.
        ui: where a browser finds it.
        pid: of the keeper.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    url: str
    ui: str
    pid: int


def prefect_home() -> Path:
    """PREFECT_HOME, absolute; it may not exist yet."""
    setting = prefect_setting("home")
    return Path(setting.value if setting else "~/.prefect").expanduser().absolute()


def project_folder() -> Path:
    """The folder with prefect.yaml, prefect.toml and deployments/: that of the checkout."""
    return Path(__file__).parents[1]


def log_folder(home: Path) -> Path:
    return home / "stableflows" / "up"


def state_file(home: Path) -> Path:
    return home / "stableflows-up.json"


def keeper_lock(home: Path) -> FileLock:
    home.mkdir(parents=True, exist_ok=True)
    return FileLock(home / "stableflows-up.lock", timeout=0)


def running(home: Path) -> UpState | None:
    """What runs there now; None if nothing does, or it is only just starting."""
    try:
        with keeper_lock(home):
            return None
    except Timeout:
        return read_state(home)


def read_state(home: Path) -> UpState | None:
    """What `up` wrote of itself; it may have been killed since."""
    try:
        return UpState.model_validate_json(state_file(home).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def is_healthy(state: UpState) -> bool:
    """Whether its API answers; else it was killed, and its port may be someone else's by now."""
    import httpx

    try:
        return httpx.get(f"{state.url}/health", timeout=5, trust_env=False).text == "true"
    except httpx.HTTPError:
        return False


def write_state(home: Path, state: UpState) -> None:
    """Put it in its place whole."""
    partial = state_file(home).with_suffix(f".{os.getpid()}.part")
    partial.write_text(state.model_dump_json(), encoding="utf-8")
    partial.replace(state_file(home))
