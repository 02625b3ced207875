"""Scripts: names, the flat list of their arguments, and the selectable ones that the sandbox can run."""

from functools import cache
from typing import Any

from stableflows.sandbox import adetailer, selectable
from stableflows.sandbox.errors import HTTPError, ServerError
from stableflows.sandbox.job import Job
from stableflows.sandbox.processing import Processed, process_images
from stableflows.sandbox.recorded import Family, of_family, recorded
from stableflows.sandbox.webui import WebUI

ADETAILER = "adetailer"


def script_info(webui: WebUI) -> list[dict[str, Any]]:
    """``GET /script-info``: as recorded; ADetailer only where the extension is there, with its models."""
    shown: list[dict[str, Any]] = []
    for item in _recorded_info(webui.family):
        if item["name"] != ADETAILER:
            shown.append(item)
        elif webui.has_adetailer:
            shown.append({**item, "args": _adetailer_args(webui, item["args"])})
    if webui.family == "forge" and webui.has_adetailer:
        ours = [item for item in recorded("a1111_script_info") if item["name"] == ADETAILER]
        shown += [{**item, "args": _adetailer_args(webui, item["args"])} for item in ours]
    return shown


def _recorded_info(family: Family) -> list[dict[str, Any]]:
    info: list[dict[str, Any]] = recorded("forge_script_info" if family == "forge" else "a1111_script_info")
    return info


def _adetailer_args(webui: WebUI, args: list[dict[str, Any]]) -> list[dict[str, Any]]:
    slots = int(webui.options["ad_max_models"])
    values = adetailer.arguments([], webui.catalog.adetailer_models[0], slots)
    base = args[2]
    return [*args[:2], *({**base, "value": value} for value in values[2:])]


def script_names(webui: WebUI) -> dict[str, list[str]]:
    """``GET /scripts``."""
    names: dict[str, list[str]] = of_family(webui.family, "scripts")
    if webui.family == "forge":
        more = [ADETAILER] if webui.has_adetailer else []
        return {kind: [*known, *more] for kind, known in names.items()}
    if webui.has_adetailer:
        return names
    return {kind: [name for name in known if name != ADETAILER] for kind, known in names.items()}


@cache
def _selectable_args(family: Family, kind: str) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """Names and default arguments of the selectable scripts, in the order of their slots."""
    return tuple(
        (item["name"], tuple(_default(arg) for arg in item["args"]))
        for item in _recorded_info(family)
        if not item["is_alwayson"] and item["is_img2img"] is (kind == "img2img")
    )


def _default(arg: dict[str, Any]) -> Any:
    return arg["value"] if arg["value"] is not None or not arg["choices"] else arg["choices"][0]


def selected(webui: WebUI, kind: str, request: dict[str, Any]) -> tuple[str, list[Any]] | None:
    """The selectable script of a request and the arguments that it would see.

    The request's arguments replace the script's slots in one flat list: with too few, the script reads the
    defaults of the scripts behind it.

    Raises:
        HTTPError: 422 for a name that is not there.
    """
    name = request["script_name"]
    if name is None or name == "":
        return None
    slots = _selectable_args(webui.family, kind)
    position = next((number for number, (known, _) in enumerate(slots) if known == name.lower()), None)
    if position is None:
        raise HTTPError(422, f"Script '{name}' not found")
    count = len(slots[position][1])
    behind = [value for _, values in slots[position + 1 :] for value in values]
    return slots[position][0], [*request["script_args"], *behind][:count]


def alwayson(webui: WebUI, kind: str, request: dict[str, Any]) -> list[Any] | None:
    """ADetailer's arguments in a request; None where the extension is not there.

    Raises:
        HTTPError: 422 for unknown always-on scripts and for selectable ones.
        ServerError: for a value that is no mapping at all.
    """
    names = script_names(webui)[kind]
    choosable = [name for name, _ in _selectable_args(webui.family, kind)]
    first = webui.catalog.adetailer_models[0] if webui.catalog.adetailer_models else "None"
    given: list[Any] = []
    for name, value in (request["alwayson_scripts"] or {}).items():
        known = name.lower()
        if known not in (item.lower() for item in names):
            raise HTTPError(422, f"Script '{name}' not found")
        if known in choosable:
            raise HTTPError(422, "Cannot have a selectable script in the always on scripts params")
        try:
            has_args = "args" in value
        except TypeError as error:
            raise ServerError("TypeError", str(error)) from error
        # A list instead of {"args": [...]} has no "args" in it and is passed over.
        if has_args and known == ADETAILER and isinstance(value, dict):
            given = list(value["args"])
    if not webui.has_adetailer:
        return None
    return adetailer.arguments(given, first, int(webui.options["ad_max_models"]))


def run(job: Job, script: tuple[str, list[Any]] | None) -> Processed:
    """The request's script around its generation, or the generation itself."""
    if script is None:
        return process_images(job)
    name, args = script
    return selectable.run(name, job, args)
