"""Endpoints by path and method. Those in ``LOCKED`` wait for the lock."""

import asyncio
import base64
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from PIL import Image

from stableflows.sandbox import api, extras, fields, images, infotext, lists, replies, sdnext_detail
from stableflows.sandbox.errors import HTTPError, InvalidError, ServerError, runtime_error
from stableflows.sandbox.faults import Fault
from stableflows.sandbox.replies import Reply
from stableflows.sandbox.webui import WebUI

SD = "/sdapi/v1"


@dataclass(frozen=True)
class Call:
    """A request as an endpoint sees it."""

    webui: WebUI
    query: dict[str, str]
    raw: bytes
    content_type: str | None
    fault: Fault | None = None

    def body(self) -> Any:
        return fields.parse_json(self.raw, self.content_type, self.webui.flavour.validation)

    def filled(self, kind: str) -> tuple[dict[str, Any], set[str]]:
        body = self.body()
        flavour = self.webui.flavour
        request = fields.fill(kind, body, flavour.family, flavour.validation)
        return request, set(body) if isinstance(body, dict) else set()


Endpoint = Callable[[Call], Awaitable[Reply]]


async def _locked(webui: WebUI, work: Callable[[], Any]) -> Any:
    """Run in the one worker: what came first runs first, and a client that goes away changes nothing."""
    return await asyncio.wrap_future(webui.lock.submit(work))


