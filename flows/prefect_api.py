"""Which Prefect API a direct run uses, and a quiet, complete end.

    with prefect_api(announce=...) as api:      # finds or starts an API, then imports Prefect
        from flows.render import render         # now cheap
        asyncio.run(...)
    # here every task run is final in Prefect's database, and a server of our own is gone

In this order: the API that Prefect itself would use because someone configured it; that of `stableflows up`
while it lives; a server of our own for the time of the run. Nothing here imports Prefect before an API is
chosen and a server of our own is on its way: both imports take seconds, and so they overlap.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from flows.own_server import TELEMETRY_OFF, OwnServer, PrefectApiError
from flows.prefect_runs import cancel_on_interrupt, drain, drain_all, ended_runs, watch_for_cancel
from flows.prefect_settings import Setting, prefect_setting
from flows.up_state import is_healthy, prefect_home, read_state
from stableflows.errors import InputError

__all__ = [
    "ApiInUse",
    "PrefectApiError",
    "cancel_on_interrupt",
    "drain",
    "prefect_api",
    "quiet_logging",
    "watch_for_cancel",
]

KEPT_LOGS = 10
"""How many runs' Prefect logs stay under PREFECT_HOME/stableflows."""


class ApiInUse(BaseModel):
    """The Prefect API of this run.

    `url` ends in `/api`. `configured_in` names the place of a configured URL. `log` is the file that gets
    what Prefect would have printed, and what a server of our own says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    source: Literal["configured", "stableflows up", "own"]
    configured_in: str | None = None
    log: Path


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")


@contextmanager
def prefect_api(*, announce: Callable[[str], None] = _to_stderr, queue: bool = False) -> Iterator[ApiInUse]:
    """Have a Prefect API for the block, with Prefect imported, quiet and pointed at it.

    Args:
        announce: gets the one line that is printed, only when a server of our own is started.
        queue: one that outlives this process is needed: no server of our own is started.

    Raises:
        PrefectApiError: the configured API does not answer, or our own server does not start, or `queue` is
            asked for and nothing runs.
        InputError: a settings file of Prefect's is broken, or names a profile that does not exist.
    """
    home = prefect_home()
    configured = prefect_setting("api", "url")
    if configured and configured.value:
        with _imported(configured.value, home) as log_file:
            _check(configured)
            yield ApiInUse(
                url=configured.value, source="configured", configured_in=configured.where, log=log_file
            )
    elif url := _url_of_stableflows_up(home):
        with _imported(url, home) as log_file:
            yield ApiInUse(url=url, source="stableflows up", log=log_file)
    elif queue:
        raise PrefectApiError("There is no queue: nothing runs that could keep it. Start it: stableflows up")
    else:
        announce("Prefect: starting a server for this run (PREFECT_API_URL can name one that runs)")
        server = OwnServer(_new_log(home))
        try:
            with _own_password(), _imported(server.url, home, server.log):
                server.wait_until_healthy()
                yield ApiInUse(url=server.url, source="own", log=server.log)
        finally:
            server.stop()


@contextmanager
def _imported(url: str, home: Path, log_file: Path | None = None) -> Iterator[Path]:
    """Prefect, imported, with `url` as its API; at the end, what it still has to tell that API is told."""
    log_file = log_file or _new_log(home)
    imported_before_us = "prefect" in sys.modules
    with _variable("PREFECT_API_URL", url):
        quiet_logging(log_file)
        from prefect.context import refresh_global_settings_context

        if imported_before_us:
            refresh_global_settings_context()
        try:
            yield log_file
        finally:
            # In a thread of its own: the caller may have an event loop running.
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, drain_all()).result()
    refresh_global_settings_context()


@contextmanager
def _own_password() -> Iterator[None]:
    """Whoever set a password for their servers has set it for ours too: let our client know it."""
    password = prefect_setting("server", "api", "auth_string")
    with _variable("PREFECT_API_AUTH_STRING", password.value) if password else nullcontext():
        yield


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _url_of_stableflows_up(home: Path) -> str | None:
    """The API of `stableflows up`, if it says it runs and answers."""
    state = read_state(home)
    return state.url if state and is_healthy(state) else None


def _check(configured: Setting) -> None:
    """Ask the configured API for its version: it must answer, be Prefect, and accept our credentials."""
    from prefect.client.base import ServerType
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(sync_client=True, httpx_settings={"timeout": 10.0}) as client,
        ):
            if client.server_type is ServerType.CLOUD:  # which has no version to ask for
                problem = client.api_healthcheck()
                if problem:
                    raise problem
            else:
                client.api_version()
    except Exception as error:  # whatever it is, this API cannot be used
        raise PrefectApiError(
            f"The Prefect API {configured.value} cannot be used: {_in_short(error)}.\n"
            f"It is configured by {configured.where}. Start that server, or take the setting away: then a "
            "run starts a server of its own."
        ) from error


def _in_short(error: Exception) -> str:
    import httpx

    if not isinstance(error, httpx.HTTPStatusError):
        return str(error) or type(error).__name__
    answer = error.response
    hint = {
        401: " (PREFECT_API_AUTH_STRING names user and password)",
        404: " (a Prefect API's URL ends in /api)",
    }
    said = f"GET {answer.request.url} is answered with {answer.status_code} {answer.reason_phrase}"
    return said + hint.get(answer.status_code, "")


def _new_log(home: Path) -> Path:
    folder = home / "stableflows"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in sorted(folder.glob("*.log"))[: -KEPT_LOGS + 1]:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"Prefect's folder {folder} cannot be written: {error}. PREFECT_HOME names it."
        ) from error
    return folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"


class _PrefectLog(logging.FileHandler):
    """What Prefect would have printed; a later run in this process has a file of its own."""


def quiet_logging(log_file: Path) -> None:
    """Import Prefect so that nothing of it reaches the terminal, nor Prefect's makers.

    What Prefect would print goes to `log_file`; what belongs to a run goes to the API as always.
    """
    os.environ.update(TELEMETRY_OFF)
    import prefect.main  # noqa: F401  (sets up Prefect's logging)

    to_file = _PrefectLog(log_file, delay=True)
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for logger in map(logging.getLogger, (None, "prefect._internal", "uvicorn", "fastapi")):
        for handler in logger.handlers[:]:
            if type(handler).__module__ == "prefect.logging.handlers" or isinstance(handler, _PrefectLog):
                logger.removeHandler(handler)
                handler.close()
                logger.addHandler(to_file)
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(ended_runs)
