"""A Prefect server of our own, for the time of one direct run.

Prefect's ephemeral mode imports the server twice, one after the other, gives up after 20 s, and stops its
server before the last task runs are recorded. This one is started before the parent imports Prefect, so
that both imports overlap, and is stopped when the parent says so, by closing the child's standard input.
The operating system closes it too when the parent dies, however it dies: no server outlives its run.

`python -m flows.own_server` is the child. It binds a free loopback port first and prints it, so there is no
port for another process to take in between.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from stableflows.errors import ExitCode, StableflowsError

__all__ = ["TELEMETRY_OFF", "OwnServer", "PrefectApiError", "end_with_parent", "serve"]

START_BOUND = 180.0
"""Seconds until a server that is not healthy counts as failed; a cold start on a slow machine takes 40."""
STOP_BOUND = 10.0
"""Seconds a server gets to stop by itself before it is killed."""

TELEMETRY_OFF = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}

# Prefect writes each task run's state singly and at most every 5 s; in batches it costs a quarter of the CPU
# and the history is complete a second after the run instead of ten. Prefect 3.8 takes the recorder's interval
# as a whole number: below 1 it is 0, and the server spins.
BATCHED_HISTORY = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "200",
}

# What looks after deployments and workers belongs to the server that runs them. Here it would only compete
# for the SQLite file, with that server and with other direct runs.
NO_CARETAKERS = {
    f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false"
    for service in (
        "CANCELLATION_CLEANUP",
        "CLEANUP_RECONCILER",
        "FOREMAN",
        "LATE_RUNS",
        "PAUSE_EXPIRATIONS",
        "REPOSSESSOR",
        "SCHEDULER",
    )
}


class PrefectApiError(StableflowsError):
    """No Prefect API: the configured one does not answer, or our own server did not start."""

    exit_code = ExitCode.SERVER_UNREACHABLE


class OwnServer:
    """A Prefect server as a child process, on a loopback port of its own.

    It is spawned at once, but answers only after `wait_until_healthy`. `stop` it at the end.

    Args:
        log: file that gets everything the server says; it is appended to.

    Raises:
        PrefectApiError: the child ended before it had a port.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        its_stdin, self._lifeline = os.pipe()
        port_line, its_stdout = os.pipe()
        with log.open("a") as its_stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "flows.own_server"],  # -P: not a "flows" in the user's folder
                env=_child_environment(os.environ),
                stdin=its_stdin,
                stdout=its_stdout,
                stderr=its_stderr,
                start_new_session=True,  # the terminal's Ctrl-C is for the run, which still needs its server
            )
        os.close(its_stdin)
        os.close(its_stdout)
        with os.fdopen(port_line) as line:
            port = line.readline().strip()
        if not port:
            self.stop()
            raise self._failed("ended before it had a port")
        self.url = f"http://127.0.0.1:{port}/api"

    def wait_until_healthy(self, bound: float = START_BOUND) -> None:
        """Return when the server answers.

        Raises:
            PrefectApiError: it ended, or did not answer within `bound` seconds.
        """
        import httpx

        deadline = time.monotonic() + bound
        with httpx.Client(trust_env=False) as client:
            while time.monotonic() < deadline:
                if self._process.poll() is not None:
                    raise self._failed(f"ended with exit status {self._process.returncode}")
                try:
                    if client.get(f"{self.url}/health", timeout=5).is_success:
                        return
                except httpx.TransportError:
                    pass  # not listening yet
                time.sleep(0.1)
        raise self._failed(f"did not answer within {bound:.0f} s")

    def stop(self) -> None:
        """Let the server finish and end (within `STOP_BOUND` seconds), else kill it. Once is enough."""
        try:
            os.close(self._lifeline)
            self._process.wait(STOP_BOUND)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._process.kill()  # does nothing to a process that has ended
            self._process.wait()

    def _failed(self, what: str) -> PrefectApiError:
        lines = self.log.read_text(errors="replace").strip().splitlines()[-15:]
        said = "\n".join(f"    {line}" for line in lines) or "    (nothing)"
        return PrefectApiError(
            f"The Prefect server for this run {what}. It said:\n{said}\n"
            f"The whole log is {self.log}. To use a running server instead, set PREFECT_API_URL."
        )


def _child_environment(ours: Mapping[str, str]) -> dict[str, str]:
    """The child's environment: what the user has set wins, except that nothing phones home."""
    here = str(Path(__file__).parents[1])
    paths = os.pathsep.join(filter(None, [here, ours.get("PYTHONPATH")]))
    return BATCHED_HISTORY | NO_CARETAKERS | dict(ours) | TELEMETRY_OFF | {"PYTHONPATH": paths}


def end_with_parent(bound: float = STOP_BOUND) -> None:
    """Wait for the parent to close our standard input, then end: in peace, after `bound` seconds by force."""
    while os.read(0, 1):  # not sys.stdin, whose lock this thread would hold when the interpreter ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(bound)
    os._exit(1)


def main() -> None:
    """Serve Prefect's API on a free loopback port until standard input is closed."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    os.write(1, f"{listener.getsockname()[1]}\n".encode())
    os.dup2(2, 1)  # the parent reads one line only; what libraries print goes to the log
    threading.Thread(target=end_with_parent, daemon=True).start()
    serve(listener)


def serve(listener: socket.socket) -> None:
    """Serve Prefect's API and UI on a bound loopback socket, until a signal ends it."""
    os.environ["PREFECT_SERVER_API_HOST"] = "127.0.0.1"
    os.environ["PREFECT_SERVER_API_PORT"] = str(listener.getsockname()[1])  # the UI's pages ask the API there

    import uvicorn
    from filelock import FileLock
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    one_at_a_time = FileLock(get_current_settings().home / "stableflows" / "server-start.lock")

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            # Two servers that migrate one new database at once both fail.
            with one_at_a_time:
                await super().startup(sockets)

    config = uvicorn.Config(
        create_app(final=True), log_level="warning", lifespan="on", timeout_graceful_shutdown=3
    )
    Server(config).run([listener])


if __name__ == "__main__":
    main()
