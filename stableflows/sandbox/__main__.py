"""``python -m stableflows.sandbox``: a sandbox as a process of its own."""

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import cyclopts

from stableflows.sandbox.catalog import Catalog
from stableflows.sandbox.server import run_sandbox
from stableflows.sandbox.settings import FlavourName, SandboxSettings

app = cyclopts.App(name="python -m stableflows.sandbox", version_flags=[])


@app.default
def main(
    *,
    port: int = 7860,
    host: str = "127.0.0.1",
    flavour: FlavourName = "a1111",
    step_seconds: float = 0.0,
    load_seconds: float = 0.0,
    encode_seconds: float = 0.0,
    start_seconds: float = 0.0,
    auth: Annotated[str | None, cyclopts.Parameter(help="USER:PASSWORD of --api-auth.")] = None,
    sparse_config: bool = False,
    stock_pictures: bool = False,
    server_stop: bool = False,
    request_log: Path | None = None,
    catalog: Annotated[Path | None, cyclopts.Parameter(help="JSON file of a catalog.")] = None,
) -> int:
    """Serve a pretended WebUI until Ctrl-C or SIGTERM. Prints its URL when it is ready.

    Args:
        port: 0 takes a free one.
        host: address to listen on.
        flavour: which WebUI it stands in for.
        step_seconds: time of one sampling step.
        load_seconds: time to load a checkpoint.
        encode_seconds: time to encode the images of an answer, outside the lock.
        start_seconds: a slow start, whose routes come one by one.
        sparse_config: options as after a fresh installation: overrides leak.
        stock_pictures: one picture a size for every answer, which takes no time: for benchmarks.
        server_stop: offer /sdapi/v1/server-stop, -kill and -restart.
        request_log: file that gets a JSON line for the start and the end of each request.
    """
    user, colon, password = (auth or "").partition(":")
    if auth is not None and not colon:
        print(f"--auth {auth!r}: expected USER:PASSWORD", file=sys.stderr)
        return 2
    settings = SandboxSettings(
        port=port,
        host=host,
        flavour=flavour,
        step_seconds=step_seconds,
        load_seconds=load_seconds,
        encode_seconds=encode_seconds,
        start_seconds=start_seconds,
        auth=(user, password) if auth is not None else None,
        sparse_config=sparse_config,
        stock_pictures=stock_pictures,
        server_stop=server_stop,
        request_log=request_log,
    )
    disk = Catalog.model_validate_json(catalog.read_text(encoding="utf-8")) if catalog else None
    done = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: done.set())
    try:
        with run_sandbox(settings, catalog=disk) as sandbox:
            print(sandbox.url, flush=True)
            while not done.wait(0.5):
                pass
    except OSError as error:
        print(f"cannot listen on {host}:{port}: {error.strerror or error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(app())
