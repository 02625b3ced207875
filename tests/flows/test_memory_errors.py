"""`--on-memory-error smaller`: once more in a smaller batch or with smaller tiles, and the result says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stableflows.sandbox import Fault, Sandbox, run_sandbox
from tests.flows.conftest import RunningServer
from tests.flows.ran import Ran, run_command, stage_of

PACK = """
config:
  checkpoint: sandbox_base_v1
  txt2img: {enabled: true, width: 64, height: 64, steps: 2, batch_size: 2}
  upscale: {enabled: true, upscaler: R-ESRGAN 4x+}
entries:
  - {name: two, prompt: a harbour, count: 2, seed: 5}
"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with run_sandbox() as sandbox:
        yield sandbox


def render(sandbox: Sandbox, prefect: RunningServer, root: Path, *arguments: str) -> Ran:
    (root / "pack.yaml").write_text(PACK.replace("seed: 5", "config: {txt2img: {seed: 5}}"))
    return run_command(
        *(str(root / "pack.yaml"), "--json", "--server", sandbox.url, *arguments),
        root=root / "out",
        prefect=prefect,
    )


def test_without_it_the_entry_fails_and_is_sent_once(
    sandbox: Sandbox, running_server: RunningServer, tmp_path: Path
) -> None:
    sandbox.arm(Fault(kind="oom", path="/sdapi/v1/txt2img"))
    ran = render(sandbox, running_server, tmp_path)
    assert ran.statuses == ["error"]
    assert len(sandbox.generating()) == 1


def test_a_batch_is_made_one_by_one(sandbox: Sandbox, running_server: RunningServer, tmp_path: Path) -> None:
    sandbox.arm(Fault(kind="oom", path="/sdapi/v1/txt2img"))
    ran = render(sandbox, running_server, tmp_path, "--on-memory-error", "smaller")
    assert ran.statuses == ["ok"]
    drawn = [request.body for request in sandbox.generating() if stage_of(request) == "txt2img"]
    assert [(body["batch_size"], body["seed"]) for body in drawn] == [(2, 5), (1, 5), (1, 6)]
    assert [image["seed"] for image in ran.results[0]["images"]] == [5, 6]
    assert "out of memory with 2 images at once; made one by one" in str(ran.results[0]["result"]["warnings"])


def test_an_upscale_is_made_with_smaller_tiles(
    sandbox: Sandbox, running_server: RunningServer, tmp_path: Path
) -> None:
    sandbox.arm(Fault(kind="oom", path="/sdapi/v1/extra-single-image"))
    tiles = "--set", "upscale.tile_size=256"
    ran = render(sandbox, running_server, tmp_path, "--on-memory-error", "smaller", *tiles)
    assert ran.statuses == ["ok"]
    posted = [e.body for e in sandbox.log if (e.method, e.path) == ("POST", "/sdapi/v1/options")]
    assert [body["ESRGAN_tile"] for body in posted if "ESRGAN_tile" in body][:2] == [256, 128]
    assert "made with tiles of 128 pixels" in str(ran.results[0]["result"]["warnings"])


def test_what_cannot_be_smaller_fails(
    sandbox: Sandbox, running_server: RunningServer, tmp_path: Path
) -> None:
    sandbox.arm(Fault(kind="oom", path="/sdapi/v1/txt2img", times=2))
    ran = render(
        sandbox, running_server, tmp_path, "--on-memory-error", "smaller", "--set", "txt2img.batch_size=1"
    )
    assert ran.statuses == ["error"]
    assert "memory" in ran.results[0]["error"]
