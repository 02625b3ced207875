"""The sandbox: an embedded server that speaks a WebUI's HTTP contract and draws instead of diffusing.

It is as unforgiving, and as silently forgiving, as the recorded servers (see ``docs/fidelity.md``)::

    with run_sandbox(SandboxSettings(step_seconds=0.01)) as sandbox:
        httpx.post(sandbox.url + "/sdapi/v1/txt2img", json={"prompt": "a lighthouse"})
        assert len(sandbox.generating()) == 1

``python -m stableflows.sandbox --port N`` runs it as a process of its own, with the same control over HTTP
below ``/__sandbox__/``.
"""

from stableflows.sandbox.catalog import Catalog, Checkpoint, Embedding, Lora, Style, Vae
from stableflows.sandbox.faults import Fault
from stableflows.sandbox.log import LoggedRequest
from stableflows.sandbox.server import Sandbox, run_sandbox
from stableflows.sandbox.settings import SandboxSettings

__all__ = [
    "Catalog",
    "Checkpoint",
    "Embedding",
    "Fault",
    "LoggedRequest",
    "Lora",
    "Sandbox",
    "SandboxSettings",
    "Style",
    "Vae",
    "run_sandbox",
]
