"""`stableflows up`: the queue's Prefect server and worker, in the background. Does not import Prefect."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from cyclopts import App, Parameter
from filelock import FileLock

from flows.command import main
from flows.own_server import PrefectApiError
from flows.prefect_settings import Setting, prefect_setting
from flows.up_state import POOL, STOP_BOUND, UpState, log_folder, prefect_home, project_folder, running
from stableflows.errors import ExitCode, InputError, Where

__all__ = ["app"]

PORT = 4200
"""Prefect's own; the next free one if it is taken."""
START_BOUND = 240.0
"""Seconds until a start counts as failed; a cold one on a slow machine takes 60."""

app = App(
    name="up",
    help="Start the queue: a Prefect server and a worker, in the background. Again: bring it up to date.",
    default_parameter=Parameter(negative=()),
    version_flags=(),
)


@app.default
def up(*, port: Annotated[int | None, Parameter(name="--port")] = None) -> int:
    """Start the queue, and print where its UI is.

    Parameters
    ----------
    port:
        Of the UI and the API, on loopback. Left out: 4200, or the next free one.
    """
    home = prefect_home()
    (home / "stableflows").mkdir(parents=True, exist_ok=True)
    with FileLock(home / "stableflows" / "up-command.lock"):
        state = running(home)
        if state is None:
            state = _start(home, port)
            said = "The queue runs"
        else:
            _refresh(state)
            said = "The queue runs already, and is up to date"
    sys.stdout.write(f"{said}: {state.ui}\n")
    return int(ExitCode.OK)


def _start(home: Path, port: int | None) -> UpState:
    configured = prefect_setting("api", "url")
    listener = _listen(port, configured)
    _check_configured(configured, listener.getsockname()[1])
    folder = log_folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "keeper.log"
    since = datetime.now(UTC)
    with log.open("wb") as output, listener:
        keeper = subprocess.Popen(  # noqa: S603 (ourselves)
            [sys.executable, "-P", "-m", "flows.keeper", str(listener.fileno())],
            cwd=project_folder(),
            # -P keeps a `flows` of the user's folder out, and the checkout's own is named in its place.
            env={**os.environ, "PREFECT_HOME": str(home), "PYTHONPATH": _python_path()},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C in this terminal is not meant for it
            pass_fds=(listener.fileno(),),
        )
    deadline = time.monotonic() + START_BOUND
    while time.monotonic() < deadline:
        if keeper.poll() is not None:
            break
        state = running(home)
        if state and _worker_online(state, since):
            return state
        time.sleep(0.3)
    else:
        keeper.terminate()
        keeper.wait(STOP_BOUND)
    said = f"The queue did not start. Its logs, in {folder}, end with:\n{_tails(folder)}"
    if keeper.returncode == ExitCode.BAD_INPUT:
        raise InputError(said)
    raise PrefectApiError(said)


def _python_path() -> str:
    return os.pathsep.join(filter(None, [str(project_folder()), os.environ.get("PYTHONPATH")]))


def _listen(port: int | None, configured: Setting | None) -> socket.socket:
    """A socket on loopback: on this port, else on that of a configured API here, else on the first free."""
    if port is None and configured and configured.value and _is_here(configured.value):
        port = urlsplit(configured.value).port
    for number in [port] if port else range(PORT, PORT + 100):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", number))
            listener.listen(128)
        except OSError as error:
            listener.close()
            reason = error.strerror
            continue
        return listener
    asked = f"port {port}" if port else f"every port from {PORT} to {PORT + 99}"
    raise InputError(f"{asked} of 127.0.0.1 cannot be used: {reason}.", where=Where(field="--port"))


def _is_here(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost") and urlsplit(url).port is not None


def _check_configured(configured: Setting | None, port: int) -> None:
    """Refuse to start a server that no command would then use."""
    if (
        configured
        and configured.value
        and (not _is_here(configured.value) or urlsplit(configured.value).port != port)
    ):
        raise InputError(
            f"names another Prefect API, {configured.value}, which all commands would use instead of the one "
            "that `up` starts; take that setting away. To queue there, start a worker for it: "
            "deployments/README.md.",
            where=Where(field=configured.where),
        )


def _worker_online(state: UpState, since: datetime) -> bool:
    """Whether a worker has reported since then: all that it needs is deployed before it does."""
    import httpx

    password = prefect_setting("server", "api", "auth_string")
    user, _, secret = (password.value if password else "").partition(":")
    try:
        answer = httpx.post(
            f"{state.url}/work_pools/{POOL}/workers/filter",
            json={},
            auth=(user, secret) if user else None,
            timeout=5,
            trust_env=False,
        )
    except httpx.HTTPError:
        return False
    if not answer.is_success:
        return False
    workers: list[dict[str, Any]] = answer.json()
    seen = (worker.get("last_heartbeat_time") for worker in workers)
    return any(text and datetime.fromisoformat(text) >= since for text in seen)


def _refresh(state: UpState) -> None:
    """Deploy prefect.yaml and deployments/ again."""
    env = {**os.environ, "PREFECT_API_URL": state.url}
    if password := prefect_setting("server", "api", "auth_string"):
        env["PREFECT_API_AUTH_STRING"] = password.value
    code = (
        "import asyncio; from flows.provision import *; asyncio.run(wait_for_api()); asyncio.run(provision())"
    )
    done = subprocess.run(  # noqa: S603 (ourselves)
        [sys.executable, "-c", code],
        cwd=project_folder(),
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InputError(f"the deployments could not be brought up to date:\n{done.stderr.strip()}")


def _tails(folder: Path) -> str:
    lines = []
    for file in (folder / "keeper.log", folder / "server.log", folder / "worker.log"):
        if file.exists():
            lines += [
                f"    {file.name}: {line}" for line in file.read_text(errors="replace").splitlines()[-8:]
            ]
    return "\n".join(lines)


if __name__ == "__main__":
    main(app)
