"""A checkpoint that an image names with its hash is that file, whatever it is called; another is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import JsonValue

from stableflows.calls import StageCall
from stableflows.errors import InvalidInputs
from stableflows.identity import CallIdentity
from stableflows.preflight import preflight
from stableflows.request import RenderRequest, prepare
from stableflows.sandbox import Catalog, Sandbox, SandboxSettings, run_sandbox
from stableflows.sandbox.catalog import Checkpoint
from stableflows.settling import settle
from stableflows.webui.client import WebUIClient
from stableflows.webui.models import WebUIRequest
from stableflows.webui.server import ServerConfig
from stableflows.webui.verify import verify

MINE = Checkpoint(name="mine", sha256="c0ffee" + "1" * 58)
OTHER = Checkpoint(name="other", sha256="0badf00d" + "2" * 56)
NAMED = "mine [c0ffee1111]"


def job(*checkpoints: str, **txt2img: JsonValue) -> list[RenderRequest]:
    return [
        RenderRequest(prompt="a cat", settings={"checkpoint": name, "txt2img": txt2img})
        for name in checkpoints
    ]


@pytest.fixture
def knowing() -> Iterator[Sandbox]:
    """A server that knows the hashes of `other`, and of `mine` under the name `renamed`."""
    renamed = MINE.model_copy(update={"name": "renamed"})
    with run_sandbox(
        SandboxSettings(knows_hashes=True), catalog=Catalog(checkpoints=(OTHER, renamed))
    ) as sandbox:
        yield sandbox


async def looked_at(sandbox: Sandbox, asked: RenderRequest, root: Path) -> tuple[CallIdentity, StageCall]:
    prepared = prepare(asked)
    async with WebUIClient(ServerConfig(base_url=sandbox.url, poll_seconds=0.05)) as client:
        state = await preflight(client, prepared.entries, root=root, say=print)
    return CallIdentity(settle(prepared.entries, state.options), state), prepared.calls[0]


async def test_a_renamed_checkpoint_is_found_by_its_hash(knowing: Sandbox, tmp_path: Path) -> None:
    """And what is sent, and its key, are those of the same job in the server's own words."""
    by_content, by_name = [
        await looked_at(knowing, asked, tmp_path) for asked in job(NAMED, "renamed.safetensors [c0ffee1111]")
    ]
    requests = [identity.request(call, None) for identity, call in (by_content, by_name)]
    assert requests[0].body["override_settings"]["sd_model_checkpoint"].startswith("renamed.safetensors")
    assert requests[0] == requests[1]
    keys = {
        identity.key(call, request)
        for (identity, call), request in zip((by_content, by_name), requests, strict=True)
    }
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"refiner": {"enabled": True, "checkpoint": NAMED}}, "refiner_checkpoint"),
        ({"hires": {"enabled": True, "checkpoint": NAMED}}, "hr_checkpoint_name"),
    ],
)
async def test_so_are_those_of_refiner_and_hires(
    knowing: Sandbox, tmp_path: Path, settings: dict[str, JsonValue], field: str
) -> None:
    (asked,) = job("other", **settings)
    identity, call = await looked_at(knowing, asked, tmp_path)
    assert identity.request(call, None).body[field].startswith("renamed.safetensors")


async def test_another_file_of_that_name_is_told_with_both_hashes(knowing: Sandbox, tmp_path: Path) -> None:
    (asked,) = job("other [c0ffee9999]")
    with pytest.raises(InvalidInputs) as refused:
        await looked_at(knowing, asked, tmp_path)
    assert "the hash 0badf00d22, so it is another file" in str(refused.value)
    assert "c0ffee9999" in str(refused.value)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(("name", "got"), [(NAMED, []), ("mine [c0ffee9999]", ["mine [c0ffee1111]"])])
async def test_where_the_server_lists_no_hash_its_answer_is_compared(
    name: str, got: list[str], restarted: bool, tmp_path: Path
) -> None:
    with run_sandbox(SandboxSettings(), catalog=Catalog(checkpoints=(OTHER, MINE))) as sandbox:
        (asked,) = job(name, width=64, height=64, steps=1)
        identity, call = await looked_at(sandbox, asked, tmp_path)
        request = identity.request(call, None)
        assert request.body["override_settings"]["sd_model_checkpoint"] == "mine.safetensors"
        sent = WebUIRequest(request.path, request.body)
        async with WebUIClient(ServerConfig(base_url=sandbox.url, poll_seconds=0.05)) as client:
            server = identity.server
            if restarted:
                sandbox.restart(sandbox.catalog)
                server = await server.read_again(client)
            reply = await client.call(sent)
    verdict = verify(sent, reply, server.capabilities, server.names)
    assert [each.got for each in verdict.mismatches] == got


async def test_one_file_that_is_named_with_two_hashes_is_refused(tmp_path: Path) -> None:
    (asked,) = job(NAMED, refiner={"enabled": True, "checkpoint": "mine [c0ffee9999]"})
    with (
        run_sandbox(SandboxSettings(), catalog=Catalog(checkpoints=(OTHER, MINE))) as sandbox,
        pytest.raises(InvalidInputs, match="one file of that name"),
    ):
        await looked_at(sandbox, asked, tmp_path)
