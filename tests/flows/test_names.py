"""Names of finished images by a template, from the command line and from a pack."""

from __future__ import annotations

from pathlib import Path

from stableflows.errors import ExitCode
from stableflows.sandbox import run_sandbox
from tests.flows.conftest import RunningServer
from tests.flows.ran import run_command

PACK = """
id: Night Boats
config: {txt2img: {enabled: true, width: 64, height: 64, steps: 2}, names: "{pack}/{entry:03}-{hull}-{index}"}
entries:
  - {prompt: "a ${hull=!{red|blue}}${hull} boat", count: 2}
  - {prompt: a harbour, config: {txt2img: {seed: 7}, names: "last/{seed}"}}
"""


def test_a_template_of_pack_and_entry(tmp_path: Path, running_server: RunningServer) -> None:
    pack = tmp_path / "boats.yaml"
    pack.write_text(PACK)
    with run_sandbox() as sandbox:
        done = run_command(str(pack), "--server", sandbox.url, root=tmp_path / "out", prefect=running_server)
        images = [str(done.folder.path / row["path"]) for row in done.table]
        again = run_command(
            "--from", *images, "--server", sandbox.url, root=tmp_path / "out", prefect=running_server
        )
    assert done.code == ExitCode.OK, done.err
    paths = [row["path"] for row in done.table]
    assert paths[2] == "last/7-0002.png"
    assert paths[0].startswith("night-boats/001-")
    assert paths[0].endswith("-1.png")
    assert all((done.folder.path / path).is_file() for path in paths)
    assert paths[0].split("-")[2] in ("red", "blue")
    assert again.code == ExitCode.OK, again.err


def test_a_field_that_there_is_not_is_refused_with_its_place(tmp_path: Path) -> None:
    pack = tmp_path / "boats.yaml"
    pack.write_text(PACK.replace("{hull}-", "{hul}-"))
    refused = run_command(str(pack), "--plan", root=tmp_path / "out")
    assert refused.code == ExitCode.BAD_INPUT
    assert refused.err == f"{pack}:3: config.names: there is no field 'hul' for names. Did you mean 'hull'?\n"


def test_a_template_of_the_command_line_stays_in_the_folder(tmp_path: Path) -> None:
    refused = run_command("--prompt", "a", "--set", "names=../{entry}", "--plan", root=tmp_path / "out")
    assert refused.code == ExitCode.BAD_INPUT
    assert refused.err == "--set names: '../{entry}': a name must not begin with '.'.\n"
