"""What is wrong with packs and options is told in one clear message, before anything is started for it.

None of these commands has a Prefect API: one that asked for it would end with code 3.
"""

from pathlib import Path

import pytest
from PIL import Image

from stableflows.sandbox import run_sandbox
from tests.flows.ran import Ran, run_command

GOOD = "entries: [a lighthouse]\n"

BAD_PACKS: dict[str, tuple[bytes, str]] = {
    "unknown key": (
        b"config: {txt2img: {stepz: 3}}\nentries: [a]\n",
        "{pack}:1: config.txt2img.stepz: there is no setting 'stepz' here. Did you mean 'steps'?",
    ),
    "unknown key of an entry": (
        b"entries:\n- a\n- {promt: b}\n",
        "{pack}:3: entries.1.promt: there is no setting 'promt' here. Did you mean 'prompt' or 'prompts'?",
    ),
    "wrong type": (
        b"config: {txt2img: {steps: many}}\nentries: [a]\n",
        "{pack}:1: config.txt2img.steps: should be a valid integer",
    ),
    "out of range": (
        b"entries:\n- prompt: a\n  config:\n    txt2img:\n      steps: 999\n",
        "{pack}:5: entries.0.config.txt2img.steps: should be less than or equal to 150 (it is 999).",
    ),
    "empty file": (b"", "{pack}: is empty."),
    "no entries": (b"entries: []\n", "{pack}:1: entries: is empty; a pack has at least one entry."),
    "UTF-16": (GOOD.encode("utf-16"), "{pack}: is UTF-16, not UTF-8. Save it as UTF-8"),
    "Latin-1": ("entries: [café]\n".encode("latin-1"), "{pack}:1: is not UTF-8: byte 13 is 0xe9. Save it"),
    "no YAML": (b"entries: [a\n", "{pack}:"),
    "no stage": (
        b"config: {txt2img: {enabled: false}}\nentries: [a]\n",
        "no stage is enabled, so there is nothing to render",
    ),
    "ADetailer alone": (
        b"config: {txt2img: {enabled: false}, adetailer: {enabled: true}}\nentries: [a]\n",
        "{pack}:2: entries.0: ADetailer requires at least one generation stage (txt2img or img2img).",
    ),
    "ADetailer beside its stage": (
        b"config: {adetailer: {enabled: true, alwayson_scripts: {adetailer: {args: [{}]}}}}\nentries: [a]\n",
        "{pack}:1: config.adetailer.alwayson_scripts: the stage makes ADetailer's arguments",
    ),
    "img2img without an image": (
        b"config: {txt2img: {enabled: false}, img2img: {enabled: true}}\nentries: [a]\n",
        "{pack}:2: entries.0: the first stage is img2img, which continues images, and there are none",
    ),
    "missing mask": (
        b"config: {img2img: {enabled: true, mask: mask.png}}\nentries: [a]\n",
        "{pack}:1: config.img2img.mask: there is no file mask.png. The folder . has: pack.yaml",
    ),
    "mask that is none": (
        b"config: {img2img: {enabled: true, mask: pack.yaml}}\nentries: [a]\n",
        "is no PNG, JPEG or WebP image",
    ),
}


def refused(ran: Ran, code: int = 2) -> str:
    """The message of a command that refused what it got, without a trace of having tried."""
    assert (ran.code, ran.out) == (code, "")
    assert "Traceback" not in ran.err
    assert ran.err.endswith("\n")
    assert not ran.root.exists()
    return ran.err.rstrip("\n")


