"""Calls: what a plan comes to, in what order, with what key; and the executor that sends them."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stableflows.calls import FirstSeeds, StageCall, next_request
from stableflows.errors import InputError
from stableflows.executor import execute
from stableflows.inputs import with_files, with_images
from stableflows.keys import KeyContext, call_key
from stableflows.payload import SourceImage, Texts
from stableflows.request import Prepared, RenderRequest, prepare
from stableflows.results import ImageRecord, StageOutput
from stableflows.run_plan import run_plan
from stableflows.sequencer import StageSequencer
from stableflows.stages import StageType


def prepared(**asked: Any) -> Prepared:
    return prepare(RenderRequest(**{"prompt": "a cat", **asked}))


def test_n_images_are_ceil_n_by_batch_size_calls_then_each_alone() -> None:
    calls = prepared(count=5, stages=("txt2img", "upscale"), settings={"txt2img": {"batch_size": 2}}).calls
    assert [(c.call_id, c.n) for c in calls if c.stage == 0] == [
        ("0001/txt2img/0", 2),
        ("0001/txt2img/2", 2),
        ("0001/txt2img/4", 1),
    ]
    assert [(c.index, c.after, c.take) for c in calls if c.stage == 1] == [
        (0, "0001/txt2img/0", 0),
        (1, "0001/txt2img/0", 1),
        (2, "0001/txt2img/2", 0),
        (3, "0001/txt2img/2", 1),
        (4, "0001/txt2img/4", 0),
    ]


@given(
    count=st.integers(1, 12),
    batch=st.integers(1, 5),
    stages=st.sampled_from(
        [("txt2img",), ("txt2img", "img2img"), ("txt2img", "img2img", "upscale", "adetailer")]
    ),
)
def test_every_image_goes_through_every_stage_once(count: int, batch: int, stages: tuple[str, ...]) -> None:
    job = prepared(count=count, stages=stages, settings={"txt2img": {"batch_size": batch}})
    seen: dict[str, int] = {}
    for call in job.calls:
        assert call.after is None or call.take < seen[call.after]
        seen[call.call_id] = call.n
    for number in range(len(stages)):
        assert sum(call.n for call in job.calls if call.stage == number) == count
    taken = [(call.after, call.take) for call in job.calls if call.after]
    assert len(taken) == len(set(taken))
    assert job.image_count == count


def seed_of(settings: dict[str, Any], first: FirstSeeds, source: SourceImage | None, variant: int) -> Any:
    stage = "img2img" if source else "txt2img"
    plan = StageSequencer().build_plan({stage: {"enabled": True, **settings}})
    body = next_request(plan.stages[0], Texts("x"), first=first, source=source, variant=variant).body
    return body.get("seed"), body.get("subseed")


def test_seeds_count_up_and_later_stages_take_that_of_their_image() -> None:
    image = SourceImage("sha256:0", (64, 64), seed=77)
    assert seed_of({}, FirstSeeds(5), None, 3) == (8, None)
    assert seed_of({}, FirstSeeds(), image, 3) == (77, None)
    assert seed_of({"seed": 4}, FirstSeeds(), image, 3) == (4, None)
    # With a variation, the WebUI keeps the seed and counts up the variation seed.
    assert seed_of({"subseed_strength": 0.5}, FirstSeeds(5, 9), None, 3) == (5, 12)


def key_of(settings: dict[str, Any], context: KeyContext | None = None, **more: Any) -> str:
    plan = StageSequencer().build_plan({"txt2img": {"enabled": True, "checkpoint": "c", **settings}})
    request = next_request(
        plan.stages[0], Texts("x"), first=FirstSeeds(more.get("seed", 1)), n=more.get("n", 1)
    )
    return call_key(request, context or KeyContext("http://a", "a1111"), more.get("networks", ()))


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 21},
        {"sampler": "Heun"},
        {"scheduler": "Karras"},
        {"cfg_scale": 7.5},
        {"width": 520},
        {"vae": "v.pt"},
        {"clip_skip": 2},
        {"hires": {"enabled": True}},
        {"refiner": {"enabled": True, "checkpoint": "r"}},
        {"override_settings": {"eta_noise_seed_delta": 1}},
        {"prompt": "y"},
        {"restore_faces": True},
    ],
)
def test_what_changes_pixels_changes_the_key(settings: dict[str, Any]) -> None:
    assert key_of(settings) != key_of({})


def test_the_key_knows_seed_batch_family_options_and_hashes() -> None:
    base = KeyContext("http://a", "a1111")
    hashed = replace(base, hashes={("checkpoint", "c"): "abc"})
    keys = [
        key_of({}),
        key_of({}, seed=2),
        key_of({}, n=2),
        key_of({}, replace(base, family="forge")),
        key_of({}, replace(base, options={"randn_source": "CPU"})),
        key_of({}, replace(base, server="http://b")),
        key_of({}, hashed),
        key_of({}, replace(hashed, hashes={("checkpoint", "c"): "def"})),
        key_of({}, networks={("lora", "ink")}),
        key_of({}, replace(base, hashes={("lora", "ink"): "123"}), networks={("lora", "ink")}),
    ]
    assert len(set(keys)) == len(keys)


def test_a_model_with_a_hash_is_the_same_on_every_server_and_under_every_name() -> None:
    one = KeyContext("http://a", "a1111", hashes={("checkpoint", "c"): "abc"})
    two = KeyContext("http://b", "a1111", hashes={("checkpoint", "other name"): "abc"})
    assert key_of({}, one) == key_of({"checkpoint": "other name"}, two)


def test_numbers_that_are_equal_make_equal_keys() -> None:
    assert key_of({"cfg_scale": 7}) == key_of({"cfg_scale": 7.0})


# -- the executor


def output(call: StageCall) -> StageOutput:
    images = tuple(
        ImageRecord(path=f"{call.call_id}/{place}", sha256="0" * 64, width=8, height=8)
        for place in range(call.n)
    )
    return StageOutput(stage_type=call.stage_type, images=images, key="k", duration=0)


async def run(
    job: Prepared, fail: set[str] | None = None, depth: int = 1
) -> tuple[list[str], dict[str, str | None], int]:
    order: list[str] = []
    sources: dict[str, str | None] = {}
    under_way = most = 0

    async def run_call(call: StageCall, before: ImageRecord | None) -> StageOutput | None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        order.append(call.call_id)
        sources[call.call_id] = before.path if before else None
        await asyncio.sleep(0)
        under_way -= 1
        return None if call.call_id in (fail or set()) else output(call)

    await execute(job.calls, run_call, stop=asyncio.Event(), depth=depth)
    return order, sources, most


async def test_calls_come_in_order_and_continue_the_image_before() -> None:
    job = prepared(count=2, stages=("txt2img", "img2img", "upscale"))
    order, sources, most = await run(job)
    assert order == [call.call_id for call in job.calls]
    assert most == 1
    assert sources["0001/img2img/1"] == "0001/txt2img/1/0"
    assert sources["0001/upscale/1"] == "0001/img2img/1/0"


async def test_a_failed_call_costs_only_what_continues_it() -> None:
    job = prepared(count=2, stages=("txt2img", "img2img", "upscale"))
    order, _, _ = await run(job, fail={"0001/img2img/0"})
    assert "0001/upscale/0" not in order
    assert "0001/upscale/1" in order


@pytest.mark.parametrize("depth", [1, 2, 3])
async def test_never_more_than_depth_calls_are_under_way(depth: int) -> None:
    order, _, most = await run(prepared(count=6), depth=depth)
    assert len(order) == 6
    assert most == depth


async def test_once_stopped_no_further_call_starts() -> None:
    stop = asyncio.Event()
    started = []

    async def run_call(call: StageCall, _before: ImageRecord | None) -> StageOutput | None:
        started.append(call.call_id)
        stop.set()
        return output(call)

    await execute(prepared(count=3).calls, run_call, stop=stop)
    assert started == ["0001/txt2img/0"]


async def test_what_ends_the_run_ends_it() -> None:
    async def run_call(_call: StageCall, _before: ImageRecord | None) -> StageOutput | None:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        await execute(prepared(count=3).calls, run_call, stop=asyncio.Event())


async def test_what_is_done_is_not_made_again_and_is_continued() -> None:
    job = prepared(count=2, stages=("txt2img", "upscale"))
    by_id = {call.call_id: call for call in job.calls}
    made: list[tuple[str, str | None]] = []

    async def run_call(call: StageCall, before: ImageRecord | None) -> StageOutput | None:
        made.append((call.call_id, before.path if before else None))
        return output(call)

    first = by_id["0001/txt2img/0"]
    done = {first.call_id: output(first), "0001/txt2img/1": None}
    await execute(job.calls, run_call, stop=asyncio.Event(), done=done)
    assert made == [("0001/upscale/0", "0001/txt2img/0/0")]


async def test_a_call_is_overtaken_only_by_calls_of_its_group() -> None:
    """The second group's call is ready at once, and would load another checkpoint too early."""
    job = prepared(count=2, stages=("txt2img", "upscale"))
    groups = {"0001/txt2img/0": 0, "0001/upscale/0": 0, "0001/txt2img/1": 1, "0001/upscale/1": 1}
    calls = [call.model_copy(update={"group": groups[call.call_id]}) for call in job.calls]
    calls.sort(key=lambda call: (call.group, call.stage))
    ended: list[str] = []

    async def run_call(call: StageCall, _before: ImageRecord | None) -> StageOutput | None:
        assert all(other.call_id in ended for other in calls if other.group < call.group and other.stage == 0)
        await asyncio.sleep(0.01)
        ended.append(call.call_id)
        return output(call)

    await execute(calls, run_call, stop=asyncio.Event(), depth=3)
    assert len(ended) == 4


