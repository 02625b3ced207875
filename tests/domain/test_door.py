"""Calls reach the server in the order in which they were started, never more than `depth` at once."""

from __future__ import annotations

import asyncio

import pytest

from stableflows.door import Door
from stableflows.waiting import WaitCancelled


class Server:
    """Notes who is inside, and lets the test say when a call is seen and when it ends."""

    def __init__(self, depth: int) -> None:
        self.door = Door(depth)
        self.cancel, self.stop = asyncio.Event(), asyncio.Event()
        self.arrived: list[str] = []
        self.inside: set[str] = set()
        self.most = 0
        self.seen: dict[str, asyncio.Event] = {}
        self.ended: dict[str, asyncio.Event] = {}

    def start(self, call_id: str, *, alone: bool | None = None) -> asyncio.Task[None]:
        self.seen[call_id], self.ended[call_id] = asyncio.Event(), asyncio.Event()
        self.door.stand(call_id)
        return asyncio.create_task(self._call(call_id, alone))

    async def _call(self, call_id: str, alone: bool | None) -> None:
        async with self.door.turn(call_id, self.cancel, self.stop) as turn:
            if alone is not None:
                await turn.alone(until_done=alone)
                assert not self.inside
            self.arrived.append(call_id)
            self.inside.add(call_id)
            self.most = max(self.most, len(self.inside))
            await self.seen[call_id].wait()
            turn.seen()
            await self.ended[call_id].wait()
            self.inside.discard(call_id)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_next_comes_when_the_one_before_was_seen() -> None:
    server = Server(depth=2)
    tasks = [server.start(name) for name in "abc"]
    await settled()
    assert server.arrived == ["a"]
    server.seen["a"].set()
    await settled()
    assert server.arrived == ["a", "b"]
    server.seen["b"].set()
    await settled()
    assert server.arrived == ["a", "b"]  # two are inside
    server.ended["b"].set()
    await settled()
    assert server.arrived == ["a", "b", "c"]
    for event in (*server.seen.values(), *server.ended.values()):
        event.set()
    await asyncio.gather(*tasks)
    assert server.most == 2


async def test_a_call_that_leaves_the_line_holds_up_nobody() -> None:
    server = Server(depth=1)
    server.door.stand("hit")
    task = server.start("a")
    await settled()
    assert server.arrived == []
    server.door.step_out("hit")
    await settled()
    assert server.arrived == ["a"]
    server.seen["a"].set()
    server.ended["a"].set()
    await task


@pytest.mark.parametrize("until_done", [False, True])
async def test_who_must_be_alone_waits_for_the_others_and_may_keep_them_out(until_done: bool) -> None:
    server = Server(depth=3)
    first = server.start("a")
    second = server.start("b", alone=until_done)
    third = server.start("c")
    server.seen["a"].set()
    await settled()
    assert server.arrived == ["a"]
    server.ended["a"].set()
    await settled()
    assert server.arrived == ["a", "b"]
    server.seen["b"].set()
    await settled()
    assert server.arrived == (["a", "b"] if until_done else ["a", "b", "c"])
    for event in (*server.seen.values(), *server.ended.values()):
        event.set()
    await asyncio.gather(first, second, third)
    assert server.arrived == ["a", "b", "c"]


@pytest.mark.parametrize("event", ["cancel", "stop"])
async def test_a_cancel_or_a_stop_ends_the_waiting(event: str) -> None:
    """Also of a call that comes to the door only then, and would find it open."""
    server = Server(depth=1)
    first, second = server.start("a"), server.start("b")
    await settled()
    getattr(server, event).set()
    with pytest.raises(WaitCancelled):
        await second
    server.seen["a"].set()
    server.ended["a"].set()
    await first
    with pytest.raises(WaitCancelled):
        await server.start("c")
    assert server.arrived == ["a"]


async def test_a_stop_ends_the_waiting_to_be_alone() -> None:
    server = Server(depth=2)
    first, second = server.start("a"), server.start("b", alone=True)
    server.seen["a"].set()
    await settled()
    server.stop.set()
    with pytest.raises(WaitCancelled):
        await second
    server.ended["a"].set()
    await first
    assert server.arrived == ["a"]
