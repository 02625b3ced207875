"""Request bodies: the recorded fields with their defaults, coerced as the flavour's pydantic does.

AUTOMATIC1111 v1.10.1 runs pydantic 1 ("2" and 2.7 become 2, unknown keys vanish), Forge pydantic 2 (2.7 is
refused). The two differ in every error text, so version 1's rules are written out here and version 2's are
left to pydantic itself.
"""

import json
import operator
from collections.abc import Callable
from email.message import Message
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from stableflows.sandbox.errors import InvalidError
from stableflows.sandbox.recorded import Family, recorded

Spec = dict[str, Any]
_MISSING = {"loc": ["body"], "msg": "field required", "type": "value_error.missing"}
_TRUE = {"1", "on", "t", "true", "y", "yes"}
_FALSE = {"0", "off", "f", "false", "n", "no"}
PYDANTIC_URL = "https://errors.pydantic.dev/2.8/v/"


@cache
def specs(kind: str, family: Family) -> dict[str, Spec]:
    """Fields of a request in the order in which the server echoes them."""
    if kind == "detail":
        return dict(recorded("sdnext")["detail"])
    fields: dict[str, Spec] = dict(recorded("fields")[kind])
    image2image = kind == "img2img"
    if family == "forge" and kind in ("txt2img", "img2img"):
        fields = _after(fields, "cfg_scale", {"distilled_cfg_scale": {"type": "float", "default": 3.5}})
        hires = {"hr_distilled_cfg": {"type": "float", "default": 3.5}}
        if image2image:
            return _after(fields, "force_task_id", hires)
        modules = {"hr_additional_modules": {"type": "list", "default": None}}
        fields = _after(fields, "hr_checkpoint_name", modules)
        return _after(fields, "hr_negative_prompt", {"hr_cfg": {"type": "float", "default": 1.0}, **hires})
    if family == "sdnext" and kind in ("txt2img", "img2img"):
        own = recorded("sdnext")
        kept = {name: spec for name, spec in fields.items() if name not in own["gone"]}
        return {**kept, **own["fields"], **(own["img2img"] if image2image else {})}
    return fields


def _after(fields: dict[str, Spec], name: str, more: dict[str, Spec]) -> dict[str, Spec]:
    result: dict[str, Spec] = {}
    for key, spec in fields.items():
        result[key] = spec
        if key == name:
            result.update(more)
    return result


def parse_json(raw: bytes, content_type: str | None, validation: str) -> Any:
    """The decoded body, as FastAPI would hand it to the model.

    Raises:
        InvalidError: for an absent body and for broken JSON.
    """
    if not raw:
        raise InvalidError(
            [_MISSING] if validation == "v1" else [_v2("missing", ["body"], "Field required", None)]
        )
    if content_type:
        message = Message()
        message["content-type"] = content_type
        subtype = message.get_content_subtype()
        is_json = message.get_content_maintype() == "application" and (
            subtype == "json" or subtype.endswith("+json")
        )
        if not is_json:
            return raw
    try:
        return json.loads(raw)
    except ValueError as error:
        if not isinstance(error, json.JSONDecodeError):
            raise InvalidError([_MISSING]) from error
        if validation == "v2":
            detail = _v2("json_invalid", ["body", error.pos], "JSON decode error", {})
            del detail["url"]
            raise InvalidError([{**detail, "ctx": {"error": error.msg}}]) from error
        context = {
            "msg": error.msg,
            "doc": error.doc,
            "pos": error.pos,
            "lineno": error.lineno,
            "colno": error.colno,
        }
        raise InvalidError(
            [
                {
                    "loc": ["body", error.pos],
                    "msg": str(error),
                    "type": "value_error.jsondecode",
                    "ctx": context,
                }
            ]
        ) from error


def _v2(kind: str, loc: list[Any], msg: str, value: Any) -> dict[str, Any]:
    return {"type": kind, "loc": loc, "msg": msg, "input": value, "url": PYDANTIC_URL + kind}


def fill(kind: str, body: Any, family: Family, validation: str) -> dict[str, Any]:
    """All fields of a request, defaults filled, values coerced, unknown keys dropped.

    Raises:
        InvalidError: with the details that the server would answer with 422.
    """
    fields = specs(kind, family)
    if validation == "v2":
        return _fill_v2(kind, body, family)
    if not isinstance(body, dict):
        raise InvalidError([{"loc": ["body"], "msg": "value is not a valid dict", "type": "type_error.dict"}])
    details: list[dict[str, Any]] = []
    values: dict[str, Any] = {}
    for name, spec in fields.items():
        if name not in body:
            values[name] = json.loads(json.dumps(spec["default"]))
            continue
        try:
            values[name] = _coerce_v1(body[name], spec)
        except _V1Error as error:
            details.append({"loc": ["body", name], "msg": error.msg, "type": error.kind, **error.more})
    if kind == "extra-batch-images":
        values["imageList"] = _image_list_v1(body, details)
    if details:
        raise InvalidError(details)
    return values


class _V1Error(Exception):
    def __init__(self, msg: str, kind: str, **more: Any) -> None:
        super().__init__(msg)
        self.msg, self.kind, self.more = msg, kind, more


