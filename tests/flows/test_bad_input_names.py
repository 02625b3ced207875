"""A name that is one edit away from one that the server has is refused, and the right one suggested."""

import asyncio
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from stableflows.preflight import check_names
from stableflows.request import RenderRequest, prepare
from stableflows.sandbox import run_sandbox
from stableflows.webui.capabilities import Capabilities
from stableflows.webui.client import WebUIClient
from stableflows.webui.names import ServerNames, load_names
from stableflows.webui.server import ServerConfig


@dataclass(frozen=True)
class Server:
    """What a sandbox says it has."""

    capabilities: Capabilities
    names: ServerNames


@pytest.fixture(scope="module")
def server() -> Server:
    async def ask(url: str) -> Server:
        async with WebUIClient(ServerConfig(base_url=url)) as client:
            return Server(await client.probe(), await load_names(client))

    with run_sandbox() as sandbox:
        return asyncio.run(ask(sandbox.url))


Named = tuple[str, dict[str, Any]]
"""A prompt, and settings."""


def txt2img(**values: Any) -> Named:
    return "x", {"txt2img": values}


def hires(**values: Any) -> Named:
    return txt2img(hires={"enabled": True, **values})


def upscale(**values: Any) -> Named:
    return "x", {"upscale": {"enabled": True, **values}}


def unit(**values: Any) -> Named:
    return "x", {"adetailer": {"enabled": True, "units": [values]}}


def samplers(names: ServerNames) -> list[str]:
    return [sampler.name for sampler in names.samplers]


def schedulers(names: ServerNames) -> list[str]:
    return [scheduler.label for scheduler in names.schedulers]


def checkpoints(names: ServerNames) -> list[str]:
    return [checkpoint.model_name for checkpoint in names.checkpoints]


def vaes(names: ServerNames) -> list[str]:
    return [vae.model_name for vae in names.vaes]


def upscalers(names: ServerNames) -> list[str]:
    return [upscaler.name for upscaler in names.upscalers]


def latent_modes(names: ServerNames) -> list[str]:
    return [mode.name for mode in names.latent_upscale_modes]


def loras(names: ServerNames) -> list[str]:
    return [lora.name for lora in names.loras]


def scripts(names: ServerNames) -> list[str]:
    return [script.name for script in names.scripts if script.is_alwayson and not script.is_img2img]


PLACES: dict[str, tuple[Callable[[ServerNames], list[str]], Callable[[str], Named]]] = {
    "txt2img.sampler": (samplers, lambda name: txt2img(sampler=name)),
    "hires.sampler": (samplers, lambda name: hires(sampler=name)),
    "unit.sampler": (samplers, lambda name: unit(ad_sampler=name)),
    "txt2img.scheduler": (schedulers, lambda name: txt2img(scheduler=name)),
    "hires.scheduler": (schedulers, lambda name: hires(scheduler=name)),
    "checkpoint": (checkpoints, lambda name: ("x", {"checkpoint": name})),
    "txt2img.checkpoint": (checkpoints, lambda name: txt2img(checkpoint=name)),
    "refiner.checkpoint": (
        checkpoints,
        lambda name: txt2img(refiner={"enabled": True, "checkpoint": name}),
    ),
    "hires.checkpoint": (checkpoints, lambda name: hires(checkpoint=name)),
    "unit.checkpoint": (checkpoints, lambda name: unit(ad_checkpoint=name)),
    "vae": (vaes, lambda name: ("x", {"vae": name})),
    "unit.vae": (vaes, lambda name: unit(ad_vae=name)),
    "upscale.upscaler": (upscalers, lambda name: upscale(upscaler=name)),
    "upscale.upscaler_2": (
        upscalers,
        lambda name: upscale(upscaler_2=name, upscaler_2_visibility=0.5),
    ),
    "sd_upscale.upscaler": (upscalers, lambda name: upscale(mode="sd_upscale", upscaler=name)),
    "hires.upscaler": (upscalers, lambda name: hires(upscaler=name)),
    "hires.upscaler latent": (latent_modes, lambda name: hires(upscaler=name)),
    "lora": (loras, lambda name: (f"x <lora:{name}:0.7>", {})),
    "hires lora": (loras, lambda name: hires(prompt=f"x <lora:{name}:0.7>")),
    "unit lora": (loras, lambda name: unit(ad_prompt=f"x <lora:{name}:0.7>")),
    "embedding": (
        lambda names: list(names.embeddings.loaded),
        lambda name: (f"x <embedding:{name}>", {}),
    ),
    "unit.ad_model": (lambda names: list(names.ad_models), lambda name: unit(ad_model=name)),
    "style": (
        lambda names: [style.name for style in names.styles],
        lambda name: txt2img(styles=[name]),
    ),
    "script": (scripts, lambda name: txt2img(alwayson_scripts={name: {"args": []}})),
}


def problems(named: Named, server: Server) -> list[str]:
    prompt, values = named
    prepared = prepare(RenderRequest(prompt=prompt, settings={"txt2img_enabled": True, **values}))
    return [str(error) for error in check_names(prepared.entries, server.names, server.capabilities)]


@st.composite
def one_edit(draw: st.DrawFn, name: str) -> str:
    """`name` with one character left out, put in, replaced, or swapped with the next."""
    place = draw(st.integers(0, len(name) - 1))
    other = draw(st.sampled_from(string.ascii_letters + string.digits))
    head, here, tail = name[:place], name[place], name[place + 1 :]
    edits = [head + tail, head + other + here + tail, head + other + tail]
    if tail:
        edits.append(head + tail[0] + here + tail[1:])
    return draw(st.sampled_from(edits))


@pytest.mark.parametrize("place", PLACES)
def test_a_name_that_the_server_has_is_accepted(place: str, server: Server) -> None:
    """Else the test below would show nothing."""
    existing, using = PLACES[place]
    names = existing(server.names)
    assert names
    for name in names:
        assert problems(using(name), server) == []


def test_a_script_of_another_page(server: Server) -> None:
    """It is there, but for img2img: saying that it is meant would not help."""
    using = txt2img(alwayson_scripts={"soft inpainting": {"args": []}})
    [message] = problems(using, server)
    assert "the server has no always-on script 'soft inpainting' for txt2img." in message
    assert "Did you mean" not in message


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_misspelt_name_is_refused_and_the_right_one_suggested(
    place: str, server: Server, data: st.DataObject
) -> None:
    existing, using = PLACES[place]
    name = data.draw(st.sampled_from(existing(server.names)))
    wrong = data.draw(one_edit(name))
    assume(wrong.strip() and wrong == wrong.strip())  # spaces around a setting mean nothing
    assume(wrong.casefold() not in {other.casefold() for other in [*existing(server.names), "none"]})
    found = problems(using(wrong), server)
    assert len(found) == 1
    assert f"{wrong!r}" in found[0]
    assert f"{name!r}" in found[0].split("Did you mean ")[1]
