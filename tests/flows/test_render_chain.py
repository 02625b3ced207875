"""Each stage continues what the stage before it made, byte for byte; the same job makes the same images."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from stableflows.sandbox import LoggedRequest, Sandbox, run_sandbox
from tests.flows.conftest import RunningServer
from tests.flows.ran import Ran, inputs_of, run_command, stage_of

pytestmark = pytest.mark.xdist_group("chain")  # the pack is rendered once

PACK = """
config:
  checkpoint: sandbox_base_v1
  txt2img: {enabled: true, width: 64, height: 64, steps: 2}
  img2img: {enabled: true, steps: 2}
  upscale: {enabled: true}
  adetailer: {enabled: true, steps: 2}
entries:
  - {name: one, prompt: portrait of a sailor}
  - {name: pair, prompt: portrait of a fisher, count: 2}
  - name: batch
    prompt: portrait of a captain
    count: 5
    config: {txt2img: {batch_size: 2}}
  - {name: drawn, prompt: portrait of a cook, config: {txt2img: {seed: -1}}}
"""
STAGES = ("txt2img", "img2img", "upscale", "adetailer")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with run_sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def rendered(
    running_server: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Ran, list[LoggedRequest]]:
    root = tmp_path_factory.mktemp("chain")
    pack = root / "crew.yaml"
    pack.write_text(PACK)
    with run_sandbox() as sandbox:
        ran = run_command(
            str(pack), "--json", "--server", sandbox.url, root=root / "out", prefect=running_server
        )
        assert ran.code == 0, ran.err
        return ran, sandbox.generating()


Rendered = tuple[Ran, list[LoggedRequest]]


def test_every_image_goes_through_every_stage_once(rendered: Rendered) -> None:
    ran, requests = rendered
    # 9 images; the third entry's are drawn in requests of 2, 2 and 1
    expected = {"txt2img": 1 + 2 + 3 + 1, "img2img": 9, "upscale": 9, "adetailer": 9}
    assert Counter(stage_of(request) for request in requests) == expected
    assert Counter(call.stage_type.value for call in ran.calls) == expected
    places = {call.call_id: place for place, call in enumerate(ran.calls)}
    for call in ran.folder.plan().calls:
        assert call.after is None or places[call.after] < places[call.call_id]


def test_an_image_is_finished_before_most_are_begun(rendered: Rendered) -> None:
    ran, _ = rendered
    stages = [call.stage_type.value for call in ran.calls]
    assert stages.index("adetailer") < 3 * len(STAGES)


def test_each_input_is_an_earlier_output_byte_for_byte(rendered: Rendered) -> None:
    """Of the very image that it continues: the nth of a stage goes into the nth of the next."""
    ran, requests = rendered
    records = {record.call_id: record for record in ran.calls}
    answers = {request.images: request for request in requests}
    for call in ran.folder.plan().calls:
        output = records[call.call_id].output
        assert output
        request = answers[tuple(image.sha256 for image in output.images)]
        if call.after is None:
            assert inputs_of(request) == []
            continue
        before = records[call.after]
        assert before.output
        source = before.output.images[call.index - before.index]
        assert inputs_of(request) == [source.sha256]
        on_disk = (ran.root / source.path).read_bytes()
        assert hashlib.sha256(on_disk).hexdigest() == source.sha256


def test_the_final_images_are_those_of_the_last_stage(rendered: Rendered) -> None:
    ran, requests = rendered
    last = {sha256 for request in requests if stage_of(request) == "adetailer" for sha256 in request.images}
    finals = [image for result in ran.results for image in result["images"]]
    assert {image["sha256"] for image in finals} == last
    assert len(finals) == 9
    assert {Path(image["path"]).parent.name for image in finals} == {ran.folder.name}
    in_between = [path for path in ran.pictures if path.startswith("stages/")]
    assert len(in_between) == 9 * 3
    assert len(ran.pictures) == 9 * 4


def test_every_entry_has_its_result(rendered: Rendered) -> None:
    ran, _ = rendered
    assert [result["entry"]["name"] for result in ran.results] == ["one", "pair", "batch", "drawn"]
    assert [result["image_count"] for result in ran.results] == [1, 2, 5, 1]
    assert {result["pipeline_mode"] for result in ran.results} == {"_then_".join(STAGES)}
    for result in ran.results:
        assert tuple(result["result"]["stages"]) == STAGES
        for outputs in result["result"]["stages"].values():
            assert sum(len(output["images"]) for output in outputs) == result["image_count"]


def test_the_seeds_count_up_and_stay_with_their_image(rendered: Rendered) -> None:
    ran, requests = rendered
    for result in ran.results:
        first = result["result"]["seeds"]["value"]
        assert [image["seed"] for image in result["images"]] == list(
            range(first, first + len(result["images"]))
        )
    batch = [request.body for request in requests if "captain" in request.body.get("prompt", "")]
    drawn = [body for body in batch if "init_images" not in body]
    first = ran.results[2]["result"]["seeds"]["value"]
    assert sorted((body["seed"], body["batch_size"]) for body in drawn) == [
        (first, 2),
        (first + 2, 2),
        (first + 4, 1),
    ]
    changed = [body["seed"] for body in batch if body.get("denoising_strength") == 0.75]
    assert sorted(changed) == [first, first + 1, first + 2, first + 3, first + 4]


def test_every_image_carries_the_servers_infotext(rendered: Rendered) -> None:
    ran, _ = rendered
    recorded = {
        image.path: image.infotext for call in ran.calls if call.output for image in call.output.images
    }
    assert len(recorded) == len(ran.pictures)
    for path, infotext in recorded.items():
        with Image.open(ran.root / path) as image:
            assert image.info["parameters"] == infotext
            assert "\nSteps: " in infotext
            assert ("postprocessing" in image.info) == ("-upscale-" in path)


def test_the_same_job_again_gives_the_same_bytes(
    rendered: Rendered, running_server: RunningServer, sandbox: Sandbox
) -> None:
    """Also at a server that was started since, and with what was drawn: --again draws nothing anew."""
    first, first_requests = rendered
    again = run_command(
        *("--again", "--fresh", "--json", "--server", sandbox.url), root=first.root, prefect=running_server
    )
    assert again.code == 0, again.err
    assert again.folder.path != first.folder.path
    assert again.pictures == first.pictures
    made = sorted(request.images for request in sandbox.generating())
    assert made == sorted(one.images for one in first_requests)
    assert again.folder.plan().draws == first.folder.plan().draws != {}


def test_a_seed_of_minus_one_is_drawn_anew_by_a_new_run(
    running_server: RunningServer, sandbox: Sandbox, tmp_path: Path
) -> None:
    """And nothing else is: the other entries of a pack stay as they were, byte for byte."""
    pack = tmp_path / "two.yaml"
    pack.write_text(
        "config: {txt2img: {enabled: true, width: 64, height: 64, steps: 2}}\n"
        "entries: [{name: derived, prompt: a}, {name: drawn, prompt: b, config: {txt2img: {seed: -1}}}]\n"
    )
    runs = [
        run_command(
            str(pack), "--json", "--server", sandbox.url, root=tmp_path / "out", prefect=running_server
        )
        for _ in range(2)
    ]
    (one, one_drawn), (other, other_drawn) = (run.results for run in runs)
    assert one["images"][0]["sha256"] == other["images"][0]["sha256"]
    assert one_drawn["images"][0]["seed"] != other_drawn["images"][0]["seed"]
    assert [run.folder.plan().entries[1].seed.how for run in runs] == ["drawn", "drawn"]


def test_a_prompt_on_the_command_line(
    running_server: RunningServer, sandbox: Sandbox, tmp_path: Path
) -> None:
    ran = run_command(
        *("--prompt", "a lighthouse at dusk", "--stages", "txt2img,upscale", "--count", "2", "--json"),
        *("--server", sandbox.url),
        root=tmp_path,
        prefect=running_server,
    )
    assert ran.code == 0, ran.err
    assert ran.printed["result"]["mode"] == "single"
    assert [stage_of(request) for request in sandbox.generating()] == ["txt2img"] * 2 + ["upscale"] * 2
    [result] = ran.results
    assert result["prompt"] == "a lighthouse at dusk"
    assert [(image["width"], image["height"]) for image in result["images"]] == [(1024, 1024)] * 2
    assert len({image["sha256"] for image in result["images"]}) == 2


def test_images_on_the_command_line(running_server: RunningServer, sandbox: Sandbox, tmp_path: Path) -> None:
    for name, colour in (("some.png", "navy"), ("other.png", "olive")):
        Image.new("RGB", (48, 32), colour).save(tmp_path / name)
    inputs = [tmp_path / "some.png", tmp_path / "other.png"]
    ran = run_command(
        *("--stages", "upscale", "--input", *map(str, inputs), "--json", "--server", sandbox.url),
        root=tmp_path / "out",
        prefect=running_server,
    )
    assert ran.code == 0, ran.err
    assert [stage_of(request) for request in sandbox.generating()] == ["upscale", "upscale"]
    sent = [sha256 for request in sandbox.generating() for sha256 in inputs_of(request)]
    assert sent == [hashlib.sha256(path.read_bytes()).hexdigest() for path in inputs]
    [result] = ran.results
    assert [(image["width"], image["height"]) for image in result["images"]] == [(96, 64)] * 2
    assert result["pipeline_mode"] == "upscale_only"


def test_an_image_that_is_gone_since_is_not_needed_by_again(
    running_server: RunningServer, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A job is a snapshot: its input images are kept with it."""
    some = tmp_path / "some.png"
    Image.new("RGB", (48, 32), "navy").save(some)
    arguments = ("--json", "--server", sandbox.url)
    first = run_command(
        "--stages", "upscale", "--input", str(some), *arguments, root=tmp_path / "out", prefect=running_server
    )
    some.unlink()
    again = run_command("--again", *arguments, root=tmp_path / "out", prefect=running_server)
    assert again.code == 0, again.err
    assert again.pictures == first.pictures