def _coerce_v1(value: Any, spec: Spec) -> Any:
    if value is None:
        if spec.get("required_value"):
            raise _V1Error("none is not an allowed value", "type_error.none.not_allowed")
        return None
    if "choices" in spec:
        if value not in spec["choices"]:
            given = {"given": value, "permitted": spec["choices"]}
            permitted = ", ".join(map(repr, spec["choices"]))
            raise _V1Error(f"unexpected value; permitted: {permitted}", "value_error.const", ctx=given)
        return value
    result = _V1[spec["type"]](value)
    for name, holds, text, kind in _LIMITS:
        if name in spec and not holds(result, spec[name]):
            limit = int(spec[name]) if float(spec[name]).is_integer() else spec[name]
            message = f"ensure this value is {text} {limit}"
            raise _V1Error(message, f"value_error.number.{kind}", ctx={"limit_value": limit})
    return result


_LIMITS: tuple[tuple[str, Callable[[Any, Any], bool], str, str], ...] = (
    ("gt", operator.gt, "greater than", "not_gt"),
    ("ge", operator.ge, "greater than or equal to", "not_ge"),
    ("le", operator.le, "less than or equal to", "not_le"),
)


def _v1_str(value: Any) -> str:
    if isinstance(value, str | int | float):
        return str(value)
    raise _V1Error("str type expected", "type_error.str")


def _v1_int(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise _V1Error("value is not a valid integer", "type_error.integer") from None


def _v1_float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise _V1Error("value is not a valid float", "type_error.float") from None


def _v1_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).lower() if isinstance(value, str | int) else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise _V1Error("value could not be parsed to a boolean", "type_error.bool")


def _v1_list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    raise _V1Error("value is not a valid list", "type_error.list")


def _v1_dict(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise _V1Error("value is not a valid dict", "type_error.dict")


_V1: dict[str, Any] = {
    "str": _v1_str,
    "int": _v1_int,
    "float": _v1_float,
    "bool": _v1_bool,
    "list": _v1_list,
    "list[str]": lambda value: [_v1_str(item) for item in _v1_list(value)],
    "dict": _v1_dict,
}


def _image_list_v1(body: dict[str, Any], details: list[dict[str, Any]]) -> list[dict[str, str]]:
    loc: list[Any] = ["body", "imageList"]
    if "imageList" not in body:
        details.append({**_MISSING, "loc": loc})
        return []
    try:
        images = _v1_list(body["imageList"])
    except _V1Error as error:
        details.append({"loc": loc, "msg": error.msg, "type": error.kind})
        return []
    for number, image in enumerate(images):
        details += [
            {**_MISSING, "loc": [*loc, number, key]}
            for key in ("data", "name")
            if not isinstance(image, dict) or key not in image
        ]
    return images


class _FileData(BaseModel):
    model_config = ConfigDict(extra="ignore")

    data: str
    name: str


_V2: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "list": list[Any],
    "list[str]": list[str],
    "dict": dict[str, Any],
}


@cache
def _model_v2(kind: str, family: Family) -> type[BaseModel]:
    definitions: dict[str, Any] = {}
    for name, spec in specs(kind, family).items():
        annotation: Any = Literal[tuple(spec["choices"])] if "choices" in spec else _V2[spec["type"]]
        if not spec.get("required_value"):
            annotation = annotation | None
        limits = {key: spec[key] for key in ("gt", "ge", "le") if key in spec}
        definitions[name] = (annotation, Field(default=spec["default"], **limits))
    if kind == "extra-batch-images":
        definitions["imageList"] = (list[_FileData], ...)
    model: type[BaseModel] = create_model(kind, __config__=ConfigDict(extra="ignore"), **definitions)
    return model


def _fill_v2(kind: str, body: Any, family: Family) -> dict[str, Any]:
    model = _model_v2(kind, family)
    try:
        return model.model_validate(body).model_dump()
    except ValidationError as error:
        details = []
        for item in error.errors(include_url=False):
            kind_of = "model_attributes_type" if item["type"] == "model_type" else item["type"]
            detail = _v2(kind_of, ["body", *item["loc"]], item["msg"], item["input"])
            if "ctx" in item:
                detail["ctx"] = item["ctx"]
            details.append(detail)
        raise InvalidError(details) from error


def need(body: Any, name: str, validation: str) -> Any:
    """A required field of a small request (png-info's ``image``), as text.

    Raises:
        InvalidError: if it is missing or no text.
    """
    if not isinstance(body, dict):
        raise InvalidError([{"loc": ["body"], "msg": "value is not a valid dict", "type": "type_error.dict"}])
    loc = ["body", name]
    if name not in body:
        raise InvalidError(
            [{**_MISSING, "loc": loc}]
            if validation == "v1"
            else [_v2("missing", loc, "Field required", body)]
        )
    if isinstance(body[name], str):
        return body[name]
    if validation == "v1":
        raise InvalidError([{"loc": loc, "msg": "str type expected", "type": "type_error.str"}])
    raise InvalidError([_v2("string_type", loc, "Input should be a valid string", body[name])])
