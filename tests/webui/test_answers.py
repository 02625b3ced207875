"""Every recorded error body becomes the right error of the tree."""

from __future__ import annotations

import json
import pickle

import pytest

from stableflows.errors import ExitCode
from stableflows.webui import errors
from stableflows.webui.answers import decode_json, error_of_answer
from stableflows.webui.errors import CallSite, Disagreement, WebUIError

from . import recorded_servers as recorded

EXPECTED = {
    errors.OutOfMemory: ["auth/oom", "auth/oom_img", "forge/oom", "a1111/t2i_huge"],
    errors.NansError: ["a1111/t2i_nan_real", "auth/nans"],
    errors.UnknownName: [
        "a1111/i2i_script_unknown",
        "a1111/interrogate_bad_model",
        "a1111/options_unknown_key",
        "a1111/options_unknown_model",
        "a1111/t2i_alwayson_unknown",
        "a1111/t2i_hr_unknown_checkpoint",
        "a1111/t2i_hr_unknown_upscaler",
        "a1111/t2i_override_unknown_key",
        "a1111/t2i_refiner_unknown",
        "a1111/t2i_script_unknown",
        "a1111/t2i_xyz_sampler_unknown",
        "a1111/x_unknown_upscaler",
        "a1111/x_unknown_upscaler2",
        "forge/options_unknown_key",
        "forge/options_unknown_model",
        "forge/t2i_hr_unknown_upscaler",
        "forge/t2i_script_unknown",
        "forge/x_unknown",
        "networks/hrck_03_unknown",
        "networks/refiner_04_unknown",
    ],
    errors.BadImage: [
        "a1111/i2i_bad_base64",
        "a1111/i2i_base64_not_image",
        "a1111/i2i_http_url",
        "a1111/i2i_init_null",
        "a1111/i2i_mask_bad",
        "a1111/i2i_missing_init",
        "a1111/png_info_bad",
        "a1111/x_bad_image",
        "a1111/x_no_image",
        "a1111/xb_one_bad",
        "api-only/n_img_huge_init",
        "forge/i2i_bad_base64",
        "forge/i2i_missing_init",
        "forge/png_info_bad",
    ],
    errors.AuthenticationFailed: [
        "auth/auth_bad_body_no_auth",
        "auth/auth_bearer",
        "auth/auth_none",
        "auth/auth_none_post",
        "auth/auth_unknown_user",
        "auth/auth_wrong",
        "forge/auth_none",
        "forge/auth_wrong",
    ],
    errors.CheckpointLoadFailed: [
        "networks/ckpt_33_old_name_file_gone",
        "networks/ckptfail_04_corrupt",
        "networks/ckptfail_05_after_same",
        "networks/ckptfail_05c_after_same_again",
        "networks/ckptfail_05d_lora_after",
        "networks/ckptfail_05e_ti_after",
        "networks/ckptfail_07_after_reload",
        "networks/ckptfail_09_after_unload_reload",
        "networks/ckptfail_22_refiner_corrupt",
        "networks/ckptfail_23_plain_after",
        "networks/ckptfail_24_plain_newprompt",
        "networks/ckptfail_31_wrongshape",
        "networks/vaefail_02_corrupt",
        "networks/vaefail_03_plain",
    ],
    errors.MissingEndpoint: [
        "a1111/get_on_post",
        "a1111/unknown_path",
        "api-only/n_internal_progress",
        "api-only/n_pending",
        "api-only/n_ping",
        "api-only/n_root",
        "forge/get_loras",
        "forge/get_sd_vae",
        "forge/unknown_path",
    ],
}
KIND_OF = {key: kind for kind, keys in EXPECTED.items() for key in keys}


def error_of(key: str) -> WebUIError:
    record = recorded.errors()[key]
    site = CallSite("http://recorded", record["method"], record["path"], "txt2img", "1 image")
    return error_of_answer(record["status"], json.dumps(record["body"]).encode(), site)


@pytest.mark.parametrize("key", sorted(recorded.errors()))
def test_every_recorded_error_has_its_kind_and_says_what_the_server_said(key: str) -> None:
    record, error = recorded.errors()[key], error_of(key)
    default = errors.RequestRejected if record["status"] < 500 else errors.CallFailed
    assert type(error) is KIND_OF.get(key, default)
    assert not error.retryable
    body = record["body"]
    texts = [body.get("errors"), body.get("message"), body.get("detail")] if isinstance(body, dict) else []
    said = next((text for text in texts if isinstance(text, str) and text), "")
    assert " ".join(said.split())[:200] in str(error)
    assert f"{record['method']} http://recorded{record['path']}, stage txt2img, asked for 1 image" in str(
        error
    )


def test_the_table_names_only_what_was_recorded() -> None:
    assert set(KIND_OF) <= set(recorded.errors())


