"""Every way in which a WebUI says 200 and does something else ends as the right error of the right entry.

The server is armed against the second of three entries (or asked for what it drops in silence); the other
two must be rendered, and the failed entry must say what happened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stableflows.errors import ExitCode
from stableflows.sandbox import Catalog, Checkpoint, Fault, Sandbox, SandboxSettings, run_sandbox
from tests.flows.conftest import RunningServer
from tests.flows.ran import Ran, run_command

PACK = """\
config:
  txt2img: {{width: 64, height: 64, steps: 2, checkpoint: {checkpoint}{txt2img}}}
{config}
entries: [a cat, a dog, a bird]
"""

QUICK = {"step_seconds": 0.0, "load_seconds": 0.0}


def render(
    sandbox: Sandbox,
    root: Path,
    prefect: RunningServer,
    *,
    config: str = "",
    txt2img: str = "",
    checkpoint: str = "sandbox_base_v1",
) -> Ran:
    pack = root / "pack.yaml"
    pack.write_text(PACK.format(config=config, txt2img=txt2img, checkpoint=checkpoint))
    return run_command(str(pack), "--server", sandbox.url, "--json", root=root / "out", prefect=prefect)


def failed_kinds(ran: Ran) -> dict[int, str | None]:
    return {call.entry: call.error_kind for call in ran.calls if call.status == "error"}


ADETAILER = "  adetailer: {enabled: true, units: [{ad_model: face_yolov8n.pt}]}"
UPSCALE = "  upscale: {enabled: true, upscaler: Lanczos}"


@pytest.mark.parametrize(
    ("fault", "kind", "said", "config"),
    [
        ({"kind": "wrong_checkpoint"}, "Mismatch", "checkpoint: asked for sandbox_base_v1", ""),
        ({"kind": "wrong_size"}, "Mismatch", "size: asked for 64x64", ""),
        ({"kind": "fewer_images"}, "FewerImages", "image", ""),
        ({"kind": "oom"}, "OutOfMemory", "out of memory", ""),
        ({"kind": "nan"}, "NansError", "NaN", ""),
        (
            {"kind": "swallowed_adetailer", "path": "/sdapi/v1/img2img"},
            "Mismatch",
            "ADetailer",
            ADETAILER,
        ),
        ({"kind": "wrong_size", "path": "/sdapi/v1/extra-single-image"}, "Mismatch", "size", UPSCALE),
    ],
    ids=lambda value: value.get("kind") if isinstance(value, dict) else None,
)
def test_an_armed_fault_costs_its_entry_alone(
    fault: dict[str, Any],
    kind: str,
    said: str,
    config: str,
    tmp_path: Path,
    running_server: RunningServer,
) -> None:
    with run_sandbox(SandboxSettings.model_validate(QUICK)) as sandbox:
        sandbox.arm(Fault.model_validate({"at": 2, "times": 1, **fault}))
        ran = render(sandbox, tmp_path, running_server, config=config)
    assert ran.code == ExitCode.ENTRIES_FAILED
    assert ran.statuses == ["ok", "error", "ok"]
    assert failed_kinds(ran) == {1: kind}
    (error,) = [call.error for call in ran.calls if call.error]
    assert said in error
    assert sandbox.url in error
    # What disagrees is never sent again: it would disagree again.
    assert [call.attempts for call in ran.calls if call.status == "error"] == [1]


@pytest.mark.parametrize("kind", ["reset", "truncated", "broken_image", "status"])
def test_what_may_pass_is_tried_again(kind: str, tmp_path: Path, running_server: RunningServer) -> None:
    with run_sandbox(SandboxSettings.model_validate(QUICK)) as sandbox:
        sandbox.arm(Fault.model_validate({"at": 2, "times": 1, "kind": kind}))
        ran = render(sandbox, tmp_path, running_server)
    assert ran.code == ExitCode.OK
    assert ran.statuses == ["ok", "ok", "ok"]
    assert sum(call.attempts for call in ran.calls) == 3 + 1


def test_a_partial_image_of_somebody_elses_interrupt_is_the_limit(
    tmp_path: Path, running_server: RunningServer
) -> None:
    """A foreign interrupt leaves no mark in the answer: the docs say so, and so does this test."""
    with run_sandbox(SandboxSettings.model_validate(QUICK)) as sandbox:
        sandbox.arm(Fault.model_validate({"at": 2, "times": 1, "kind": "partial"}))
        ran = render(sandbox, tmp_path, running_server)
    assert ran.statuses == ["ok", "ok", "ok"]


@pytest.mark.parametrize(
    ("txt2img", "said"),
    [
        (", sampler: Eulr", "the server has no sampler 'Eulr'. Did you mean 'Euler'"),
        (", sampler: euler a", "the server has no sampler 'euler a'. Did you mean 'Euler a'"),
        (", scheduler: Karas", "the server has no scheduler 'Karas'. Did you mean 'Karras'"),
        (", vae: sandbox_vae", "a VAE is named with its extension"),
        (
            ", prompt: 'x <lora:film_grian:1>'",
            "the server has no LoRA 'film_grian'. Did you mean 'film_grain'",
        ),
        (", prompt: 'x <lora:film_grain:abc>'", "would drop all LoRAs"),
        (", prompt: 'x <LORA:film_grain:1>'", "take it out silently"),
        (
            ", prompt: 'x <embedding:sharp_bs>'",
            "the server has no embedding 'sharp_bs'. Did you mean 'sharp_sb'",
        ),
        (", prompt: 'x <embedding:wide_sb>'", "does not fit the loaded checkpoint"),
        (", styles: [nope]", "the server has no style 'nope'"),
        (
            ", hires: {enabled: true, upscaler: Lanczs}",
            "no upscaler for hires 'Lanczs'. Did you mean 'Lanczos'",
        ),
        (", refiner: {enabled: true, checkpoint: nope}", "the server has no checkpoint 'nope'"),
        (", override_settings: {eta_noise_seed_dleta: 1}", "Did you mean 'eta_noise_seed_delta'"),
        (", alwayson_scripts: {ControlNt: {args: []}}", "no always-on script 'ControlNt'"),
    ],
)
def test_what_the_server_would_ignore_is_refused_before_anything_is_sent(
    txt2img: str, said: str, tmp_path: Path, running_server: RunningServer
) -> None:
    with run_sandbox(SandboxSettings.model_validate(QUICK)) as sandbox:
        ran = render(sandbox, tmp_path, running_server, txt2img=txt2img)
        assert sandbox.generating() == []
    assert ran.code == ExitCode.BAD_INPUT
    assert said in ran.printed["error"]
    assert f"{tmp_path / 'pack.yaml'}" in ran.printed["error"]
    (line,) = ran.history
    assert (line.status.value, line.result) == ("FAILED", None)


def test_an_embedding_for_another_checkpoint_than_the_loaded_one_is_a_warning(
    tmp_path: Path, running_server: RunningServer
) -> None:
    with run_sandbox(SandboxSettings.model_validate(QUICK)) as sandbox:
        ran = render(
            sandbox,
            tmp_path,
            running_server,
            txt2img=", prompt: 'x <embedding:wide_sb>'",
            checkpoint="sandbox_anime_xl",
        )
    assert ran.code == ExitCode.OK
    assert "the embedding 'wide_sb' does not fit the loaded checkpoint" in ran.err


def test_all_unknown_names_are_told_at_once(tmp_path: Path, running_server: RunningServer) -> None:
    with run_sandbox(SandboxSettings.model_validate(QUICK)) as sandbox:
        ran = render(
            sandbox,
            tmp_path,
            running_server,
            txt2img=", sampler: Eulr, scheduler: Karas",
            checkpoint="sandbox_base_v2",
            config="  adetailer: {enabled: true, units: [{ad_model: face_yolov8x.pt}]}",
        )
    assert ran.code == ExitCode.BAD_INPUT
    for name in ("Eulr", "Karas", "sandbox_base_v2", "face_yolov8x.pt"):
        assert repr(name) in ran.printed["error"]


def test_a_checkpoint_that_does_not_load_fails_its_calls_and_the_server_is_healed(
    tmp_path: Path, running_server: RunningServer
) -> None:
    pack = tmp_path / "pack.yaml"
    pack.write_text(
        "config: {txt2img: {width: 64, height: 64, steps: 2, checkpoint: sandbox_base_v1}}\n"
        "entries:\n"
        "  - a cat\n"
        "  - {prompt: a dog, config: {txt2img: {checkpoint: sandbox_broken}}}\n"
        "  - {prompt: a horse, config: {txt2img: {checkpoint: sandbox_broken}}}\n"
        "  - {prompt: a mule, config: {txt2img: {checkpoint: sandbox_broken}}}\n"
        "  - a bird\n"
    )
    with run_sandbox(SandboxSettings.model_validate(QUICK)) as sandbox:
        sandbox.restart(catalog=_with_broken_checkpoint())
        ran = run_command(
            str(pack), "--server", sandbox.url, "--json", root=tmp_path / "out", prefect=running_server
        )
        asked = [entry.body["override_settings"]["sd_model_checkpoint"] for entry in sandbox.generating()]
        assert not sandbox.webui.weights.poisoned
    assert ran.statuses == ["ok", "error", "error", "error", "ok"]
    assert failed_kinds(ran) == dict.fromkeys((1, 2, 3), "CheckpointLoadFailed")
    assert asked[:2] == ["sandbox_base_v1"] * 2
    # Of its three calls two were at the server; the third is not sent: it would break the server again.
    assert asked[2:] in (["sandbox_broken"], ["sandbox_broken"] * 2)


def _with_broken_checkpoint() -> Catalog:

    catalog = Catalog()
    broken = Checkpoint(name="sandbox_broken", defect="unreadable")
    return catalog.model_copy(update={"checkpoints": (*catalog.checkpoints, broken)})
