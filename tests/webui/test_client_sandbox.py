"""The client against the sandbox: a real HTTP server of each flavour, with faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stableflows.dialects import in_dialect
from stableflows.sandbox import Fault
from stableflows.webui import errors
from stableflows.webui.capabilities import Family
from stableflows.webui.client import WebUIClient
from stableflows.webui.models import WebUIRequest
from stableflows.webui.names import load_names
from stableflows.webui.server import ServerConfig
from stableflows.webui.verify import verify

from .sandboxes import FLAVOURS, client_of, extras, img2img, sandbox, txt2img

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
