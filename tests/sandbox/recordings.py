"""The recorded pairs, their pictures made anew, and the comparison of an answer with a recorded one."""

import base64
import io
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageDraw, PngImagePlugin

from tests.sandbox.trim_recordings import RANDOM_INFO, base_of, pictures, types

FOLDER = Path(__file__).parent / "recorded"
Pair = dict[str, Any]
_LEGEND = 8
"""Pixels by which the legend of a script's grid may differ: it hangs on the font."""


@cache
def recording(server: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / f"{server}.json").read_text(encoding="utf-8"))
    return content


@cache
def by_name(server: str) -> dict[str, Pair]:
    return {pair["name"]: pair for pair in recording(server)["pairs"]}


def made(value: Any) -> Any:
    """A request's body with real images in place of what was kept of them."""
    if isinstance(value, dict) and set(value) == {"$image"}:
        return _image(json.dumps(value["$image"], sort_keys=True))
    if isinstance(value, dict):
        return {key: made(item) for key, item in value.items()}
    return [made(item) for item in value] if isinstance(value, list) else value


@cache
def _image(description: str) -> str:
    kept = json.loads(description)
    size = tuple(kept["size"])
    image = Image.new(kept["mode"], size)
    pen = ImageDraw.Draw(image)
    fill: Any = 255 if kept["mode"] == "L" else (200, 120, 40, 255)[: len(kept["mode"])]
    pen.ellipse((size[0] // 4, size[1] // 4, size[0] * 3 // 4, size[1] * 3 // 4), fill=fill)
    chunks = PngImagePlugin.PngInfo()
    for key, text in kept.get("text", {}).items():
        chunks.add_text(key, text)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=chunks)
    return str(kept.get("head", "")) + base64.b64encode(buffer.getvalue()).decode()


def send(client: httpx.Client, pair: Pair) -> httpx.Response:
    headers = dict(pair.get("headers") or {})
    if "raw" in pair:
        headers["content-type"] = "application/json"
        return client.request(pair["method"], pair["path"], content=pair["raw"], headers=headers)
    if "body" in pair:
        return client.request(pair["method"], pair["path"], json=made(pair["body"]), headers=headers)
    return client.request(pair["method"], pair["path"], headers=headers)


def random_seed(pair: Pair) -> bool:
    body = pair.get("body") or {}
    return isinstance(body, dict) and body.get("seed", -1) in (-1, None) and "infotext" not in body


class Comparison:
    """Collects what differs between an answer and the recorded one."""

    def __init__(self, server: str, pair: Pair) -> None:
        self.server = server
        self.pair = pair
        self.recorded = pair["answer"]
        self.found: list[str] = []

    def check(self, where: str, got: Any, want: Any) -> None:
        if isinstance(want, dict) and set(want) == {"$starts"}:
            if not str(got).startswith(want["$starts"]):
                self.found.append(f"{where}: {str(got)[:200]!r} does not start as {want['$starts']!r}")
        elif isinstance(want, dict) and isinstance(got, dict):
            if list(got) != list(want):
                self.found.append(f"{where}: keys {list(got)} instead of {list(want)}")
            for key in want:
                if key in got:
                    self.check(f"{where}.{key}", got[key], want[key])
        elif isinstance(want, list) and isinstance(got, list) and len(got) == len(want):
            for number, item in enumerate(want):
                self.check(f"{where}[{number}]", got[number], item)
        elif got != want:
            self.found.append(f"{where}: {str(got)[:700]!r} instead of {str(want)[:700]!r}")

    def answer(self, response: httpx.Response) -> list[str]:
        want = self.recorded
        self.check("status", response.status_code, want["status"])
        for name, value in want["headers"].items():
            self.check(f"header {name}", response.headers.get(name), value)
        self.check("has x-process-time", "x-process-time" in response.headers, want["x-process-time"])
        if self.found:
            self.found.append(f"the answer was {response.text[:300]!r}")
            return self.found
        if "json" in want:
            self.check("json", pictures(response.json()) if response.content else None, want["json"])
        if "text" in want:
            self.check("text", response.text.strip()[: len(want["text"])], want["text"])
        if "generation" in want:
            self._generation(response.json())
        if "listed" in want:
            self._listed(response.json())
        return self.found

    def _generation(self, got: dict[str, Any]) -> None:
        bases = recording(self.server)["bases"][base_of(self.pair["path"], got["parameters"])]
        want = self.recorded["generation"]
        self.check("keys", list(got), ["images", "parameters", "info"])
        wanted_parameters = bases["parameters"] | want["parameters"]
        parameters = pictures(got["parameters"])
        self.check("parameters", self._masked(parameters), self._masked(wanted_parameters))
        info = json.loads(got["info"])
        wanted_info = bases["info"] | want["info"]
        self.check("keys of info", [key for key in info if key in bases["info"]], list(bases["info"]))
        self.check("more keys of info", sorted(set(info) - set(bases["info"])), sorted(RANDOM_INFO))
        for key, value in wanted_info.items():
            self.check(f"info.{key}", self._masked(info.get(key)), self._masked(value))
        shown = [pictures(image)["$image"] for image in got["images"]]
        expected = [image["$image"] for image in want["images"]]
        self.check("number of images", len(shown), len(expected))
        for number, (mine, theirs) in enumerate(zip(shown, expected, strict=False)):
            self._picture(f"image {number}", mine, theirs)

    def _picture(self, where: str, mine: dict[str, Any], theirs: dict[str, Any]) -> None:
        script = bool((self.pair.get("body") or {}).get("script_name"))
        allowed = _LEGEND if script and "text" not in theirs else 0
        for mine_side, theirs_side in zip(mine["size"], theirs["size"], strict=True):
            if abs(mine_side - theirs_side) > allowed:
                self.found.append(f"{where}: size {mine['size']} instead of {theirs['size']}")
        self.check(f"{where} mode", mine["mode"], theirs["mode"])
        self.check(f"{where} format", mine["format"], theirs["format"])
        if not theirs.get("cut"):
            self.check(f"{where} text", self._masked(mine.get("text")), self._masked(theirs.get("text")))

    def _masked(self, value: Any) -> Any:
        """Without what is drawn at random in this request."""
        if isinstance(value, str):
            return re.sub(r"Seed: \d+", "Seed: ?", value) if random_seed(self.pair) else value
        if isinstance(value, list):
            return [self._masked(item) for item in value]
        if isinstance(value, dict):
            hidden = ("seed", "all_seeds") if random_seed(self.pair) else ()
            return {key: self._masked(item) for key, item in value.items() if key not in hidden}
        if isinstance(value, int) and value > 1_000_000 and random_seed(self.pair):
            return "?"
        return value

    def _listed(self, got: Any) -> None:
        want = self.recorded["listed"]
        if "types" in want:
            shown = got
            if isinstance(got, dict) and "current_image" in got:
                shown = {**got, "current_image": None}
            if isinstance(got, dict) and isinstance(got.get("body"), dict):
                shown = {**got, "body": "…"}
            if self.pair["path"].endswith("/options"):
                # Options are None before the first use of some; the recorded server was older than that.
                names = set(want["types"])
                self.check("options", sorted(set(shown) & names), sorted(names))
                loose = {
                    key: kind
                    for key, kind in types(shown).items()
                    if "NoneType" not in (kind, want["types"].get(key))
                }
                self.check("types", loose, {key: want["types"][key] for key in loose if key in want["types"]})
            else:
                self.check("types", types(shown), want["types"])
        for key, value in want.get("values", {}).items():
            self.check(key, got[key], value)
        if "scripts" in want:
            mine = [
                [item["name"], item["is_alwayson"], item["is_img2img"], len(item["args"])] for item in got
            ]
            self.check("scripts", mine, want["scripts"])
            self.check("argument keys", sorted(got[0]["args"][0]), want["argument_keys"])
        if "paths" in want:
            missing = sorted(set(want["paths"]) - set(got["paths"]) - _UNSERVED)
            self.check("missing paths", missing, [])
        if "image" in want and want["image"] is not None:
            mine = pictures(got["current_image"])
            self.check("current image", mine and mine["$image"]["size"], want["image"]["$image"]["size"])


_UNSERVED = {
    # What no client of pictures calls; named in docs/fidelity.md.
    "/internal/profile-startup",
    "/internal/quicksettings-hint",
    "/internal/sysinfo",
    "/internal/sysinfo-download",
    "/sdapi/v1/create/embedding",
    "/sdapi/v1/create/hypernetwork",
    "/sdapi/v1/train/embedding",
    "/sdapi/v1/train/hypernetwork",
}
