"""Verification of LoRA, embeddings and ADetailer, row by row, and what a mismatch tells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stableflows.webui.errors import Mismatch
from stableflows.webui.models import WebUIRequest
from stableflows.webui.verify import verify

from .made_answers import BODY, HIRES, HIRES_PARAMS, REFINER, answer, check, fields
from .recorded_servers import SITE, capabilities, names

# -- networks
# -----------------------------------------------------------------------------------------------------


def test_every_lora_has_its_hash() -> None:
    body = BODY | {"prompt": "a cat <lora:one:0.8> <lora:two,three:1>"}
    both = {"Lora hashes": '"one: 0123456789ab, twothree: 0123456789ab"'}
    assert fields(check(body, answer(body, params=both))) == []
    verdict = check(body, answer(body, params={"Lora hashes": "one: 0123456789ab"}))
    assert [(m.field, m.asked) for m in verdict.mismatches] == [("LoRA", "two,three")]


def test_loras_of_the_hires_prompt_and_of_styles_count_too() -> None:
    style = (
        names("a1111").styles[0].model_copy(update={"name": "soft", "prompt": "<lora:of_style:1>, {prompt}"})
    )
    known = replace(names("a1111"), styles=(style,))
    body = BODY | HIRES | {"hr_prompt": "<lora:of_hires:1>", "styles": ["soft"]}
    verdict = check(body, answer(body, params=HIRES_PARAMS), known=known)
    assert sorted(m.asked for m in verdict.mismatches) == ["of_hires", "of_style"]


def test_a_server_that_was_told_not_to_report_loras_gets_a_warning() -> None:
    body = BODY | {"prompt": "<lora:one:1>", "override_settings": {"lora_add_hashes_to_infotext": False}}
    verdict = check(body, answer(body))
    assert fields(verdict) == []
    assert len(verdict.warnings) == 1


def test_an_embedding_is_never_a_mismatch() -> None:
    body = BODY | {"prompt": "a cat, RndEmb"}
    assert check(body, answer(body)).unverified == (
        "embedding rndemb: reported only when its prompt is newly encoded",
    )
    assert check(body, answer(body, params={"TI hashes": "rndemb: 4c7605108b5a"})).unverified == ()


def unit(model: str) -> dict[str, Any]:
    return {"ad_model": model}


@pytest.mark.parametrize(
    ("arguments", "params", "wrong"),
    [
        ([True, False, unit("a.pt")], {"ADetailer model": "a.pt"}, []),
        ([True, False, unit("a.pt")], {}, ["ADetailer units"]),
        (
            [True, False, unit("a.pt")],
            {"ADetailer model": "a.pt", "ADetailer model 2nd": "b.pt"},
            ["ADetailer units"],
        ),
        ([True, False, unit("a.pt"), unit("b.pt")], {"ADetailer model": "b.pt"}, ["ADetailer units"]),
        (
            [True, False, unit("a.pt"), unit("None"), unit("b.pt")],
            {"ADetailer model": "a.pt", "ADetailer model 2nd": "b.pt"},
            [],
        ),
        ([False, False, unit("a.pt")], {}, []),
        ([], {"ADetailer model": "a.pt"}, ["ADetailer units"]),
    ],
)
def test_adetailer_runs_the_units_that_were_asked_for(
    arguments: list[Any], params: dict[str, Any], wrong: list[str]
) -> None:
    body = BODY | {"alwayson_scripts": {"ADetailer": {"args": arguments}}}
    assert fields(check(body, answer(body, params=params))) == wrong


def test_an_embedding_of_the_negative_prompt_is_looked_for_too() -> None:
    body = BODY | {"negative_prompt": "rndneg"}
    assert [text.partition(":")[0] for text in check(body, answer(body)).unverified] == ["embedding rndneg"]


@pytest.mark.parametrize(
    ("family", "why"), [("a1111", "it needs the extension"), ("forge", "forge_additional_modules")]
)
def test_why_a_vae_was_not_used(family: str, why: str) -> None:
    body = BODY | {"override_settings": {"sd_vae": "rnd_vae"}}
    request = WebUIRequest("/sdapi/v1/txt2img", body)
    [mismatch] = verify(request, answer(body), capabilities(family), names(family)).mismatches
    assert (mismatch.field, mismatch.asked, mismatch.got) == ("VAE", "rnd_vae", "none")
    assert why in mismatch.why


def test_what_was_asked_and_what_came_is_told() -> None:
    units = [True, False, unit("a.pt"), unit("b.pt")]
    body = BODY | HIRES | {"alwayson_scripts": {"ADetailer": {"args": units}}}
    params = HIRES_PARAMS | {"Hires upscaler": "Lanczos", "ADetailer model": "b.pt"}
    body["override_settings"] = {"sd_model_checkpoint": "sandbox_tiny_b"}
    told = {m.field: (m.asked, m.got) for m in check(body, answer(body, params=params)).mismatches}
    assert told == {
        "checkpoint": ("sandbox_tiny_b", "sandbox_tiny_a [2961c70a87]"),
        "hr_upscaler": ("Latent", "Lanczos"),
        "ADetailer units": ("a.pt, b.pt", "b.pt"),
    }


def test_a_refiner_of_the_same_name_and_another_hash() -> None:
    body = BODY | REFINER
    assert fields(check(body, answer(body, params={"Refiner": "sandbox_tiny_b [0123456789]"}))) == ["refiner"]
    assert fields(check(body, answer(body, params={"Refiner": "sandbox_tiny_b"}))) == []


def test_a_mismatch_carries_all_its_disagreements() -> None:
    body = BODY | {"sampler_name": "Heun"}
    verdict = check(body, answer(body, sizes=((8, 8),), params={"Sampler": "Euler", "Seed": 1}))
    with pytest.raises(Mismatch, match="size: asked for 64x64, got 8x8") as caught:
        verdict.raise_for_mismatch(SITE)
    assert sorted(one.field for one in caught.value.disagreements) == ["sampler", "seed of image 1", "size"]
    assert not caught.value.retryable
