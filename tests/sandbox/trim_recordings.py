"""Make ``recorded/*.json`` from recorded request and response pairs of real servers.

``python tests/sandbox/trim_recordings.py FOLDER``: the folder has one folder per server and in it one JSON
file per pair (``request``: method, path, headers, body, raw; ``response``: status, headers, json, text). What
is kept of an answer is what the sandbox is held to: status, keys, types, infotexts, error bodies, sizes of
images. Images are kept as their size, mode, format and text, never as pixels.
"""

import base64
import io
import json
import re
import struct
import sys
from pathlib import Path
from typing import Any

from PIL import Image

TARGET = Path(__file__).parent / "recorded"
SERVERS = ("a1111", "forge", "auth", "api-only", "sparse-config", "networks")
RANDOM_INFO = ("job_timestamp", "subseed", "all_subseeds")
"""Values of ``info`` that no two requests share."""


def picture(text: str) -> dict[str, Any] | None:
    """What is kept of a base64 image; None for text that is none."""
    if len(text) < 60 or " " in text[:60]:
        return None
    head, data = "", text
    if text.startswith("data:"):
        head, _, data = text.partition(",")
    cut = re.search(r"\.\.\.<truncated, \d+ chars>$", data)
    data = data[: cut.start()] if cut else data
    try:
        raw = base64.b64decode(data + "=" * (-len(data) % 4))
    except ValueError:
        return None
    try:
        image = Image.open(io.BytesIO(raw))
        kept: dict[str, Any] = {"format": image.format, "size": list(image.size), "mode": image.mode}
        texts = {key: value for key, value in image.info.items() if isinstance(value, str) and key != "exif"}
    except OSError:
        if raw[:8] != b"\x89PNG\r\n\x1a\n":
            return None
        # An image cut short in the recording: its header still tells the size.
        kept = {"format": "PNG", "size": list(struct.unpack(">II", raw[16:24])), "mode": "RGB", "cut": True}
        texts = {}
    if texts:
        kept["text"] = texts
    if head:
        kept["head"] = head + ","
    return {"$image": kept}


def pictures(value: Any) -> Any:
    """The value with every image replaced by what is kept of it."""
    if isinstance(value, str):
        return picture(value) or value
    if isinstance(value, list):
        return [pictures(item) for item in value]
    if isinstance(value, dict):
        return {key: pictures(item) for key, item in value.items()}
    return value


def shortened(value: Any) -> Any:
    """Texts that echo an image or list every weight of a model are kept by their beginning."""
    if isinstance(value, str) and len(value) > 1200:
        return {"$starts": value[:160]}
    if isinstance(value, dict):
        return {key: shortened(item) for key, item in value.items()}
    return [shortened(item) for item in value] if isinstance(value, list) else value


def types(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: types(item) for key, item in value.items()}
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    )


def differing(value: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key not in base or base[key] != item}


