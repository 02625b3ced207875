"""The two services of the queue, each in the foreground: `python -m flows.service server [FD]`, `... worker`.

`stableflows up` starts both through `flows.keeper`; systemd units start them singly (deployments/README.md).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import sys
import threading
from contextlib import suppress
from pathlib import Path

from flows.own_server import TELEMETRY_OFF, end_with_parent, serve
from flows.up_state import POOL
from stableflows.errors import StableflowsError

__all__ = ["main"]

RECONCILE_SECONDS = 10.0
"""Between two looks for runs whose process has died."""


def server() -> None:
    """Prefect's API and UI on an inherited socket, else on PREFECT_SERVER_API_PORT (4200) of loopback."""
    if len(sys.argv) > 2:
        listener = socket.socket(fileno=int(sys.argv[2]))
    else:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", int(os.environ.get("PREFECT_SERVER_API_PORT", "4200"))))
    serve(listener)


async def worker() -> None:
    """Deploy what prefect.yaml says, put right what a crash left, then run one queued job after another.

    Raises:
        StableflowsError: the deployments are broken.
    """
    from prefect.workers.process import ProcessWorker

    from flows.provision import provision, wait_for_api
    from flows.reconcile import reconcile
    from flows.shelve import go_on

    await wait_for_api()
    await provision()
    _log(await reconcile(worker_lives=False))
    await go_on()
    tending = asyncio.create_task(_reconcile_now_and_then())
    try:
        await ProcessWorker(
            work_pool_name=POOL,
            name="stableflows",
            create_pool_if_not_found=False,
            heartbeat_interval_seconds=15,
        ).start()
    finally:
        tending.cancel()
        await asyncio.gather(tending, return_exceptions=True)


async def _reconcile_now_and_then() -> None:
    import httpx

    from flows.reconcile import reconcile

    while True:
        await asyncio.sleep(RECONCILE_SECONDS)
        try:
            _log(await reconcile(worker_lives=True))
        except httpx.HTTPError as error:  # the server restarts; it is asked again
            sys.stderr.write(f"Prefect could not be asked for crashed runs: {error!r}\n")


def _log(lines: list[str]) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")


async def _until_told(coroutine: object) -> None:
    """Run it until it ends, or SIGTERM or SIGINT tells it to."""
    task = asyncio.ensure_future(coroutine)  # type: ignore[call-overload]
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


def main() -> int:
    """Run one service until a signal, or until a keeper closes its standard input."""
    os.environ.update(TELEMETRY_OFF)
    # `python` in the deployments' command is this one.
    os.environ["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    )
    # A shell's background job ignores SIGINT, and Prefect's worker passes that on to its runs.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        bound = 40.0 if sys.argv[1] == "worker" else 10.0  # a job has 30 s to end in
        threading.Thread(target=end_with_parent, args=(bound,), daemon=True).start()
    try:
        if sys.argv[1] == "server":
            server()
        else:
            asyncio.run(_until_told(worker()))
    except StableflowsError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