@pytest.mark.parametrize("name", BAD_PACKS)
def test_a_pack_that_cannot_be_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content, expected = BAD_PACKS[name]
    Path("pack.yaml").write_bytes(content)
    message = refused(run_command("pack.yaml", root=tmp_path / "out"))
    assert expected.format(pack="pack.yaml") in message
    assert "\n" not in message


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pack.yaml").write_text(
        "config: {txt2img: {stepz: 3, cfg_scale: -1}}\n"
        "entries:\n"
        "- {prompt: a, config: {txt2img: {width: wide}}}\n"
        "- {prompt: b, config: {upscale: {enabled: true, factor: 99}}}\n"
    )
    lines = refused(run_command("pack.yaml", root=tmp_path / "out")).splitlines()
    assert sorted(line.split(" ")[1] for line in lines) == [
        "config.txt2img.cfg_scale:",
        "config.txt2img.stepz:",
        "entries.0.config.txt2img.width:",
        "entries.1.config.upscale.factor:",
    ]


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    pack = tmp_path / "pack.yaml"
    pack.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    planned = run_command(str(pack), "--plan", "--json", root=tmp_path / "out")
    assert planned.code == 0
    assert [entry["prompt"] for entry in planned.printed["entries"]] == ["a lighthouse"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to render: name a pack, or give --prompt or --input."),
        (["pakc.yaml"], "there is no file pakc.yaml. Did you mean pack.yaml?"),
        (["pack.yaml", "--prompt", "x"], "--prompt: give packs or a prompt, not both."),
        (["--prompt", ""], "the prompt is empty"),
        (["--prompt", "x", "--stages", "txt2im"], "there is no stage 'txt2im'. Did you mean 'txt2img'"),
        (["--prompt", "x", "--stages", ""], "no stage is enabled"),
        (["--prompt", "x", "--count", "0"], "count: should be greater than or equal to 1 (it is 0)."),
        (["--prompt", "x", "--seed", "4294967296"], "seed: should be less than or equal to 4294967295"),
        (["--prompt", "x", "--set", "txt2img.stepz=3"], "--set txt2img.stepz: there is no setting 'stepz'"),
        (["--prompt", "x", "--set", "txt2img.steps=x"], "--set txt2img.steps: should be a valid integer"),
        (["--prompt", "x", "--set", "txt2img.steps"], "write it as FIELD=VALUE"),
        (["--prompt", "x", "--set", "=3"], "write it as FIELD=VALUE"),
        (["--prompt", "x", "--server", ""], "--server: is empty"),
        (["--prompt", "x", "--server", "ftp://x"], "--server: 'ftp://x' is no server's URL"),
        (["--prompt", "x", "--server", "http://someone:word@x"], "--server: a password in a URL would be"),
        (["--stages", "upscale", "--input", "gone.png"], "there is no file"),
        (["--stages", "upscale", "--input", "pack.yaml"], "is no PNG, JPEG or WebP image"),
        (["--stages", "upscale", "--input", "half.png"], "is a broken image"),
        (["--stages", "upscale", "--prompt", "x"], "the first stage is upscale, which continues images"),
        (["--prompt", "x", "--input", "whole.png", "--stages", "txt2img"], "txt2img, which takes none"),
        (["--again"], "there is no earlier run in"),
        (["--again", "pack.yaml"], "--again takes the job as it was"),
    ],
)
def test_options_that_cannot_be_run(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pack.yaml").write_text(GOOD)
    Image.radial_gradient("L").save("whole.png")
    Path("half.png").write_bytes(Path("whole.png").read_bytes()[:4000])
    said = refused(run_command(*arguments, root=tmp_path / "out"))
    assert message in said
    assert "\n" not in said


@pytest.mark.parametrize("arguments", [["--frobnicate"], ["--prompt", "x", "--count", "many"], ["--prompt"]])
def test_a_command_line_that_is_none(arguments: list[str], tmp_path: Path) -> None:
    ran = run_command(*arguments, root=tmp_path / "out")
    assert ran.code == 2
    assert "Traceback" not in ran.out + ran.err
    assert arguments[-1].lstrip("-") in ran.out + ran.err
    assert not ran.root.exists()


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_an_output_folder_that_cannot_be_written(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with run_sandbox() as sandbox:
        ran = run_command("--prompt", "x", "--server", sandbox.url, root=tmp_path / place)
        assert sandbox.log == []
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"The output folder {tmp_path / place} cannot be written: ")
    assert ran.err.endswith("Name another with --out DIR.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_json_says_it_too(tmp_path: Path) -> None:
    ran = run_command("--prompt", "x", "--stages", "nonsense", "--json", root=tmp_path / "out")
    assert ran.code == 2
    assert list(ran.printed) == ["error"]
    assert ran.printed["error"] == ran.err.rstrip("\n")


@pytest.mark.parametrize(("option", "value"), [("--seed", "1.5"), ("--count", "1.4"), ("--seed", "1e3")])
def test_a_number_is_taken_as_written_or_refused(option: str, value: str, tmp_path: Path) -> None:
    """The command line's library would round it."""
    ran = run_command("--prompt", "a cat", option, value, "--plan", root=tmp_path)
    assert ran.code == 2
    assert f"{value!r} is no whole number" in ran.out + ran.err
