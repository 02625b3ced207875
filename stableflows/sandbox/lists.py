"""What GET endpoints answer: lists, options, memory, flags."""

from typing import Any

from stableflows.sandbox import scripts
from stableflows.sandbox.adetailer import VERSION
from stableflows.sandbox.errors import ServerError
from stableflows.sandbox.recorded import of_family, recorded
from stableflows.sandbox.sdnext_detail import list_schedulers
from stableflows.sandbox.webui import WebUI

_MEMORY = 24 * 1024**3


def sd_models(webui: WebUI) -> list[dict[str, Any]]:
    folder = f"{webui.catalog.root}/models/Stable-diffusion"
    # The config beside a file is looked for now, everything else is as the list was read.
    configs = {file.name for file in webui.catalog.checkpoints if file.has_config}
    more = {"type": "safetensors"} if webui.family == "sdnext" else {}
    return [
        {
            "title": info.title,
            "model_name": info.file.name,
            "hash": info.hash,
            "sha256": info.sha256,
            "filename": f"{folder}/{info.file.filename}",
            "config": f"{folder}/{info.file.name}.yaml" if info.file.name in configs else None,
            **more,
        }
        for info in webui.weights.checkpoints
    ]


def vaes(webui: WebUI) -> list[dict[str, str]]:
    folder = f"{webui.catalog.root}/models/VAE"
    return [{"model_name": vae.name, "filename": f"{folder}/{vae.name}"} for vae in webui.weights.vaes]


def sampler_list(webui: WebUI) -> Any:
    samplers = of_family(webui.family, "samplers")
    if webui.family == "sdnext":
        return [{"name": item["name"], "options": item["options"]} for item in samplers]
    return samplers


def scheduler_list(webui: WebUI) -> Any:
    if webui.family == "sdnext":
        return list_schedulers(webui)
    return of_family(webui.family, "schedulers")


def upscalers(webui: WebUI) -> list[dict[str, Any]]:
    own = [
        {
            "name": name,
            "model_name": name,
            "model_path": f"{webui.catalog.root}/models/ESRGAN/{name}.pth",
            "model_url": None,
            "scale": 4.0,
        }
        for name in webui.own_upscalers
    ]
    return [*of_family(webui.family, "upscalers"), *own]


def styles(webui: WebUI) -> list[dict[str, str]]:
    return [style.model_dump() for style in webui.catalog.styles]


def memory(webui: WebUI) -> dict[str, Any]:
    used = 1_200_000_000 + 6_000_000 * webui.weights.loads
    ram = {"free": float(_MEMORY - used), "used": used, "total": float(_MEMORY)}
    return {"ram": ram, "cuda": {"error": "unavailable"}}


def cmd_flags(webui: WebUI) -> Any:
    """Forge cannot answer this once an integer flag such as ``--port`` was given.

    Raises:
        ServerError: on Forge, with all flags in its body.
    """
    if webui.family == "forge":
        answer = recorded("forge")["cmd_flags_error"]
        raise ServerError(answer["error"], answer["message"], answer["body"])
    flags = dict(recorded("a1111")["cmd_flags"])
    settings = webui.settings
    flags["nowebui"] = settings.flavour == "api-only"
    flags["api_auth"] = ":".join(settings.auth) if settings.auth else None
    flags["api_server_stop"] = settings.server_stop
    return flags


def face_restorers(_: WebUI) -> Any:
    return recorded("a1111")["face_restorers"]


def realesrgan_models(_: WebUI) -> Any:
    return recorded("a1111")["realesrgan_models"]


def extensions(webui: WebUI) -> list[dict[str, Any]]:
    shown = [
        item
        for item in recorded("a1111")["extensions"]
        if item["name"] == "adetailer" and webui.has_adetailer
    ]
    shown += [extension.model_dump() for extension in webui.catalog.extensions]
    if webui.family == "forge":
        return [{**item, "commit_date": int(item["commit_date"])} for item in shown]
    return shown


def hypernetworks(_: WebUI) -> list[Any]:
    return []


def embeddings(webui: WebUI) -> dict[str, Any]:
    return webui.conditioning.as_json()


def loras(webui: WebUI) -> list[dict[str, Any]]:
    return webui.loras.as_json()


def script_list(webui: WebUI) -> dict[str, list[str]]:
    return scripts.script_names(webui)


def script_info(webui: WebUI) -> list[dict[str, Any]]:
    return scripts.script_info(webui)


def latent_upscale_modes(webui: WebUI) -> Any:
    return of_family(webui.family, "latent_upscale_modes")


def options(webui: WebUI) -> dict[str, Any]:
    return webui.options.as_json()


def adetailer_models(webui: WebUI) -> dict[str, list[str]]:
    return {"ad_model": list(webui.catalog.adetailer_models)}


def adetailer_schema(_: WebUI) -> Any:
    return recorded("adetailer_schema")


def adetailer_version(_: WebUI) -> dict[str, str]:
    return {"version": VERSION}
