"""Options, names and doctor on the sandbox of each flavour."""

from __future__ import annotations

import pytest

from stableflows.webui import errors
from stableflows.webui.doctor import examine
from stableflows.webui.kinds import NameKind
from stableflows.webui.names import Found, load_names

from .recorded_servers import base64_picture
from .sandboxes import FLAVOURS, client_of, sandbox

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
