"""Looking names up as the servers do: every listed name is found, every misspelling refused and suggested."""

from __future__ import annotations

import string
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stableflows.webui.capabilities import Family
from stableflows.webui.kinds import NameKind
from stableflows.webui.models import Named
from stableflows.webui.names import Found, NotFound, ServerNames, lora_tags, stray_tags

from . import recorded_servers as recorded

A1111 = recorded.names("a1111")
FORGE = recorded.names("forge")
LETTERS = string.ascii_letters + string.digits + " _-+."
CASE_BLIND = (NameKind.EMBEDDING, NameKind.SCRIPT)


@st.composite
def misspelled(draw: st.DrawFn, name: str) -> str:
    """One character left out, put in, put for another, or changed with its neighbour."""
    at = draw(st.integers(0, len(name) - 1))
    letter = draw(st.sampled_from(LETTERS))
    swapped = name[:at] + name[at : at + 2][::-1] + name[at + 2 :]
    return draw(
        st.sampled_from(
            [
                name[:at] + name[at + 1 :],
                name[:at] + letter + name[at:],
                name[:at] + letter + name[at + 1 :],
                swapped,
            ]
        )
    )


def kinds_with_names(names: ServerNames) -> list[NameKind]:
    return [kind for kind in NameKind if names.existing(kind)]


@pytest.mark.parametrize("names", [A1111, FORGE], ids=["a1111", "forge"])
@settings(deadline=None)
@given(data=st.data())
def test_a_misspelled_name_is_refused_and_the_right_one_suggested(
    names: ServerNames, data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(kinds_with_names(names)))
    right = data.draw(st.sampled_from(names.existing(kind)))
    wrong = data.draw(misspelled(right))
    same = (
        {name.casefold() for name in names.existing(kind)}
        if kind in CASE_BLIND
        else set(names.existing(kind))
    )
    assume((wrong.casefold() if kind in CASE_BLIND else wrong) not in same)
    found = names.find(kind, wrong)
    if isinstance(found, Found):  # The hash behind a misspelled name tells which it is.
        assert (kind, found.name) == (NameKind.CHECKPOINT, right)
        return
    assert right in found.suggestions


def test_every_kind_is_tried_on_one_of_the_servers() -> None:
    assert set(kinds_with_names(A1111)) == set(NameKind)


@pytest.mark.parametrize("names", [A1111, FORGE], ids=["a1111", "forge"])
@pytest.mark.parametrize("kind", list(NameKind))
def test_every_listed_name_is_found(names: ServerNames, kind: NameKind) -> None:
    assert all(isinstance(names.find(kind, name), Found) for name in names.existing(kind))


def found(kind: NameKind, name: str, names: ServerNames = A1111) -> str | None:
    result = names.find(kind, name)
    return result.name if isinstance(result, Found) else None


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("Euler a", "Euler a"),
        ("DPM++ 2M Karras", "DPM++ 2M Karras"),
        ("DPM++ 2M karras", "DPM++ 2M Karras"),
        ("Euler SGMUniform", "Euler SGM Uniform"),
        ("euler a", None),
        ("k_euler", None),
        ("DPM++ 2M Karas", None),
        ("", None),
    ],
)
def test_samplers_are_case_sensitive_and_have_no_aliases(asked: str, name: str | None) -> None:
    assert found(NameKind.SAMPLER, asked) == name


def test_a_misspelled_schedule_behind_a_sampler_is_suggested() -> None:
    result = A1111.find(NameKind.SAMPLER, "DPM++ 2M Karas")
    assert isinstance(result, NotFound)
    assert "DPM++ 2M Karras" in result.suggestions


def test_on_an_older_server_the_schedule_is_part_of_the_name() -> None:
    sampler = A1111.samplers[0].model_copy(update={"name": "DPM++ 2M Karras"})
    old = replace(A1111, schedulers=(), samplers=(*A1111.samplers, sampler))
    assert found(NameKind.SAMPLER, "DPM++ 2M Karras", old) == "DPM++ 2M Karras"
    assert found(NameKind.SAMPLER, "DPM++ SDE Karras", old) is None
    result = old.find(NameKind.SCHEDULER, "Karras")
    assert isinstance(result, NotFound)
    assert "into the sampler" in result.reason


def test_sdnext_takes_samplers_in_any_case() -> None:
    assert found(NameKind.SAMPLER, "euler A", replace(A1111, family=Family.SDNEXT)) == "Euler a"


@pytest.mark.parametrize("name", ["karras", "Karras", "SGM Uniform", "sgm_uniform", "automatic", "Automatic"])
def test_schedulers_go_by_name_or_label(name: str) -> None:
    assert found(NameKind.SCHEDULER, name) == name
    assert found(NameKind.SCHEDULER, name.upper()) is None


@pytest.mark.parametrize(
    ("asked", "is_there"),
    [
        ("sandbox_tiny_b.safetensors [96b753969e]", True),
        ("sandbox_tiny_b.safetensors", True),
        ("sandbox_tiny_b", True),
        ("96b753969e", True),
        ("96b753969ee68905e65c87a8135398526a02a0e6757f4c14e0e950454716c481", True),
        ("sandbox_tiny_b.safetensors [0000000000]", False),
        ("tiny_b", False),  # the server would guess
        ("Sandbox_tiny_b", False),
        ("", False),
    ],
)
def test_checkpoints(asked: str, is_there: bool) -> None:
    result = A1111.find(NameKind.CHECKPOINT, asked)
    assert isinstance(result, Found) is is_there
    if isinstance(result, Found):
        assert result.hash is not None
        assert result.hash.startswith("96b753969e")


