"""Nothing is rendered twice: what counts as the same call, and what a hit is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stableflows.sandbox import Sandbox, SandboxSettings, run_sandbox
from tests.flows.conftest import RunningServer
from tests.flows.ran import Ran, run_command, stage_of, task_runs

PACK = """
config:
  checkpoint: sandbox_base_v1
  txt2img: {enabled: true, width: 64, height: 64, steps: 2}
  upscale: {enabled: true}
entries:
  - {name: one, prompt: a lighthouse}
  - {name: two, prompt: a harbour, count: 2}
"""
WITH_LORA = PACK.replace("a lighthouse", "a lighthouse <lora:ink_wash:0.8>")


class Twice:
    """Runs packs at one sandbox, into one output root, and tells what each run sent."""

    def __init__(self, prefect: RunningServer, sandbox: Sandbox, folder: Path) -> None:
        self.prefect, self.sandbox, self.folder = prefect, sandbox, folder

    def __call__(
        self, pack: str, *arguments: str, out: str = "out", name: str = "pack.yaml", url: str = ""
    ) -> tuple[Ran, list[str]]:
        """The run, and the stages that it sent, without the tiny picture that asks for hashes."""
        (self.folder / name).write_text(pack)
        before = len(self.sandbox.generating())
        ran = run_command(
            *(str(self.folder / name), "--json", "--server", url or self.sandbox.url, *arguments),
            root=self.folder / out,
            prefect=self.prefect,
        )
        assert ran.code == 0, ran.err
        sent = self.sandbox.generating()[before:]
        return ran, [
            stage_of(request) for request in sent if "stableflows" not in request.body.get("prompt", "")
        ]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with run_sandbox(SandboxSettings(knows_hashes=True)) as sandbox:
        yield sandbox


@pytest.fixture
def run(running_server: RunningServer, sandbox: Sandbox, tmp_path: Path) -> Twice:
    return Twice(running_server, sandbox, tmp_path)


ALL = ["txt2img"] * 3 + ["upscale"] * 3


def test_the_same_again_takes_no_request_and_gives_the_same_bytes(run: Twice) -> None:
    first, sent = run(PACK)
    assert sorted(sent) == ALL
    again, sent = run(PACK, name="renamed.yaml")
    assert sent == []
    assert list(again.pictures.values()) == list(first.pictures.values())
    assert {state for _, state in task_runs(run.prefect, again.history[-1].flow_run_ids[0])} == {
        "Cached",
        "Completed",  # preflight
    }
    assert again.manifest["totals"]["calls_cached"] == 6
    for path in again.pictures:
        assert (again.folder.path / path).stat().st_nlink == 3  # both runs and the store share it


def test_a_deleted_folder_is_restored_without_a_request(run: Twice) -> None:
    first, _ = run(PACK)
    pictures = first.pictures
    shutil.rmtree(first.folder.path)
    again, sent = run(PACK)
    assert sent == []
    assert list(again.pictures.values()) == list(pictures.values())


def test_a_moved_output_root_and_another_server_with_the_same_files_hit(run: Twice) -> None:
    run(PACK)
    shutil.move(run.folder / "out", run.folder / "moved")
    with run_sandbox(SandboxSettings(knows_hashes=True)) as other:
        _, sent = run(PACK, out="moved", url=other.url)
        assert sent == []
        assert other.generating() == []


@pytest.mark.parametrize(
    ("setting", "sent"),
    [
        ("upscale.factor=1.5", ["upscale"] * 3),
        ("upscale.upscaler=Lanczos", ["upscale"] * 3),
        ("txt2img.sampler=Heun", ALL),
        ("txt2img.width=72", ALL),
    ],
)
def test_another_setting_renders_what_it_changes(run: Twice, setting: str, sent: list[str]) -> None:
    run(PACK, "--set", "upscale.upscaler=Nearest")
    _, made = run(PACK, "--set", "upscale.upscaler=Nearest", "--set", setting)
    assert sorted(made) == sent


def test_three_entries_more_render_three(run: Twice) -> None:
    run(PACK)
    more = "".join(f"  - {{prompt: something new {number}}}\n" for number in range(3))
    _, sent = run(PACK + more)
    assert sorted(sent) == ALL


def test_fresh_renders_again(run: Twice) -> None:
    first, _ = run(PACK)
    again, sent = run(PACK, "--fresh")
    assert sorted(sent) == ALL
    assert list(again.pictures.values()) == list(first.pictures.values())


def test_equal_calls_of_one_run_share_a_request(run: Twice) -> None:
    same = PACK + "  - {name: twin, prompt: a lighthouse}\n"
    ran, sent = run(same, "--fresh")
    assert sorted(sent) == ALL
    assert ran.results[0]["images"][0]["sha256"] == ran.results[2]["images"][0]["sha256"]
    assert ran.results[0]["images"][0]["path"] != ran.results[2]["images"][0]["path"]


@pytest.mark.parametrize("spoil", ["gone", "changed", "shorter"])
def test_a_damaged_image_is_rendered_again_and_said(run: Twice, spoil: str) -> None:
    first, _ = run(PACK)
    shutil.rmtree(first.folder.path)
    victim = sorted((run.folder / "out" / "store" / "images").rglob("*.png"))[0]
    data = victim.read_bytes()
    if spoil == "gone":
        victim.unlink()
    else:
        victim.write_bytes(data[:-1] + (b"" if spoil == "shorter" else b"!"))
    ran, sent = run(PACK)
    assert len(sent) == 1
    assert victim.read_bytes() == data
    assert any("made again: store image" in text for row in ran.results for text in row["result"]["warnings"])


def replaced(sandbox: Sandbox, kind: str, name: str) -> None:
    """Put another, newer file in the place of one."""
    files = [
        file.model_copy(update={"sha256": "f" * 64, "mtime": file.mtime + 10}) if file.name == name else file
        for file in getattr(sandbox.catalog, kind)
    ]
    sandbox.set_catalog(sandbox.catalog.model_copy(update={kind: tuple(files)}))


@pytest.mark.parametrize(("kind", "name"), [("checkpoints", "sandbox_base_v1"), ("loras", "ink_wash")])
def test_another_file_under_the_same_name_misses(run: Twice, kind: str, name: str) -> None:
    run(WITH_LORA)
    replaced(run.sandbox, kind, name)
    run.sandbox.restart()
    run.sandbox.wait()
    _, sent = run(WITH_LORA)
    assert sorted(sent) == (ALL if kind == "checkpoints" else ["txt2img", "upscale"])


def test_a_renamed_checkpoint_hits(run: Twice) -> None:
    run(PACK)
    files = tuple(
        file.model_copy(update={"name": "renamed"}) if file.name == "sandbox_base_v1" else file
        for file in run.sandbox.catalog.checkpoints
    )
    renamed = run.sandbox.catalog.model_copy(update={"checkpoints": files})
    with run_sandbox(SandboxSettings(knows_hashes=True), catalog=renamed) as other:
        run(PACK.replace("sandbox_base_v1", "renamed"), url=other.url)
        assert other.generating() == []


def test_a_server_option_that_changes_pixels_misses(run: Twice) -> None:
    run(PACK)
    run.sandbox.set_options(randn_source="CPU")
    _, sent = run(PACK)
    assert sorted(sent) == ALL


def test_a_lora_is_told_by_its_hash(run: Twice) -> None:
    run(WITH_LORA)
    _, sent = run(WITH_LORA)
    assert sent == []
    _, sent = run(WITH_LORA.replace("0.8", "0.7"))
    assert sorted(sent) == ["txt2img", "upscale"]


def test_a_plan_says_how_many_are_there(run: Twice) -> None:
    run(PACK)
    run.folder.joinpath("pack.yaml").write_text(PACK + "  - {prompt: something new}\n")
    planned = run_command(
        *(str(run.folder / "pack.yaml"), "--plan", "--json", "--server", run.sandbox.url),
        root=run.folder / "out",
    )
    assert planned.code == 0
    assert len(planned.printed["hits"]) == 6
    assert "6 of 8 requests are in the store" in planned.printed["checked"]