# -- the runner seam


FULL = {
    "txt2img": {"enabled": True, "prompt": "a cat", "seed": 5, "width": 64, "height": 96, "batch_size": 2},
    "img2img": {"enabled": True, "denoising_strength": 0.4},
    "upscale": {"enabled": True, "factor": 2},
    "adetailer": {"enabled": True},
}


def png(colour: str, size: tuple[int, int] = (64, 96)) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_each_stages_input_is_the_stage_befores_output() -> None:
    seen: list[tuple[StageType, dict[str, Any]]] = []
    made: list[list[str]] = []

    def run_stage(stage: StageType, body: dict[str, Any]) -> dict[str, Any]:
        seen.append((stage, body))
        images = [png(f"#{len(seen):02x}{place:02x}00") for place in range(body.get("batch_size", 1))]
        made.append(images)
        return {"images": images, "meta": {"n": len(seen)}}

    result = run_plan(FULL, run_stage)
    assert [stage.value for stage, _ in seen] == [
        "txt2img",
        *["img2img"] * 2,
        *["upscale"] * 2,
        *["adetailer"] * 2,
    ]
    assert [body["init_images"] for stage, body in seen if stage is StageType.IMG2IMG] == [
        [i] for i in made[0]
    ]
    assert [body["image"] for stage, body in seen if stage is StageType.UPSCALE] == [made[1][0], made[2][0]]
    assert result["images"] == [made[5][0], made[6][0]]
    assert [body["seed"] for stage, body in seen if stage is StageType.IMG2IMG] == [5, 6]
    assert (seen[1][1]["width"], seen[1][1]["height"]) == (64, 96)
    assert result["meta"]["img2img"] == [{"n": 2}, {"n": 3}]


