"""How a sandbox lives and dies: faults, restarts, slow starts, what a client sees of them."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from PIL import Image, UnidentifiedImageError

from stableflows.sandbox import Catalog, Fault, Sandbox, SandboxSettings, run_sandbox
from tests.sandbox.conftest import Talk, encoded, picture
from tests.sandbox.recordings import by_name, send
from tests.sandbox.sessions import AUTH, FORGE
from tests.sandbox.singles import DYING, USER

BODY: dict[str, Any] = {"prompt": "a lighthouse", "seed": 1, "steps": 4, "width": 64, "height": 64}


@pytest.fixture
def fresh() -> Iterator[Talk]:
    with run_sandbox() as sandbox:
        conversation = Talk(sandbox)
        yield conversation
        conversation.http.close()


def until(holds: Callable[[], bool]) -> None:
    for _ in range(2000):
        if holds():
            return
        time.sleep(0.005)
    raise TimeoutError


def in_background(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    return thread, results


@pytest.mark.parametrize(("kind", "error"), [("oom", "OutOfMemoryError"), ("nan", "NansException")])
def test_errors_inside_sampling_leave_the_server_usable(fresh: Talk, kind: Any, error: str) -> None:
    fresh.sandbox.arm(Fault(kind=kind, at=2))
    assert fresh.post("txt2img", BODY).status_code == 200
    failed = fresh.post("txt2img", BODY)
    assert failed.status_code == 500
    assert failed.json()["error"] == error
    assert fresh.post("txt2img", BODY).status_code == 200
    assert [entry.fault for entry in fresh.sandbox.generating()] == [None, kind, None]


def test_times_and_path_of_a_fault(fresh: Talk) -> None:
    fresh.sandbox.arm(Fault(kind="oom", path="/sdapi/v1/img2img", times=2))
    init = {**BODY, "init_images": [encoded(picture(fresh.files(**BODY)[0]))]}
    statuses = [fresh.post(kind, init).status_code for kind in ("img2img", "txt2img", "img2img", "img2img")]
    assert statuses == [500, 200, 500, 200]


def test_out_of_memory_in_extras(fresh: Talk) -> None:
    fresh.sandbox.arm(Fault(kind="oom"))
    image = encoded(Image.new("RGB", (64, 64), "teal"))
    assert fresh.post("extra-single-image", {"image": image, "upscaler_1": "Lanczos"}).status_code == 500


def test_broken_truncated_small_and_missing_images(fresh: Talk) -> None:
    plain = fresh.files(**BODY)
    fresh.sandbox.arm(Fault(kind="broken_image"))
    with pytest.raises((UnidentifiedImageError, OSError)):
        picture(fresh.files(**BODY)[0])
    fresh.sandbox.arm(Fault(kind="wrong_size"))
    assert picture(fresh.files(**BODY)[0]).size == (32, 32)
    fresh.sandbox.arm(Fault(kind="fewer_images"))
    assert fresh.files(**BODY) == []
    fresh.sandbox.arm(Fault(kind="truncated"))
    with pytest.raises(httpx.RemoteProtocolError):
        fresh.post("txt2img", BODY)
    assert fresh.files(**BODY) == plain


def test_wrong_checkpoint_says_so_and_is_not_kept(fresh: Talk) -> None:
    fresh.sandbox.arm(Fault(kind="wrong_checkpoint", checkpoint="sandbox_anime_xl"))
    wrong = fresh.render(**BODY)
    assert wrong["info"]["sd_model_name"] == "sandbox_anime_xl"
    assert fresh.render(**BODY)["info"]["sd_model_name"] == "sandbox_base_v1"
    asked = fresh.render(**BODY, override_settings={"sd_model_checkpoint": "sandbox_anime_xl"})
    assert asked["images"] == wrong["images"]


def test_a_swallowed_adetailer_leaves_no_key(fresh: Talk) -> None:
    fields: dict[str, Any] = {
        "alwayson_scripts": {"ADetailer": {"args": [True, False, {"ad_model": "face_yolov8n.pt"}]}}
    }
    with_keys = fresh.render(**BODY, **fields)["info"]["infotexts"][0]
    assert "ADetailer model: face_yolov8n.pt" in with_keys
    fresh.sandbox.arm(Fault(kind="swallowed_adetailer"))
    swallowed = fresh.render(**BODY, **fields)
    assert "ADetailer" not in swallowed["info"]["infotexts"][0]
    assert swallowed["images"] == fresh.render(**BODY)["images"]


def test_partial_comes_back_at_200_without_a_mark(fresh: Talk) -> None:
    whole = fresh.render(**BODY)
    fresh.sandbox.arm(Fault(kind="partial", step=2))
    partial = fresh.render(**BODY)
    assert partial["info"]["infotexts"] == whole["info"]["infotexts"]
    assert partial["images"] != whole["images"]


def test_reset_cuts_the_connection_and_the_job_goes_on(fresh: Talk) -> None:
    fresh.sandbox.arm(Fault(kind="reset"))
    with pytest.raises(httpx.HTTPError):
        fresh.post("txt2img", BODY)
    until(lambda: fresh.sandbox.generating()[0].t_end is not None)
    assert fresh.post("txt2img", BODY).status_code == 200


def test_hang_ends_with_an_interrupt(fresh: Talk) -> None:
    fresh.sandbox.arm(Fault(kind="hang", step=2))
    thread, results = in_background(lambda: fresh.post("txt2img", BODY))
    until(lambda: fresh.sandbox.webui.state.sampling_step == 1)
    before = fresh.get("progress")["progress"]
    assert fresh.get("progress")["progress"] == before
    assert not results
    fresh.post("interrupt")
    thread.join(10)
    assert results[0].status_code == 200


def test_a_proxy_answers_in_between(fresh: Talk) -> None:
    fresh.sandbox.arm(Fault(kind="status", status=502, body="<html>Bad Gateway</html>"))
    answer = fresh.post("txt2img", BODY)
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html; charset=utf-8")


def test_crash_refuses_until_the_restart(fresh: Talk) -> None:
    fresh.sandbox.arm(Fault(kind="crash"))
    with pytest.raises(httpx.HTTPError):
        fresh.post("txt2img", BODY)
    with pytest.raises(httpx.ConnectError):
        fresh.get("progress")
    fresh.sandbox.restart()
    assert fresh.post("txt2img", BODY).status_code == 200
    assert [entry.fault for entry in fresh.sandbox.generating()] == ["crash", None]


def test_refused_for_a_while_and_back_with_the_same_state(fresh: Talk) -> None:
    fresh.post("options", {"samples_format": "jpg"})
    fresh.sandbox.arm(Fault(kind="refuse", seconds=0.3))
    with pytest.raises(httpx.HTTPError):
        fresh.post("txt2img", BODY)
    with pytest.raises(httpx.ConnectError):
        fresh.get("progress")
    fresh.sandbox.wait()
    assert fresh.get("options")["samples_format"] == "jpg"


def test_restart_with_other_models(fresh: Talk) -> None:
    catalog = Catalog().without("checkpoints", "sandbox_base_v1")
    fresh.post("options", {"jpeg_quality": 70})
    fresh.sandbox.arm(Fault(kind="restart", seconds=0.0, catalog=catalog))
    with pytest.raises(httpx.HTTPError):
        fresh.post("txt2img", BODY)
    fresh.sandbox.wait()
    models = fresh.get("sd-models")
    assert [model["model_name"] for model in models] == ["sandbox_portrait_v2", "sandbox_anime_xl"]
    # Nothing is loaded but the first; saved options are kept.
    assert [bool(model["hash"]) for model in models] == [True, False]
    assert fresh.get("options")["jpeg_quality"] == 70


def test_forge_closes_its_connection_after_a_500_without_saying_so() -> None:
    with run_sandbox(SandboxSettings(flavour="forge")) as sandbox:
        address = sandbox.url.removeprefix("http://").split(":")
        with socket.create_connection((address[0], int(address[1])), timeout=10) as raw:
            body = json.dumps({"no_such": 1}).encode()
            head = (
                "POST /sdapi/v1/options HTTP/1.1",
                "Host: x",
                "Content-Type: application/json",
                f"Content-Length: {len(body)}",
                "\r\n",
            )
            raw.sendall("\r\n".join(head).encode() + body)
            answer = b""
            while chunk := raw.recv(65536):
                answer += chunk
        assert answer.startswith(b"HTTP/1.1 500")
        assert b"connection: close" not in answer.lower()


def test_a_client_that_leaves_does_not_stop_its_job() -> None:
    with run_sandbox(SandboxSettings(step_seconds=0.05)) as sandbox:
        with httpx.Client(base_url=sandbox.url, timeout=0.1) as client, pytest.raises(httpx.ReadTimeout):
            client.post("/sdapi/v1/txt2img", json=BODY)
        until(lambda: sandbox.generating()[0].status == 200)


def test_slow_start_brings_routes_one_by_one() -> None:
    settings = SandboxSettings(flavour="forge", start_seconds=1.0)
    with run_sandbox(settings) as sandbox, httpx.Client(base_url=sandbox.url, timeout=10) as client:
        assert client.get("/sdapi/v1/progress").status_code == 200
        early = client.get("/sdapi/v1/loras")
        assert (early.status_code, early.json()) == (404, {"detail": "Not Found"})
        until(lambda: client.get("/sdapi/v1/loras").status_code == 200)
        assert client.get("/sdapi/v1/script-info").status_code == 200


@pytest.mark.parametrize("name", ["forge/get_loras", "forge/get_embeddings"])
def test_recorded_while_forge_was_starting(name: str) -> None:
    pair = by_name("forge")[name.split("/")[1]]
    settings = SandboxSettings(flavour="forge", start_seconds=30)
    with run_sandbox(settings, catalog=FORGE) as sandbox, httpx.Client(base_url=sandbox.url) as client:
        answer = send(client, pair)
    assert answer.status_code == pair["answer"]["status"]
    assert answer.json() == pair["answer"]["json"]
    assert name in DYING


def dying(flavour: Any) -> Any:
    settings = SandboxSettings(flavour=flavour, auth=USER if flavour == "a1111" else None, server_stop=True)
    return run_sandbox(settings, catalog=AUTH)


@pytest.mark.parametrize(("server", "name"), [("auth", "server_kill"), ("api-only", "n_kill")])
def test_recorded_kill_gives_no_answer(server: str, name: str) -> None:
    pair = by_name(server)[name]
    with (
        dying("a1111" if server == "auth" else "api-only") as sandbox,
        httpx.Client(base_url=sandbox.url) as client,
    ):
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            send(client, pair)
        assert pair["answer"]["transport_error"] == "RemoteDisconnected"
        assert f"{server}/{name}" in DYING
        after = by_name("auth")["after_kill"]
        with pytest.raises(httpx.ConnectError):
            send(client, after)
        assert after["answer"]["transport_error"] == "ConnectionRefusedError"


def test_recorded_stop_closes_the_listener() -> None:
    pair = by_name("auth")["server_stop"]
    with dying("a1111") as sandbox, httpx.Client(base_url=sandbox.url) as client:
        assert send(client, pair).text == pair["answer"]["text"]

        def refused() -> bool:
            try:
                httpx.get(sandbox.url + "/internal/ping")
            except httpx.ConnectError:
                return True
            except httpx.TransportError:
                pass  # taken in, and cut off
            return False

        until(refused)


def test_every_pair_that_dies_is_tested() -> None:
    assert set(DYING) == {
        "auth/server_kill",
        "auth/server_stop",
        "auth/after_kill",
        "api-only/n_kill",
        "forge/get_loras",
        "forge/get_embeddings",
    }


def test_nothing_is_left_behind() -> None:
    before = set(threading.enumerate())
    with run_sandbox(SandboxSettings(step_seconds=0.2)) as sandbox:
        url = sandbox.url
        threading.Thread(target=lambda: _ignore(url), daemon=True).start()
        until(lambda: bool(sandbox.webui.state.job_count))
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
    until(lambda: not [t for t in set(threading.enumerate()) - before if t.name.startswith("sandbox")])


def _ignore(url: str) -> None:
    try:
        httpx.post(url + "/sdapi/v1/txt2img", json={**BODY, "steps": 50})
    except httpx.HTTPError:
        return


def test_crash_and_restart_by_hand(fresh: Talk) -> None:
    before = fresh.files(**BODY)
    fresh.sandbox.crash()
    with pytest.raises(httpx.ConnectError):
        httpx.get(fresh.sandbox.url)
    fresh.sandbox.restart()
    assert fresh.files(**BODY) == before


def test_interrupted_extras_have_no_image(fresh: Talk) -> None:
    fresh.sandbox.arm(Fault(kind="hang"))
    image = encoded(Image.new("RGB", (64, 64), "teal"))
    thread, results = in_background(
        lambda: fresh.post("extra-single-image", {"image": image, "upscaler_1": "Lanczos"})
    )
    until(lambda: fresh.sandbox.webui.state.job == "extras")
    fresh.post("interrupt")
    thread.join(10)
    assert (results[0].status_code, results[0].json()["error"]) == (500, "IndexError")


def test_the_log_forgets_the_oldest_images_of_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stableflows.sandbox.log._BODIES_KEPT", 5000)
    with run_sandbox() as sandbox:
        talk = Talk(sandbox)
        image = encoded(Image.effect_noise((64, 64), 50).convert("RGB"))
        for _ in range(3):
            talk.post("extra-single-image", {"image": image, "upscaler_1": "Lanczos"})
        kept = [len(entry.body["image"]) for entry in sandbox.generating()]
        assert kept[-1] == len(image)
        assert kept[0] < 100
        talk.http.close()


def test_a_taken_port_is_told(fresh: Talk) -> None:
    port = int(fresh.sandbox.url.rsplit(":", 1)[1])
    with pytest.raises(OSError, match="in use"), run_sandbox(SandboxSettings(port=port)):
        pass


def test_sandbox_is_what_tests_may_use(fresh: Talk) -> None:
    assert isinstance(fresh.sandbox, Sandbox)
    with pytest.raises(KeyError):
        fresh.sandbox.set_options(no_such_option=1)