def test_a_checkpoint_in_a_folder_of_a_windows_server() -> None:
    model = A1111.checkpoints[0].model_copy(
        update={
            "title": "sdxl\\big.safetensors [0123456789]",
            "model_name": "sdxl_big",
            "hash": "0123456789",
            "filename": "D:\\webui\\models\\sdxl\\big.safetensors",
        }
    )
    names = replace(A1111, checkpoints=(model,))
    for asked in ("sdxl\\big.safetensors", "sdxl_big", "big.safetensors", "big", "0123456789"):
        assert found(NameKind.CHECKPOINT, asked, names) == model.title
    assert model.filename_only == "big.safetensors"


def test_a_vae_needs_its_extension() -> None:
    assert found(NameKind.VAE, "rnd_vae.safetensors") == "rnd_vae.safetensors"
    assert found(NameKind.VAE, "Automatic") == "Automatic"
    assert found(NameKind.VAE, "None") == "None"
    result = A1111.find(NameKind.VAE, "rnd_vae")
    assert isinstance(result, NotFound)
    assert result.suggestions[0] == "rnd_vae.safetensors"
    assert "extension" in result.reason


def test_loras_by_name_or_alias_with_their_case() -> None:
    assert found(NameKind.LORA, "rnd_alias") == "rnd_alias"
    assert found(NameKind.LORA, "other_alias") == "rnd_alias"
    for wrong in ("RND_PLAIN", "rnd_plain.safetensors", "rnd_plain "):
        result = A1111.find(NameKind.LORA, wrong)
        assert isinstance(result, NotFound)
        assert "rnd_plain" in result.suggestions


def test_names_that_differ_in_case_only_are_both_suggested() -> None:
    twin = A1111.loras[0].model_copy(update={"name": "RND_PLAIN", "alias": ""})
    result = replace(A1111, loras=(*A1111.loras, twin)).find(NameKind.LORA, "rnd_plan")
    assert isinstance(result, NotFound)
    assert {"rnd_plain", "RND_PLAIN"} <= set(result.suggestions)


def test_embeddings_that_the_server_skips_are_not_there() -> None:
    assert found(NameKind.EMBEDDING, "RNDEMB") == "rndemb"
    result = A1111.find(NameKind.EMBEDDING, "wrongwidth")
    assert isinstance(result, NotFound)
    assert "does not fit the loaded checkpoint" in result.reason


def test_latent_modes_are_hires_upscalers_only() -> None:
    assert found(NameKind.HIRES_UPSCALER, "Latent (nearest)") == "Latent (nearest)"
    assert found(NameKind.HIRES_UPSCALER, "Lanczos") == "Lanczos"
    assert found(NameKind.UPSCALER, "Latent (nearest)") is None


def test_adetailer_models_need_adetailer() -> None:
    assert found(NameKind.AD_MODEL, "None") == "None"
    result = FORGE.find(NameKind.AD_MODEL, "mediapipe_face_full")
    assert isinstance(result, NotFound)
    assert "no ADetailer" in result.reason


def test_scripts_in_any_case_face_restorers_and_styles_exactly() -> None:
    assert found(NameKind.SCRIPT, "SD Upscale") == "sd upscale"
    assert found(NameKind.STYLE, "known_style") == "known_style"
    assert found(NameKind.STYLE, "Known_style") is None
    assert found(NameKind.FACE_RESTORER, "GFPGAN") == "GFPGAN"
    names = replace(A1111, face_restorers=(Named(name="Other"),))
    assert found(NameKind.FACE_RESTORER, "GFPGAN", names) is None


@pytest.mark.parametrize(
    ("prompt", "tags"),
    [
        ("a <lora:one:0.8> b<lyco:two>", [("one", "0.8"), ("two", "")]),
        ("(cat <lora:one:0.8>:1.2) AND <lora:two:te=0:unet=1>", [("one", "0.8"), ("two", "te=0:unet=1")]),
        ("< lora:one:1> <LORA:one:1> <hypernet:x:1> <embedding:e>", []),
        ("<lora:sub dir/one :1>", [("sub dir/one ", "1")]),
        ("<lora:one", []),
    ],
)
def test_lora_tags(prompt: str, tags: list[tuple[str, str]]) -> None:
    assert [(tag.name, tag.weight_text) for tag in lora_tags(prompt)] == tags


@pytest.mark.parametrize(
    ("weight", "readable"),
    [
        ("0.8", True),
        ("", True),
        ("0.8:0", True),
        ("te=0:unet=0.8", True),
        ("abc", False),
        ("te=x", False),
        ("1:y", False),
    ],
)
def test_an_unreadable_weight_is_told(weight: str, readable: bool) -> None:
    [tag] = lora_tags(f"<lora:one:{weight}>")
    assert tag.weight_is_readable is readable


def test_the_key_of_a_hash_has_neither_colon_nor_comma() -> None:
    assert lora_tags("<lora:rnd,comma:1>")[0].hash_key == "rndcomma"


def test_stray_tags_are_those_that_vanish() -> None:
    assert stray_tags("a <embedding:x:0.8> <lora:y:1> <LORA:z:1>") == ["<embedding:x:0.8>", "<LORA:z:1>"]


@pytest.mark.parametrize(
    ("text", "mentioned"),
    [
        ("a cat, RNDEMB", ["rndemb"]),
        ("(rndemb:1.2)", ["rndemb"]),
        ("embedding:rndemb", ["rndemb"]),
        ("myrndemb rndembs", []),
        ("wrongwidth", []),
    ],
)
def test_embeddings_are_words_of_their_own(text: str, mentioned: list[str]) -> None:
    assert A1111.embeddings_in(text) == mentioned
