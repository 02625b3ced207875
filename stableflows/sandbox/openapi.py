"""``/openapi.json``: paths and request fields, enough for a client that probes what a server has."""

from typing import Any

from stableflows.sandbox import fields
from stableflows.sandbox.webui import WebUI

_TYPES: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "list": {"type": "array", "items": {}},
    "list[str]": {"type": "array", "items": {"type": "string"}},
    "dict": {"type": "object"},
}
_SCHEMAS = {
    "txt2img": "StableDiffusionProcessingTxt2Img",
    "img2img": "StableDiffusionProcessingImg2Img",
    "extra-single-image": "ExtrasSingleImageRequest",
    "extra-batch-images": "ExtrasBatchImagesRequest",
}


def document(webui: WebUI, routes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    schemas = {}
    for kind, name in _SCHEMAS.items():
        properties = {
            field: {
                "title": field.replace("_", " ").title(),
                "default": spec["default"],
                **_TYPES[spec["type"]],
            }
            for field, spec in fields.specs(kind, webui.family).items()
        }
        schemas[name] = {"title": name, "type": "object", "properties": properties}
    paths = {
        path: {method.lower(): _operation(path) for method in methods} for path, methods in routes.items()
    }
    version = "3.0.2" if webui.flavour.validation == "v1" else "3.1.0"
    return {
        "openapi": version,
        "info": {"title": "FastAPI", "version": "0.1.0"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(path: str) -> dict[str, Any]:
    name = path.rsplit("/", 1)[-1]
    answer = {"description": "Successful Response", "content": {"application/json": {"schema": {}}}}
    operation: dict[str, Any] = {"summary": name.replace("-", " ").title(), "responses": {"200": answer}}
    if name in _SCHEMAS:
        reference = {"$ref": f"#/components/schemas/{_SCHEMAS[name]}"}
        operation["requestBody"] = {"content": {"application/json": {"schema": reference}}, "required": True}
    return operation