def generation(answer: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    info = json.loads(answer["info"])
    fixed = {key: item for key, item in info.items() if key not in RANDOM_INFO}
    if info["subseed_strength"]:
        fixed |= {"subseed": info["subseed"], "all_subseeds": info["all_subseeds"]}
    parameters = pictures(answer["parameters"])
    base.setdefault("parameters", dict(parameters))
    base.setdefault("info", fixed)
    return {
        "images": pictures(answer["images"]),
        "parameters": differing(parameters, base["parameters"]),
        "info": differing(fixed, base["info"]),
    }


def listed(path: str, answer: Any, *, with_types: bool) -> dict[str, Any]:
    """Long answers: their keys and types, and the values that requests change."""
    if path.endswith("/options"):
        names = (
            "sd_model_checkpoint",
            "sd_vae",
            "sd_checkpoint_hash",
            "samples_format",
            "CLIP_stop_at_last_layers",
        )
        values = {name: answer[name] for name in names}
        return {"types": types(answer), "values": values} if with_types else {"values": values}
    if path.endswith("/script-info"):
        shape = [
            [item["name"], item["is_alwayson"], item["is_img2img"], len(item["args"])] for item in answer
        ]
        return {"scripts": shape, "argument_keys": sorted(answer[0]["args"][0])}
    if path.endswith("/openapi.json"):
        return {
            "paths": sorted(
                path for path in answer["paths"] if path.startswith(("/sdapi", "/internal", "/adetailer"))
            )
        }
    return {"types": types(answer)}


def base_of(path: str, parameters: dict[str, Any]) -> str:
    """Forge's echo has more fields: it gets a base of its own."""
    return path.rsplit("/", 1)[-1] + (" of forge" if "distilled_cfg_scale" in parameters else "")


def _trim_answer(answer: dict[str, Any], pair: dict[str, Any], bases: dict[str, Any]) -> None:
    request, response = pair["request"], pair["response"]
    value = response.get("json")
    path = request["path"].split("?")[0]
    if isinstance(value, dict) and "parameters" in value and "images" in value:
        kind = base_of(path, value["parameters"])
        answer["generation"] = generation(value, bases.setdefault(kind, {}))
    elif (
        response["status"] == 200
        and path.endswith(("/options", "/cmd-flags", "/script-info", "/openapi.json"))
        and value
    ):
        answer["listed"] = listed(path, value, with_types=pair["name"].startswith("get_"))
    elif path.endswith("/cmd-flags") and value:
        answer["listed"] = {"types": types({**value, "body": "…"}), "values": {"error": value["error"]}}
    elif path.endswith("/progress") and value and "state" in value:
        answer["listed"] = {
            "types": types({**value, "current_image": None}),
            "image": pictures(value["current_image"]),
        }
    elif path.endswith("/memory"):
        answer["listed"] = {"types": types(value)}
    elif value is not None or (request["method"] == "POST" and not response.get("text")):
        answer["json"] = shortened(pictures(value))
    if response.get("text") and value is None and answer["headers"].get("content-encoding") is None:
        # Of a page only that it is one.
        answer["text"] = response["text"].strip()[
            : 14 if "html" in answer["headers"].get("content-type", "") else 80
        ]


def trimmed(name: str, pair: dict[str, Any], bases: dict[str, Any]) -> dict[str, Any]:
    request, response = pair["request"], pair["response"]
    kept: dict[str, Any] = {"name": name, "method": request["method"], "path": request["path"]}
    for key in ("headers", "raw"):
        if request.get(key):
            kept[key] = request[key]
    if request.get("body") is not None:
        kept["body"] = pictures(request["body"])
    headers = dict(response.get("headers") or {})
    answer: dict[str, Any] = {"status": response["status"]}
    answer["headers"] = {
        key: headers[key]
        for key in ("content-type", "allow", "www-authenticate", "content-encoding")
        if key in headers
    }
    answer["x-process-time"] = "x-process-time" in headers
    if response.get("transport_error"):
        answer["transport_error"] = response["transport_error"].split(":")[0]
    _trim_answer(answer, pair, bases)
    kept["answer"] = answer
    if pair.get("note"):
        kept["note"] = pair["note"]
    return kept


def main(source: Path) -> None:
    TARGET.mkdir(exist_ok=True)
    for server in SERVERS:
        bases: dict[str, Any] = {}
        pairs = []
        skipped = []
        for file in sorted(
            (source / server).glob("*.json"),
            key=lambda item: (item.stem not in ("t2i_basic", "i2i_basic"), item.stem),
        ):
            pair = json.loads(file.read_text(encoding="utf-8"))
            if isinstance(pair, dict) and "request" in pair and "response" in pair:
                pairs.append(trimmed(file.stem, pair, bases))
            else:
                skipped.append(file.stem)
        # One pair a line reads well and diffs well.
        text = json.dumps({"bases": bases, "no_pairs": skipped}, ensure_ascii=False)[:-1] + ',"pairs":[\n'
        text += (
            ",\n".join(json.dumps(pair, ensure_ascii=False, separators=(",", ":")) for pair in pairs)
            + "\n]}\n"
        )
        (TARGET / f"{server}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
