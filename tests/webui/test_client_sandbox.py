"""The client against the sandbox: a real HTTP server of each flavour, with faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from stableflows.dialects import in_dialect
from stableflows.sandbox import Fault, Sandbox, SandboxSettings, run_sandbox
from stableflows.webui import errors
from stableflows.webui.capabilities import Family
from stableflows.webui.client import WebUIClient
from stableflows.webui.doctor import examine
from stableflows.webui.kinds import NameKind
from stableflows.webui.models import WebUIRequest
from stableflows.webui.names import Found, load_names
from stableflows.webui.server import ServerConfig, StallLimits
from stableflows.webui.verify import verify
from stableflows.webui.watch import CallState, Phase

from .recorded_servers import base64_picture

FLAVOURS = ["a1111", "forge", "api-only", "sdnext"]
QUICK = StallLimits(sampling=0.6, loading=1.2, other=1.2, interrupt=5.0)


@contextmanager
def sandbox(flavour: str = "a1111", **settings: Any) -> Iterator[Sandbox]:
    with run_sandbox(SandboxSettings(flavour=flavour, **settings)) as server:  # type: ignore[arg-type]
        yield server


@asynccontextmanager
async def client_of(server: Sandbox, **config: Any) -> AsyncIterator[WebUIClient]:
    async with WebUIClient(
        ServerConfig(base_url=server.url, poll_seconds=0.05, stall=QUICK, **config)
    ) as client:
        yield client


def txt2img(n: int = 1, **changes: Any) -> WebUIRequest:
    body = {
        "prompt": "a lighthouse",
        "seed": 5,
        "steps": 4,
        "width": 64,
        "height": 64,
        "sampler_name": "Euler a",
        "batch_size": n,
    }
    return WebUIRequest("/sdapi/v1/txt2img", body | changes, n, (64, 64))


def img2img(**changes: Any) -> WebUIRequest:
    body = {
        "prompt": "a lighthouse",
        "seed": 5,
        "steps": 4,
        "width": 64,
        "height": 64,
        "denoising_strength": 0.5,
    }
    body["init_images"] = [base64_picture((64, 64))]
    return WebUIRequest("/sdapi/v1/img2img", body | changes, 1, (64, 64))


def extras(**changes: Any) -> WebUIRequest:
    body = {"image": base64_picture((64, 64)), "upscaler_1": "Lanczos", "upscaling_resize": 2}
    return WebUIRequest("/sdapi/v1/extra-single-image", body | changes, 1, (128, 128))


# -- what it is
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flavour", "family", "task_ids", "vae"),
    [
        ("a1111", Family.A1111, True, "list"),
        ("forge", Family.FORGE, True, "modules"),
        ("api-only", Family.A1111, False, "list"),
        ("sdnext", Family.SDNEXT, False, "list"),
    ],
)
async def test_probe(flavour: str, family: Family, task_ids: bool, vae: str) -> None:
    with sandbox(flavour) as server:
        async with client_of(server) as client:
            await client.wait_ready(0)
            caps = await client.probe()
            asked = len(server.log)
            assert await client.probe() is caps
            assert len(server.log) == asked
    assert (caps.family, caps.has_task_ids, caps.vae, caps.has_schedulers) == (family, task_ids, vae, True)
    assert caps.has_option("sd_model_checkpoint")
    assert not caps.has_option("no_such_option")


async def test_probe_knows_adetailer_and_scripts() -> None:
    with sandbox() as server:
        async with client_of(server) as client:
            caps = await client.probe()
    assert caps.adetailer is not None
    assert caps.adetailer.version == "25.3.0"
    assert caps.adetailer.max_units == 4
    assert caps.adetailer.args["ad_confidence"]["maximum"] == 1.0
    assert "ad_mask_k_largest" not in caps.adetailer.args
    script = caps.script("SD upscale", is_img2img=True, is_alwayson=False)
    assert script is not None
    assert len(script.args) == 4
    assert caps.script("SD upscale", is_img2img=False) is None


async def test_a_server_that_starts_is_waited_for_until_its_last_route() -> None:
    waits: list[str] = []
    with sandbox("forge", start_seconds=0.6) as server:
        async with client_of(server) as client:
            with pytest.raises((errors.NotReady, errors.NotAWebUI, errors.Unreachable)):
                await client.wait_ready(0)
            await client.wait_ready(30, lambda reason, _: waits.append(reason))
            assert await client.loras() is not None
            assert (await client.embeddings()).loaded is not None
    assert waits


async def test_nobody_there() -> None:
    with sandbox() as server:
        url = server.url
    async with WebUIClient(ServerConfig(base_url=url)) as client:
        with pytest.raises(errors.Unreachable, match="Is the WebUI of .* running") as caught:
            await client.wait_ready(0)
    assert caught.value.retryable


@pytest.mark.parametrize("password", [None, "wrong"])
async def test_a_password_is_wanted(password: str | None) -> None:
    with sandbox(auth=("ann", "secret")) as server:
        async with client_of(server, username="ann" if password else None, password=password) as client:
            with pytest.raises(errors.AuthenticationFailed, match="user name and password") as caught:
                await client.wait_ready(30)
        async with client_of(server, username="ann", password="secret") as client:
            await client.wait_ready(0)
            await client.call(txt2img())
    assert "wrong" not in str(caught.value)
    assert not caught.value.retryable


# -- rendering
# ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("make", [txt2img, img2img, extras], ids=["txt2img", "img2img", "extras"])
async def test_a_call_is_made_and_verifies_clean(flavour: str, make: Callable[[], WebUIRequest]) -> None:
    with sandbox(flavour) as server:
        async with client_of(server) as client:
            names = await load_names(client)
            request = in_dialect(make(), names.family, names).request
            reply = await client.call(request, stage="any")
            verdict = verify(request, reply, await client.probe(), names)
            sent = server.generating()[-1].body
    assert verdict.mismatches == ()
    assert reply.images[0].size == request.size
    assert reply.raw_images[0].startswith(b"\x89PNG")
    wants_id = flavour in ("a1111", "forge") and make is not extras
    assert ("force_task_id" in sent) is wants_id


async def test_a_batch_has_its_seeds_in_order() -> None:
    with sandbox() as server:
        async with client_of(server) as client:
            request = txt2img(3)
            verdict = verify(
                request, await client.call(request), await client.probe(), await load_names(client)
            )
    assert verdict.seeds == (5, 6, 7)


async def test_the_request_of_the_caller_is_not_changed() -> None:
    with sandbox() as server:
        async with client_of(server) as client:
            request = txt2img()
            await client.call(request)
    assert "force_task_id" not in request.body


@pytest.mark.parametrize(
    ("fault", "kind", "retryable"),
    [
        ({"kind": "oom"}, errors.OutOfMemory, False),
        ({"kind": "nan"}, errors.NansError, False),
        ({"kind": "reset"}, errors.Unreachable, True),
        ({"kind": "truncated"}, errors.IncompleteResponse, True),
        ({"kind": "broken_image"}, errors.IncompleteResponse, True),
        ({"kind": "fewer_images"}, errors.FewerImages, False),
        ({"kind": "status", "status": 503}, errors.Overloaded, True),
    ],
)
@pytest.mark.parametrize("flavour", ["a1111", "forge"])
async def test_each_fault_is_its_error_and_the_next_call_works(
    flavour: str, fault: dict[str, Any], kind: type[errors.WebUIError], retryable: bool
) -> None:
    with sandbox(flavour) as server:
        async with client_of(server) as client:
            await client.probe()
            server.arm(Fault(**fault))
            with pytest.raises(kind) as caught:
                await client.call(txt2img(2), stage="txt2img")
            await client.call(txt2img())
    assert caught.value.retryable is retryable
    assert caught.value.stage == "txt2img"
    assert caught.value.server == server.url
    assert "2 images 64x64, Euler a, 4 steps" in str(caught.value)


@pytest.mark.parametrize("fault", ["wrong_size", "wrong_checkpoint", "swallowed_adetailer"])
async def test_each_silent_fault_is_a_mismatch(fault: Any) -> None:
    detailer = {"ADetailer": {"args": [True, False, {"ad_model": "face_yolov8n.pt"}]}}
    with sandbox() as server:
        async with client_of(server) as client:
            names = await load_names(client)
            detailer["ADetailer"]["args"][2]["ad_model"] = names.ad_models[0]  # type: ignore[index]
            override = {"sd_model_checkpoint": names.checkpoints[0].title}
            request = txt2img(alwayson_scripts=detailer, override_settings=override)
            caps = await client.probe()
            assert (
                verify(request, await client.call(request), caps, await load_names(client)).mismatches == ()
            )
            server.arm(Fault(kind=fault))
            verdict = verify(request, await client.call(request), caps, await load_names(client))
    found = {"wrong_size": "size", "wrong_checkpoint": "checkpoint", "swallowed_adetailer": "ADetailer units"}
    assert [mismatch.field for mismatch in verdict.mismatches] == [found[fault]]


async def test_a_server_that_dies_is_unreachable_and_found_again() -> None:
    with sandbox() as server:
        async with client_of(server) as client:
            await client.probe()
            server.arm(Fault(kind="crash"))
            with pytest.raises((errors.Unreachable, errors.IncompleteResponse)) as caught:
                await client.call(txt2img())
            assert caught.value.retryable
            server.restart()
            await client.wait_ready(20)
            await client.call(txt2img())


# -- watching
# -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("step", [0, 2])
async def test_a_call_that_hangs_is_stopped_and_the_server_is_idle_again(flavour: str, step: int) -> None:
    with sandbox(flavour, step_seconds=0.02) as server:
        async with client_of(server) as client:
            await client.probe()
            server.arm(Fault(kind="hang", step=step))
            with pytest.raises(errors.Stalled, match="no progress for") as caught:
                await client.call(txt2img(), stage="txt2img")
            assert caught.value.idle
            assert not caught.value.retryable
            assert await client.is_idle()
            await client.call(txt2img())


async def test_a_call_that_waits_in_the_queue_never_stalls() -> None:
    with sandbox(step_seconds=0.05) as server:
        async with client_of(server) as client, client_of(server) as other:
            await client.probe()
            states: list[CallState] = []
            # Sampling moves all the time, and takes several times as long as anything may stand still.
            long = asyncio.create_task(other.call(txt2img(steps=60)))
            await _until(lambda: bool(server.generating()))
            await client.call(txt2img(), on_state=states.append)
            await long
    phases = [state.phase for state in states]
    assert Phase.QUEUED in phases
    assert next(state for state in states if state.phase is Phase.QUEUED).seconds < 3.0


@pytest.mark.parametrize("flavour", ["api-only", "sdnext"])
async def test_without_task_ids_the_second_of_our_calls_waits(flavour: str) -> None:
    with sandbox(flavour, step_seconds=0.05) as server:
        async with client_of(server) as client:
            await client.probe()
            states: list[CallState] = []
            long = asyncio.create_task(client.call(txt2img(steps=40)))
            await _until(lambda: len(server.generating()) == 1)
            await client.call(txt2img(), on_state=states.append)
            await long
    assert states[0].phase is Phase.QUEUED


async def test_steps_are_told_while_it_samples() -> None:
    states: list[CallState] = []
    with sandbox(step_seconds=0.1) as server:
        async with client_of(server) as client:
            await client.call(txt2img(steps=12), on_state=states.append)
    sampling = [state for state in states if state.phase is Phase.SAMPLING]
    assert sampling
    assert all(state.steps == 12 for state in sampling)
    assert [state.step for state in sampling] == sorted(state.step or 0 for state in sampling)


# -- stopping
# -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_a_cancelled_call_is_interrupted_at_the_server(flavour: str) -> None:
    with sandbox(flavour, step_seconds=0.1) as server:
        async with client_of(server) as client:
            await client.probe()
            cancel = asyncio.Event()
            call = asyncio.create_task(client.call(txt2img(steps=500), cancel=cancel))
            await _until(lambda: bool(server.generating()) and server.webui.state.sampling_step > 0)
            cancel.set()
            with pytest.raises(errors.Interrupted):
                await call
            assert await client.wait_idle(10)
            paths = [request.path for request in server.log]
    assert "/sdapi/v1/interrupt" in paths


async def test_a_cancelled_asyncio_task_is_interrupted_at_the_server_too() -> None:
    with sandbox(step_seconds=0.1) as server:
        async with client_of(server) as client:
            await client.probe()
            call = asyncio.create_task(client.call(txt2img(steps=500)))
            await _until(lambda: bool(server.generating()) and server.webui.state.sampling_step > 0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await client.wait_idle(10)


async def test_somebody_elses_job_is_not_interrupted_for_our_waiting_call() -> None:
    with sandbox(step_seconds=0.05) as server:
        async with client_of(server) as client, client_of(server) as other:
            await asyncio.gather(client.probe(), other.probe())
            theirs = asyncio.create_task(other.call(txt2img(steps=40)))
            await _until(lambda: len(server.generating()) == 1)
            cancel = asyncio.Event()
            ours = asyncio.create_task(client.call(txt2img(steps=500), cancel=cancel))
            await _until(lambda: len(server.generating()) == 2)
            cancel.set()
            with pytest.raises(errors.Interrupted):
                await ours
            reply = await theirs
            assert await client.wait_idle(10)
            interrupts = [request for request in server.log if request.path == "/sdapi/v1/interrupt"]
            theirs_logged, ours_logged = server.generating()
    assert reply.images
    assert interrupts
    assert theirs_logged.t_end is not None
    assert all(request.t_start >= theirs_logged.t_end - 0.5 for request in interrupts)
    assert ours_logged.path == "/sdapi/v1/txt2img"


async def test_what_is_cancelled_before_it_was_sent_is_not_sent() -> None:
    with sandbox() as server:
        async with client_of(server) as client:
            cancel = asyncio.Event()
            cancel.set()
            with pytest.raises(errors.Interrupted, match="before it was sent"):
                await client.call(txt2img(), cancel=cancel)
            assert server.generating() == []


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 (the sandbox's log has no event)
        await asyncio.sleep(0.01)


async def test_an_answer_that_comes_before_any_interrupt_is_kept() -> None:
    """Cancelled in its last moment, with the picture already on its way: nothing that was rendered is
    lost.
    """
    with sandbox(encode_seconds=1.0) as server:
        async with client_of(server) as client:
            await client.probe()
            cancel = asyncio.Event()
            # Encoding happens outside the server's lock, when its job is over and there is nothing to
            # interrupt.
            call = asyncio.create_task(client.call(txt2img(), cancel=cancel))
            await _until(lambda: server.webui.state.job_count == 0 and bool(server.generating()))
            await asyncio.sleep(0.2)
            cancel.set()
            reply = await call
            paths = [request.path for request in server.log]
    assert len(reply.images) == 1
    assert "/sdapi/v1/interrupt" not in paths


async def test_refresh_waits_in_line_behind_a_job() -> None:
    with sandbox(step_seconds=0.1) as server:
        async with client_of(server) as other, client_of(server, read_timeout=0.3) as client:
            await asyncio.gather(client.probe(), other.probe())
            call = asyncio.create_task(other.call(txt2img(steps=10)))
            await _until(lambda: bool(server.generating()))
            await client.refresh()
            await call


# -- options, lists, doctor
# ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_options_refresh_and_png_info(flavour: str) -> None:
    with sandbox(flavour) as server:
        async with client_of(server) as client:
            await client.refresh()
            await client.set_options({"CLIP_stop_at_last_layers": 2})
            assert (await client.options())["CLIP_stop_at_last_layers"] == 2
            info = await client.png_info(base64_picture((8, 8), infotext="a\nSteps: 1, Sampler: x, Seed: 4"))
            assert "Seed: 4" in info.info
            with pytest.raises(errors.UnknownName) as caught:
                await client.set_options({"no_such_option": 1})
            await client.interrupt()
    assert caught.value.name == "no_such_option"


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_every_name_that_a_server_lists_is_found(flavour: str) -> None:
    with sandbox(flavour) as server:
        async with client_of(server) as client:
            names = await load_names(client)
    for kind in NameKind:
        for name in names.existing(kind):
            found = names.find(kind, name)
            assert isinstance(found, Found), (kind, name, found)


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_doctor_describes_and_changes_nothing(flavour: str) -> None:
    with sandbox(flavour) as server:
        async with client_of(server) as client:
            before = await client.options()
            diagnosis = await examine(client)
            assert await client.options() == before
            writes = [r.path for r in server.log if r.method != "GET"]
    assert diagnosis.server == server.url
    assert diagnosis.idle
    assert diagnosis.counts["samplers"] > 0
    assert writes == []
    again = type(diagnosis).model_validate_json(diagnosis.model_dump_json())
    assert again == diagnosis
    works = {ability.name: ability.works for ability in diagnosis.abilities}
    assert works["task ids"] is (flavour in ("a1111", "forge"))


async def test_doctor_says_how_to_set_what_troubles() -> None:
    with sandbox() as server:
        server.set_options(lora_add_hashes_to_infotext=False, samples_format="jpg")
        async with client_of(server) as client:
            diagnosis = await examine(client)
    advice = {one.what: one for one in diagnosis.advice}
    assert "'png'" in advice["option samples_format is 'jpg'"].how
    assert any("lora_add_hashes_to_infotext" in text for text in diagnosis.unverifiable)