def test_stub_images_need_be_no_images() -> None:
    result = run_plan(FULL, lambda stage, body: {"images": [f"{stage}-image"], "meta": {}})
    assert result["images"] == ["adetailer-image"]


def test_an_empty_plan_makes_no_call() -> None:
    assert run_plan({"txt2img_enabled": False}, lambda *_: pytest.fail("called")) == {
        "images": [],
        "meta": {},
    }


def test_cancel_is_looked_at_before_each_stage_and_keeps_what_is_finished() -> None:
    cancel = threading.Event()

    def run_stage(stage: StageType, _body: dict[str, Any]) -> dict[str, Any]:
        if stage is StageType.IMG2IMG:
            cancel.set()
        return {"images": [f"{stage}-image"], "meta": {}}

    lines: list[str] = []
    result = run_plan(FULL, run_stage, cancel=cancel, log=lines.append)
    assert result["images"] == ["img2img-image"]
    assert set(result["meta"]) == {"txt2img", "img2img"}
    assert lines[-1] == "cancelled before upscale"


def test_a_plan_that_continues_images_asks_for_them() -> None:
    with pytest.raises(ValueError, match="init_images"):
        run_plan({"upscale_enabled": True}, lambda *_: {"images": []})
    given_images = {"upscale_enabled": True, "init_images": ["a", "b"]}
    result = run_plan(given_images, lambda _stage, body: {"images": [body["image"] + "2"], "meta": {}})
    assert result["images"] == ["a2", "b2"]


def test_references_are_replaced_wherever_they_stand() -> None:
    reference = "sha256:" + "a" * 64
    body = {
        "init_images": [reference],
        "mask": reference,
        "alwayson_scripts": {"C": {"args": [{"image": reference}]}},
    }
    assert with_images(body, lambda sha: sha[:2]) == {
        "init_images": ["aa"],
        "mask": "aa",
        "alwayson_scripts": {"C": {"args": [{"image": "aa"}]}},
    }


def test_a_prompt_that_looks_like_a_reference_is_a_prompt() -> None:
    text = "sha256:" + "a" * 64
    detailer = {"ADetailer": {"args": [True, {"ad_prompt": text}]}}
    body = {"prompt": text, "hr_prompt": text, "styles": [text], "alwayson_scripts": detailer}
    assert with_images(body, lambda _: pytest.fail("called")) == body
    config = {"txt2img": {"prompt": text, "alwayson_scripts": detailer}}
    assert with_files(config, lambda _: pytest.fail("called")) == config


def test_a_script_cannot_say_a_reference_itself(tmp_path: Path) -> None:
    pack = tmp_path / "p.yaml"
    pack.write_text(
        "config: {txt2img: {alwayson_scripts: {ControlNet: {args: [{image: 'sha256:" + "a" * 64 + "'}]}}}}\n"
        "entries: [a cat]\n"
    )
    with pytest.raises(InputError, match=r"p.yaml.*would be taken for an image; name a file"):
        prepare(RenderRequest(packs=(str(pack),)))


def test_images_of_scripts_are_taken_up_by_content(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), "red").save(tmp_path / "pose.png")
    pack = tmp_path / "p.yaml"
    pack.write_text(
        "config: {txt2img: {alwayson_scripts: {ControlNet: {args: [{image: {image_file: pose.png}}]}}}}\n"
        "entries: [a cat]\n"
    )
    (entry,) = prepare(RenderRequest(packs=(str(pack),))).entries
    body = next_request(entry.plan.stages[0], entry.texts).body
    (unit,) = body["alwayson_scripts"]["ControlNet"]["args"]
    assert unit["image"].startswith("sha256:")
