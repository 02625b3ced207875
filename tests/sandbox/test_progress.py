"""The lock, the queue and the progress that a client reads beside a running request."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from stableflows.sandbox import SandboxSettings, run_sandbox
from tests.sandbox.conftest import Talk, picture

BODY: dict[str, Any] = {"prompt": "a cat", "seed": 1, "steps": 8, "width": 64, "height": 64}


@pytest.fixture
def slow() -> Iterator[Talk]:
    with run_sandbox(SandboxSettings(step_seconds=0.03)) as sandbox:
        conversation = Talk(sandbox)
        yield conversation
        conversation.http.close()


def beside(talk: Talk, path: str = "txt2img", **fields: Any) -> tuple[threading.Thread, list[httpx.Response]]:
    results: list[httpx.Response] = []
    url = f"{talk.sandbox.url}/sdapi/v1/{path}"

    def post() -> None:
        results.append(httpx.post(url, json={**BODY, **fields}, timeout=60))

    thread = threading.Thread(target=post, daemon=True)
    thread.start()
    return thread, results


def watched(talk: Talk, thread: threading.Thread) -> list[dict[str, Any]]:
    """Every different reading of the progress while a job runs."""
    readings: list[dict[str, Any]] = []
    while thread.is_alive():
        reading = talk.get("progress?skip_current_image=true")
        key = {"progress": reading["progress"], **reading["state"]}
        if not readings or readings[-1] != key:
            readings.append(key)
    return readings


def until(holds: Callable[[], bool]) -> None:
    for _ in range(2000):
        if holds():
            return
        time.sleep(0.005)
    raise TimeoutError


def test_progress_of_several_batches(slow: Talk) -> None:
    thread, _ = beside(slow, n_iter=3, steps=4)
    readings = [reading for reading in watched(slow, thread) if reading["job_count"] == 3]
    assert {reading["job"] for reading in readings} <= {
        "scripts_txt2img",
        "Batch 1 out of 3",
        "Batch 2 out of 3",
        "Batch 3 out of 3",
    }
    for reading in readings:
        if reading["job"].startswith("Batch"):
            share = reading["sampling_step"] / 4
            assert reading["progress"] == pytest.approx(
                0.01 + (reading["job_no"] + share) / 3, abs=1e-6
            ) or reading["job_no"] in (1, 2, 3)
    progress = [reading["progress"] for reading in readings]
    assert progress == sorted(progress)
    idle = slow.get("progress")
    assert (idle["progress"], idle["state"]["job"], idle["state"]["job_count"]) == (0, "", 0)
    # After the end the counters keep their last values.
    assert (idle["state"]["sampling_steps"], idle["state"]["job_no"]) == (4, 3)


def test_hires_doubles_the_job_count(slow: Talk) -> None:
    thread, _ = beside(slow, steps=4, enable_hr=True, denoising_strength=0.5, hr_upscaler="Latent")
    readings = watched(slow, thread)
    assert {reading["job_count"] for reading in readings} <= {0, -1, 2}
    assert any(reading["job_no"] == 1 and reading["progress"] >= 0.51 for reading in readings)


def test_a_script_with_hires_counts_its_second_passes_once(slow: Talk) -> None:
    plot = [1, "1-3", [], 0, "", [], 0, "", [], True, False, False, False, False, False, False, 0, False]
    hires: dict[str, Any] = {"enable_hr": True, "denoising_strength": 0.5, "hr_upscaler": "Latent"}
    thread, results = beside(slow, steps=2, script_name="X/Y/Z plot", script_args=plot, **hires)
    counts = {reading["job_count"] for reading in watched(slow, thread)}
    assert max(counts) == 6
    assert len(results[0].json()["images"]) == 1


def test_steps_are_those_of_the_job_before_until_sampling_begins() -> None:
    with run_sandbox(SandboxSettings(load_seconds=0.3)) as sandbox:
        talk = Talk(sandbox)
        talk.render(steps=5)
        override = {"sd_model_checkpoint": "sandbox_anime_xl"}
        thread, _ = beside(talk, override_settings=override, steps=9)
        until(lambda: talk.get("progress")["state"]["job"] == "scripts_txt2img")
        reading = talk.get("progress")
        assert reading["progress"] == 0.01
        assert (reading["state"]["job_count"], reading["state"]["sampling_steps"]) == (-1, 5)
        thread.join(10)
        talk.http.close()


def test_requests_wait_in_order_of_arrival(slow: Talk) -> None:
    threads = []
    for number in range(3):
        thread, _ = beside(slow, seed=number, force_task_id=f"task-{number}")
        threads.append(thread)
        until(lambda number=number: len(slow.sandbox.generating()) == number + 1)  # type: ignore[misc]
    until(lambda: slow.sandbox.webui.tasks.current == "task-0")
    waiting = slow.http.post("/internal/progress", json={"id_task": "task-2"}).json()
    assert (waiting["active"], waiting["queued"], waiting["textinfo"]) == (False, True, "In queue: 2/2")
    assert slow.http.get("/internal/pending-tasks").json() == {"size": 2, "tasks": ["task-1", "task-2"]}
    # Lists are not behind the lock.
    assert slow.get("sd-models")
    for thread in threads:
        thread.join(20)
    ends = [entry.t_end for entry in slow.sandbox.generating()]
    assert None not in ends
    assert ends == sorted(ends, key=lambda end: end or 0.0)


def test_refresh_and_a_model_switch_wait_for_the_lock(slow: Talk) -> None:
    thread, _ = beside(slow)
    until(lambda: slow.sandbox.webui.state.job_count != 0)
    slow.post("refresh-checkpoints")
    assert slow.sandbox.webui.state.job_count == 0
    thread.join(10)


def test_interrupt_drops_the_remaining_batches_and_not_the_queue(slow: Talk) -> None:
    first, results = beside(slow, n_iter=40)
    until(lambda: slow.sandbox.webui.state.sampling_step >= 2)
    second, others = beside(slow, seed=5)
    until(lambda: len(slow.sandbox.generating()) == 2)
    assert slow.post("interrupt").json() == {}
    first.join(10)
    second.join(10)
    assert 1 <= len(results[0].json()["images"]) < 40
    assert len(json.loads(results[0].json()["info"])["all_seeds"]) == 40
    assert (
        others[0].json()["images"]
        == slow.http.post("/sdapi/v1/txt2img", json={**BODY, "seed": 5}).json()["images"]
    )


def test_interrupt_in_the_first_pass_gives_the_first_size(slow: Talk) -> None:
    thread, results = beside(slow, enable_hr=True, denoising_strength=0.5, hr_upscaler="Latent")
    until(lambda: slow.sandbox.webui.state.sampling_step >= 2)
    slow.post("interrupt")
    thread.join(10)
    assert picture(base64.b64decode(results[0].json()["images"][0])).size == (64, 64)


def test_an_interrupt_while_idle_is_harmless(slow: Talk) -> None:
    before = slow.files(**BODY)
    slow.post("interrupt")
    assert slow.files(**BODY) == before


def test_a_failed_task_stays_active_until_the_next(slow: Talk) -> None:
    slow.post("txt2img", {**BODY, "steps": 0, "force_task_id": "bad"})
    assert slow.http.post("/internal/progress", json={"id_task": "bad"}).json()["active"] is True
    slow.render(force_task_id="good")
    assert slow.http.post("/internal/progress", json={"id_task": "bad"}).json()["active"] is False
    assert slow.http.post("/internal/progress", json={"id_task": "good"}).json()["completed"] is True


def test_an_undecodable_init_image_stays_pending_for_ever(slow: Talk) -> None:
    assert slow.post("img2img", {**BODY, "init_images": ["zz"], "force_task_id": "lost"}).status_code == 500
    assert slow.http.get("/internal/pending-tasks").json() == {"size": 1, "tasks": ["lost"]}


def test_the_live_preview_is_an_eighth(slow: Talk) -> None:
    thread, _ = beside(slow, width=256, height=128, steps=12)
    until(lambda: slow.sandbox.webui.state.sampling_step >= 2)
    image = slow.get("progress")["current_image"]
    assert picture(base64.b64decode(image)).size == (32, 16)
    thread.join(10)


def test_encoding_is_outside_the_lock() -> None:
    """While one answer is encoded, the next request already samples."""
    with run_sandbox(SandboxSettings(encode_seconds=0.4, step_seconds=0.01)) as sandbox:
        talk = Talk(sandbox)
        first, _ = beside(talk, force_task_id="one")
        until(lambda: "one" in sandbox.webui.tasks.finished)
        second, _ = beside(talk, force_task_id="two")
        until(lambda: sandbox.webui.tasks.current == "two")
        assert sandbox.generating()[0].status is None
        first.join(10)
        second.join(10)
        talk.http.close()