def test_a_name_that_the_server_does_not_know_is_told() -> None:
    names = {key: error.name for key in KIND_OF if isinstance(error := error_of(key), errors.UnknownName)}
    assert names["a1111/t2i_hr_unknown_upscaler"] == "NoSuchUpscaler"
    assert names["networks/refiner_04_unknown"] == "nosuch_refiner"
    assert names["a1111/options_unknown_model"] == "nope"
    assert names["forge/options_unknown_key"] == "no_such"
    assert names["forge/t2i_script_unknown"] == "nope"


def test_the_fields_of_a_refused_request_are_named() -> None:
    assert "steps: value is not a valid integer" in str(error_of("a1111/t2i_wrong_type_steps"))
    assert "steps: Input should be a valid integer" in str(error_of("forge/t2i_wrong_type"))


def test_forges_hires_error_says_what_it_needs() -> None:
    assert "hr_additional_modules" in str(error_of("forge/t2i_hr_no_modules"))


SITE = recorded.SITE


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (400, b'{"error": "Init image is none"}', errors.BadImage, "Init image is none"),
        (404, b'{"detail": "Sampler not found"}', errors.UnknownName, "does not know this sampler"),
        (500, b'"unsupported operand type"', errors.CallFailed, "unsupported operand type"),
        (
            500,
            b'{"error": "RuntimeError", "code": 500, "detail": "", "body": "", "errors": "x"}',
            errors.CallFailed,
            "x",
        ),
        (500, b"Internal Server Error", errors.CallFailed, "Internal Server Error"),
        (502, b"<html><title>502 Bad Gateway</title></html>", errors.Overloaded, "Bad Gateway"),
        (503, b"", errors.Overloaded, "503"),
        (504, b'{"detail": "slow"}', errors.Overloaded, "slow"),
        (404, b"<html><title>Not here</title></html>", errors.NotAWebUI, "Not here"),
        (404, b"", errors.NotAWebUI, "--api"),
        (401, b"<html><title>Log in</title></html>", errors.NotAWebUI, "Log in"),
        (403, b'{"detail": "Forbidden"}', errors.AuthenticationFailed, "Forbidden"),
        (407, b"{}", errors.NotAWebUI, "login"),
        (302, b"", errors.NotAWebUI, "https://sso.example/login"),
        (418, b'{"detail": "teapot"}', errors.RequestRejected, "teapot"),
        (500, b"[1]", errors.CallFailed, "[1]"),
        (500, b"null", errors.CallFailed, "500"),
        (500, b"\xff\xfe", errors.CallFailed, "500"),
    ],
)
def test_shapes_that_were_not_recorded(status: int, body: bytes, kind: type[WebUIError], text: str) -> None:
    error = error_of_answer(status, body, SITE, location="https://sso.example/login" if status == 302 else "")
    assert type(error) is kind
    assert text in str(error)
    assert error.retryable is (kind is errors.Overloaded)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<!DOCTYPE html><title>Gradio</title>", errors.NotAWebUI),
        (b'{"images": ["iVBOR', errors.IncompleteResponse),
        (b"hello", errors.UnexpectedAnswer),
        (b"", errors.UnexpectedAnswer),
    ],
)
def test_a_success_that_is_no_json(body: bytes, kind: type[WebUIError]) -> None:
    with pytest.raises(kind):
        decode_json(body, SITE)


def all_kinds(kind: type[WebUIError] = WebUIError) -> list[type[WebUIError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in all_kinds(child))]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert errors.__doc__ is not None
    drawn = {
        line.split()[0]: line
        for line in errors.__doc__.replace("│", " ").replace("├─", " ").replace("└─", " ").splitlines()
        if " exit " in line
    }
    kinds = [kind for kind in all_kinds() if kind.__module__ in (errors.__name__, "stableflows.errors")]
    assert set(drawn) == {kind.__name__ for kind in kinds}
    for kind in kinds:
        assert f"exit {int(kind.exit_code)} " in drawn[kind.__name__]
        assert ("retry" in drawn[kind.__name__]) is kind.retryable


def test_errors_survive_pickling_whole() -> None:
    made = [
        errors.Mismatch(SITE, [Disagreement("seed", "1", "2", "why")]),
        errors.Stalled("no progress", SITE, idle=True),
        errors.UnknownName("no x", SITE, name="x", said="said", status=500, error_class="KeyError"),
        errors.Unreachable("refused", SITE, advice="start it"),
    ]
    for error in made:
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
        assert (type(again), str(again), again.__dict__) == (type(error), str(error), error.__dict__)


def test_exit_codes() -> None:
    assert errors.Unreachable.exit_code is ExitCode.SERVER_UNREACHABLE
    assert errors.AuthenticationFailed.exit_code is ExitCode.BAD_INPUT
    assert errors.Interrupted.exit_code is ExitCode.CANCELLED