def test_what_one_entry_overrides_does_not_decide_how_the_next_one_looks(
    running_server: RunningServer, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A WebUI keeps an override for all requests that follow, unless they name the option themselves."""
    refiner = "enabled: true, checkpoint: sandbox_anime_xl"
    entries = (
        "{name: plain, prompt: a}",
        f"{{name: refined, prompt: b, config: {{txt2img: {{refiner: {{{refiner}, switch_at: 0.4}}}}}}}}",
        "{name: enlarged, prompt: c, config: {upscale: {enabled: true}}}",
    )
    others = (
        "{prompt: d, config: {txt2img: {override_settings: {randn_source: CPU}}}}",
        f"{{prompt: e, config: {{txt2img: {{refiner: {{{refiner}, switch_step: 3}}}}}}}}",
        "{prompt: f, config: {vae: sandbox_vae.safetensors, clip_skip: 2, checkpoint: sandbox_anime_xl}}",
        "{prompt: g, config: {upscale: {enabled: true, tile_size: 64}}}",
    )
    before = dict(sandbox.webui.options.data)

    def images(*entries: str) -> dict[str, tuple[str, str]]:
        pack = tmp_path / "pack.yaml"
        pack.write_text(
            "config: {txt2img: {enabled: true, width: 64, height: 64, steps: 5}}\n"
            f"entries: [{', '.join(entries)}]\n"
        )
        ran = run_command(
            str(pack), "--json", "--server", sandbox.url, root=tmp_path / "out", prefect=running_server
        )
        assert ran.code == 0, ran.err
        assert sandbox.webui.options.data == before  # someone uses that WebUI by day
        return {
            result["entry"]["name"]: (
                result["images"][0]["sha256"],
                list(result["result"]["stages"].values())[-1][0]["key"],
            )
            for result in ran.results
        }

    images(others[2])  # a checkpoint's hash, which stands in keys, is known from its first loading on
    alone = images(*entries)
    among_others = images(*others, *entries)
    assert {name: among_others[name] for name in alone} == alone