async def _rendered(webui: WebUI, work: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """As `_locked`, and when the lock was taken and given back."""

    def timed() -> tuple[Any, tuple[float, float]]:
        began = time.monotonic()
        return work(), (began, time.monotonic())

    made: tuple[Any, tuple[float, float]] = await _locked(webui, timed)
    return made


def _listing(make: Callable[[WebUI], Any]) -> Endpoint:
    async def answer(call: Call) -> Reply:
        return replies.as_json(make(call.webui))

    return answer


async def _encoded(call: Call, made: list[Image.Image]) -> tuple[list[str], tuple[str, ...]]:
    """Images as base64, outside the lock, and their digests."""
    webui = call.webui

    def encode() -> tuple[list[str], tuple[str, ...]]:
        if webui.settings.encode_seconds:
            time.sleep(webui.settings.encode_seconds)
        if stock := webui.stock:
            files = [stock.file(image) for image in made]
        else:
            files = [images.encode(image, webui.options) for image in made]
        if call.fault is not None and call.fault.kind == "broken_image":
            files = [file[: len(file) // 3] for file in files]
        digests = tuple(hashlib.sha256(file).hexdigest() for file in files)
        return [base64.b64encode(file).decode() for file in files], digests

    return await asyncio.wrap_future(webui.encoders.submit(encode))


def _generating(kind: str) -> Endpoint:
    async def answer(call: Call) -> Reply:
        request, given = call.filled(kind)
        prepared = api.Prepared(call.webui, kind, request, given, call.fault)
        try:
            done, times = await _rendered(call.webui, prepared.run)
        except ServerError as error:
            if call.webui.family == "sdnext" and api.sdnext_swallows(error):
                return replies.as_json({"images": [], "parameters": request, "info": ""})
            raise
        texts, digests = await _encoded(call, api.shown_images(prepared, done))
        reply = replies.as_json({**prepared.rest(done), "images": texts})
        reply.images, reply.rendered = digests, times
        return reply

    return answer


def _extras(kind: str) -> Endpoint:
    async def answer(call: Call) -> Reply:
        request, _ = call.filled(kind)
        (made, info), times = await _rendered(
            call.webui, partial(extras.run, call.webui, request, call.fault)
        )
        texts, digests = await _encoded(call, api.spoiled(made, call.fault))
        single = kind == "extra-single-image"
        shown: dict[str, Any] = {"image": texts[0] if texts else None} if single else {"images": texts}
        reply = replies.as_json({"html_info": info, **shown})
        reply.images, reply.rendered = digests, times
        return reply

    return answer


async def _detail(call: Call) -> Reply:
    detail = sdnext_detail.Detail(call.webui, call.body(), call.fault)
    made = await _locked(call.webui, detail.run)
    texts, digests = await _encoded(call, api.spoiled([made], call.fault))
    shown = texts[0] if texts else None
    reply = replies.as_json({"image": shown, "detections": None, "seed": detail.seed})
    reply.images = digests
    return reply


async def _png_info(call: Call) -> Reply:
    webui = call.webui
    text = fields.need(call.body(), "image", webui.flavour.validation)
    image = images.decode(text, webui.options)
    info, items = extras.png_info(image)
    parameters = infotext.read(info, lora_name=webui.loras.name_of_hash, forge=webui.family == "forge")
    return replies.as_json({"info": info, "items": items, "parameters": parameters})


async def _interrogate(call: Call) -> Reply:
    body = call.body()
    if not isinstance(body, dict):
        raise InvalidError([{"loc": ["body"], "msg": "value is not a valid dict", "type": "type_error.dict"}])
    if not body.get("image"):
        raise HTTPError(404, "Image not found")
    images.decode(str(body["image"]), call.webui.options)
    if body.get("model", "clip") not in ("clip", "deepdanbooru"):
        raise HTTPError(404, "Model not found")
    # The sandbox has no captioning model, like a server that could not download one.
    return replies.as_json({"caption": "<error>"})


async def _progress(call: Call) -> Reply:
    skip = call.query.get("skip_current_image", "false").lower() in ("1", "true", "on", "yes")
    answer = call.webui.state.progress(with_image=not skip)
    if call.webui.family == "sdnext":
        answer = {"id": call.webui.tasks.current, **answer}
        answer["state"] = {
            key: value for key, value in answer["state"].items() if key != "stopping_generation"
        }
    return replies.as_json(answer)


async def _internal_progress(call: Call) -> Reply:
    body = call.body()
    if not isinstance(body, dict):
        raise InvalidError([{"loc": ["body"], "msg": "value is not a valid dict", "type": "type_error.dict"}])
    return replies.as_json(call.webui.tasks.progress(body, call.webui.state))


async def _pending(call: Call) -> Reply:
    return replies.as_json(call.webui.tasks.as_json())


async def _ping(_: Call) -> Reply:
    return replies.as_json({})


def _empty(call: Call, value: Any) -> Reply:
    if call.webui.flavour.empty_status == 204:
        return Reply(204)
    return replies.as_json(value)


async def _interrupt(call: Call) -> Reply:
    call.webui.state.interrupt()
    return _empty(call, {})


async def _skip(call: Call) -> Reply:
    call.webui.state.skip()
    return _empty(call, None)


def _refresh(what: Callable[[WebUI], None]) -> Endpoint:
    async def answer(call: Call) -> Reply:
        await _locked(call.webui, partial(what, call.webui))
        return _empty(call, None)

    return answer


async def _unload(call: Call) -> Reply:
    call.webui.weights.unloaded = True
    return _empty(call, {})


async def _reload(call: Call) -> Reply:
    call.webui.weights.unloaded = False
    return _empty(call, {})


async def _set_options(call: Call) -> Reply:
    webui = call.webui
    body = call.body()
    if not isinstance(body, dict):
        raise InvalidError([{"loc": ["body"], "msg": "value is not a valid dict", "type": "type_error.dict"}])
    name = body.get("sd_model_checkpoint")
    if name is not None and webui.weights.exact(name) is None:
        raise runtime_error(f"model {name!r} not found")
    updated = []
    for key, value in body.items():
        before = webui.options[key]
        changed = webui.options.set(key, value)
        updated.append({key: changed})
        # Forge loads with the next generation, the others now and behind the lock.
        switches = changed and key == "sd_model_checkpoint" and webui.family != "forge"
        if switches and not await _locked(webui, webui.weights.switch_by_options):
            webui.options.data[key] = before
        if changed and key == "sd_vae" and webui.family != "forge":
            await _locked(webui, partial(_reload_vae, webui, before))
    webui.options.save()
    return replies.as_json({"updated": updated} if webui.family == "sdnext" else None)


def _reload_vae(webui: WebUI, before: Any) -> None:
    """An error while an option takes effect is only logged, and the old value stays."""
    try:
        webui.weights.reload_vae()
    except ServerError:
        webui.options.data["sd_vae"] = before


async def _docs(_: Call) -> Reply:
    return replies.as_text("<!DOCTYPE html><html><head><title>FastAPI - Swagger UI</title></head></html>")


async def _home(_: Call) -> Reply:
    return replies.as_text(
        "<!doctype html><html><head><title>Stable Diffusion (sandbox)</title></head></html>"
    )


def _sdnext_status(webui: WebUI) -> dict[str, Any]:
    state = webui.state
    return {
        "status": "running" if state.job_count else "idle",
        "task": webui.tasks.current or "",
        "job": state.job,
    }


def _sdnext_version(webui: WebUI) -> dict[str, Any]:
    return {"app": "sd.next", "commit": webui.flavour.version, "branch": "master"}


def _sdnext_checkpoint(webui: WebUI) -> dict[str, Any]:
    info = webui.weights.current().info
    return {"type": "safetensors", "title": info.title, "name": info.file.name, "hash": info.hash}


def routes(webui: WebUI) -> dict[str, dict[str, Endpoint]]:
    """All endpoints of a flavour, in the order in which a slow start brings them."""
    family = webui.family
    get: dict[str, Callable[[WebUI], Any]] = {
        f"{SD}/options": lists.options,
        f"{SD}/cmd-flags": lists.cmd_flags,
        f"{SD}/samplers": lists.sampler_list,
        f"{SD}/schedulers": lists.scheduler_list,
        f"{SD}/upscalers": lists.upscalers,
        f"{SD}/latent-upscale-modes": lists.latent_upscale_modes,
        f"{SD}/sd-models": lists.sd_models,
        f"{SD}/sd-vae": lists.vaes,
        f"{SD}/hypernetworks": lists.hypernetworks,
        f"{SD}/face-restorers": lists.face_restorers,
        f"{SD}/realesrgan-models": lists.realesrgan_models,
        f"{SD}/prompt-styles": lists.styles,
        f"{SD}/memory": lists.memory,
        f"{SD}/scripts": lists.script_list,
        f"{SD}/script-info": lists.script_info,
        f"{SD}/extensions": lists.extensions,
        f"{SD}/embeddings": lists.embeddings,
        f"{SD}/loras": lists.loras,
    }
    if family == "forge":
        get[f"{SD}/sd-modules"] = lists.vaes
        del get[f"{SD}/sd-vae"]
    table: dict[str, dict[str, Endpoint]] = {
        f"{SD}/progress": {"GET": _progress},
        f"{SD}/txt2img": {"POST": _generating("txt2img")},
        f"{SD}/img2img": {"POST": _generating("img2img")},
        f"{SD}/extra-single-image": {"POST": _extras("extra-single-image")},
        f"{SD}/extra-batch-images": {"POST": _extras("extra-batch-images")},
        f"{SD}/png-info": {"POST": _png_info},
        f"{SD}/interrogate": {"POST": _interrogate},
        f"{SD}/interrupt": {"POST": _interrupt},
        f"{SD}/skip": {"POST": _skip},
        f"{SD}/refresh-embeddings": {"POST": _refresh(lambda ui: ui.conditioning.refresh())},
        f"{SD}/refresh-checkpoints": {"POST": _refresh(lambda ui: ui.weights.refresh_checkpoints())},
        f"{SD}/refresh-vae": {"POST": _refresh(lambda ui: ui.weights.refresh_vaes())},
        f"{SD}/unload-checkpoint": {"POST": _unload},
        f"{SD}/reload-checkpoint": {"POST": _reload},
    }
    for path, make in get.items():
        table.setdefault(path, {})["GET"] = _listing(make)
    table[f"{SD}/options"]["POST"] = _set_options
    if webui.flavour.internal_routes:
        table["/internal/progress"] = {"POST": _internal_progress}
        table["/internal/pending-tasks"] = {"GET": _pending}
        table["/internal/ping"] = {"GET": _ping}
        table["/"] = {"GET": _home}
    if webui.has_adetailer:
        table["/adetailer/v1/version"] = {"GET": _listing(lists.adetailer_version)}
        table["/adetailer/v1/schema"] = {"GET": _listing(lists.adetailer_schema)}
        table["/adetailer/v1/ad_model"] = {"GET": _listing(lists.adetailer_models)}
    if family == "sdnext":
        for name in ("latent-upscale-modes", "hypernetworks", "realesrgan-models", "interrogate"):
            del table[f"{SD}/{name}"]
        table[f"{SD}/status"] = {"GET": _listing(_sdnext_status)}
        table[f"{SD}/version"] = {"GET": _listing(_sdnext_version)}
        table[f"{SD}/checkpoint"] = {"GET": _listing(_sdnext_checkpoint)}
        table[f"{SD}/detailers"] = {"GET": _listing(sdnext_detail.list_detailers)}
        table[f"{SD}/detail"] = {"POST": _detail}
        table["/"] = {"GET": _home}
    else:
        table["/docs"] = {"GET": _docs}
    # The LoRA extension registers its routes last.
    table[f"{SD}/loras"] = table.pop(f"{SD}/loras")
    table[f"{SD}/refresh-loras"] = {"POST": _refresh(lambda ui: ui.loras.refresh())}
    return table
