"""Calls that hang, wait, and are cancelled: on the sandbox, whose jobs take their time."""

from __future__ import annotations

import asyncio

import pytest

from stableflows.sandbox import Fault
from stableflows.webui import errors
from stableflows.webui.watch import CallState, Phase

from .sandboxes import FLAVOURS, client_of, sandbox, txt2img, until

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
            await until(lambda: bool(server.generating()))
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
            await until(lambda: len(server.generating()) == 1)
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
            await until(lambda: bool(server.generating()) and server.webui.state.sampling_step > 0)
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
            await until(lambda: bool(server.generating()) and server.webui.state.sampling_step > 0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await client.wait_idle(10)


async def test_somebody_elses_job_is_not_interrupted_for_our_waiting_call() -> None:
    with sandbox(step_seconds=0.05) as server:
        async with client_of(server) as client, client_of(server) as other:
            await asyncio.gather(client.probe(), other.probe())
            theirs = asyncio.create_task(other.call(txt2img(steps=40)))
            await until(lambda: len(server.generating()) == 1)
            cancel = asyncio.Event()
            ours = asyncio.create_task(client.call(txt2img(steps=500), cancel=cancel))
            await until(lambda: len(server.generating()) == 2)
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
            await until(lambda: server.webui.state.job_count == 0 and bool(server.generating()))
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
            await until(lambda: bool(server.generating()))
            await client.refresh()
            await call
