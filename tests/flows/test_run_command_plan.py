"""What `--plan` prints is what runs, to the count; and it costs no import of what it does not need."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stableflows.sandbox import LoggedRequest, run_sandbox
from tests.flows.conftest import RunningServer
from tests.flows.ran import Ran, run_command, stage_of

pytestmark = pytest.mark.xdist_group("plan")  # the demo is rendered once

DEMO = str(Path(__file__).parents[2] / "packs" / "demo.yaml")


@dataclass(frozen=True)
class Demo:
    """The demo pack, planned and then rendered."""

    plan: dict[str, Any]
    ran: Ran
    requests: list[LoggedRequest]


@pytest.fixture(scope="module")
def demo(running_server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    root = tmp_path_factory.mktemp("demo")
    with run_sandbox() as sandbox:
        planned = run_command(DEMO, "--plan", "--json", "--server", sandbox.url, root=root)
        assert planned.code == 0
        assert sandbox.generating() == []
        ran = run_command(DEMO, "--json", "--server", sandbox.url, root=root, prefect=running_server)
        assert ran.code == 0
        yield Demo(planned.printed, ran, sandbox.generating())


def test_the_plan_says_what_a_person_wants_to_know(demo: Demo) -> None:
    assert demo.plan["total_entries"] == 8
    assert demo.plan["total_images"] == 9
    assert demo.plan["checkpoints"] == ["sandbox_base_v1", "sandbox_portrait_v2"]
    assert demo.plan["checked"].startswith("checked: ")
    dunes = demo.plan["entries"][3]
    assert dunes["stages"] == ["txt2img", "upscale"]
    assert dunes["checkpoints"] == ["sandbox_base_v1", "sandbox_portrait_v2"]
    assert dunes["seed"] == {"value": 20260, "how": "fixed"}
    assert dunes["size"] == [1024, 1024]
    assert demo.plan["entries"][0]["seed"]["how"] == "derived"


def test_the_run_makes_exactly_the_requests_of_the_plan(demo: Demo) -> None:
    calls = demo.plan["calls"]
    assert demo.plan["total_requests"] == len(calls) == len(demo.requests)
    # Calls of one group may overtake each other, and what is loaded first depends on the server.
    stages = Counter(stage_of(request) for request in demo.requests)
    assert Counter(call["stage_type"] for call in calls) == stages
    assert {stage_of(request) for request in demo.requests} == {"txt2img", "img2img", "upscale", "adetailer"}
    planned = Counter(
        (call["n"], demo.plan["entries"][call["entry"]]["seed"]["value"] + call["index"])
        for call in calls
        if call["stage_type"] != "upscale"  # through extras, which has neither
    )
    sent = [request.body for request in demo.requests if stage_of(request) != "upscale"]
    assert Counter((body["batch_size"], body["seed"]) for body in sent) == planned


def test_the_images_are_as_many_and_as_large_as_planned(demo: Demo) -> None:
    for planned, result in zip(demo.plan["entries"], demo.ran.results, strict=True):
        assert result["status"] == "ok"
        assert result["image_count"] == planned["images"]
        assert {(image["width"], image["height"]) for image in result["images"]} == {tuple(planned["size"])}
        seeds = [image["seed"] for image in result["images"]]
        assert seeds == list(range(planned["seed"]["value"], planned["seed"]["value"] + planned["images"]))


def test_every_setting_that_the_pack_turns_on_is_requested(demo: Demo) -> None:
    """The demo is to use every stage, hires, a refiner, two units and two checkpoints."""
    bodies = [request.body for request in demo.requests]
    assert sum("enable_hr" in body for body in bodies) == 3
    assert sum("refiner_checkpoint" in body for body in bodies) == 1
    units = [
        body["alwayson_scripts"]["ADetailer"]["args"][2:] for body in bodies if "alwayson_scripts" in body
    ]
    assert sorted(len(unit) for unit in units) == [1, 2]
    asked = {body["override_settings"]["sd_model_checkpoint"] for body in bodies if "prompt" in body}
    assert asked == {"sandbox_base_v1", "sandbox_portrait_v2"}


def test_the_plan_for_people(tmp_path: Path) -> None:
    planned = run_command(DEMO, "--plan", root=tmp_path / "nothing")
    assert planned.code == 0
    text = " ".join(planned.out.split())  # its lines are as wide as the terminal
    assert (
        " 4 dunes txt2img [refiner] > upscale · 1024×1024 · sandbox_base_v1, sandbox_portrait_v2 · "
        "seed 20260 (fixed) · 2 requests, 1 image 5 ink " in text
    )
    assert "8 entries, 20 requests (9 txt2img, 7 upscale, 2 img2img, 2 adetailer), 9 images" in text
    assert planned.err == ""
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--help"], "--again"), ([DEMO, "--plan"], "8 entries"), ([DEMO, "--plan", "--json"], '"job_id"')],
)
def test_neither_help_nor_plan_imports_prefect_or_a_client(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    code = f"""
import runpy, sys
sys.argv[1:] = {arguments!r}
try:
    runpy.run_module("flows.run", run_name="__main__")
finally:
    heavy = {{"prefect", "httpx", "fastapi", "uvicorn", "starlette", "PIL"}} & set(sys.modules)
    sys.stderr.write(" ".join(sorted(heavy)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert said in done.stdout


def test_a_plan_is_unchecked_if_the_server_cannot_be_reached(tmp_path: Path) -> None:
    planned = run_command(DEMO, "--plan", "--json", "--server", "http://127.0.0.1:9", root=tmp_path)
    assert planned.code == 0
    assert planned.printed["checked"].startswith("unchecked: ")
    assert "127.0.0.1:9" in planned.printed["checked"]


def test_a_plan_asks_a_server_only_if_one_is_named(tmp_path: Path) -> None:
    with run_sandbox() as sandbox:
        assert run_command(DEMO, "--plan", "--json", root=tmp_path).printed["checked"] is None
        assert sandbox.log == []
        named = run_command(DEMO, "--plan", "--json", root=tmp_path, STABLEFLOWS_SERVER=sandbox.url)
        assert named.printed["checked"].startswith("checked: ")
        assert sandbox.log != []
        assert sandbox.generating() == []


def test_a_plan_with_a_name_that_the_server_does_not_have(tmp_path: Path) -> None:
    with run_sandbox() as sandbox:
        arguments = ["--prompt", "x", "--set", "txt2img.sampler=Eulr", "--plan", "--server", sandbox.url]
        planned = run_command(*arguments, root=tmp_path)
    assert planned.code == 2
    assert "'Euler'" in planned.err
    assert planned.out == ""
