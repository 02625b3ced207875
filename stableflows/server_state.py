"""What is known of the server of a run, read once when the run starts, and what the run changed there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from stableflows.entries import Entry
from stableflows.errors import StableflowsError
from stableflows.keys import KeyContext
from stableflows.loads import Weights
from stableflows.payload import StageRequest
from stableflows.run.files import write_whole
from stableflows.run.plan_record import ServerRecord
from stableflows.settling import MANAGED
from stableflows.webui.capabilities import Capabilities
from stableflows.webui.client import WebUIClient
from stableflows.webui.errors import CallFailed
from stableflows.webui.infotext import parse_infotext
from stableflows.webui.models import WebUIReply
from stableflows.webui.names import NAMED_WITH_HASH, ServerNames, checkpoint_names, load_names
from stableflows.webui.prompts import lora_tags
from stableflows.webui.server import ServerConfig
from stableflows.webui.serverstate import pixel_options

__all__ = [
    "OptionChanges",
    "ServerState",
    "listed_hashes",
    "prompts_of",
]


class OptionChanges:
    """Server options that a run changed, to be put back: someone uses that WebUI by day.

    The originals are on disk before the first change, so that after a kill the next run puts them back, at
    its own end: until then every request says what it needs.
    """

    def __init__(self, file: Path, originals: Mapping[str, Any]) -> None:
        self._file = file
        self._now = dict(originals)
        # What a run that was killed left: the options as they were before that one count.
        self._kept: dict[str, Any] = _read(file)
        self._originals = {**originals, **{name: v for name, v in self._kept.items() if name in originals}}

    @classmethod
    def of(cls, root: Path, server_identity: str, options: Mapping[str, Any]) -> OptionChanges:
        """The changes at one server; the file is named after it."""
        name = sha256(server_identity.encode()).hexdigest()[:16]
        return cls(root / "store" / "options" / f"{name}.json", options)

    @property
    def now(self) -> Mapping[str, Any]:
        """The options as the server is known to have them."""
        return self._now

    @property
    def before(self) -> dict[str, Any]:
        """All options of the server as they were before any run of ours changed one."""
        return dict(self._originals)

    @property
    def originals(self) -> Mapping[str, Any]:
        """The options that the run changes, as they were before."""
        return dict(self._kept)

    def will_change(self, names: set[str]) -> None:
        """Keep the originals of options that are about to be changed, by POST or by an override."""
        new = {
            name: self._originals[name]
            for name in sorted(names)
            if self._originals.get(name) is not None and name not in self._kept
        }
        if new:
            self._kept |= new
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._file, json.dumps(self._kept).encode())

    def differing(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Those of `options` that the server is not known to have."""
        return {name: value for name, value in options.items() if self._now.get(name) != value}

    def now_set(self, options: Mapping[str, Any]) -> None:
        """The server has these from now on: a WebUI keeps what a request overrides."""
        self._now |= options

    def unsure(self) -> None:
        """A call failed: nobody knows which of its options the server took over."""
        self._now = {}

    async def set(self, client: WebUIClient, options: Mapping[str, Any]) -> None:
        """Set options for the calls to come.

        Raises:
            WebUIError: the server refused.
        """
        self.will_change(set(options))
        await client.set_options(options)
        self.now_set(options)

    async def put_back(self, client: WebUIClient, say: Callable[[str], None]) -> None:
        """Put back what was changed, as far as it differs now.

        Args:
            say: told what the server does not take back: a checkpoint that is gone, for instance.

        Raises:
            WebUIError: the server is gone; the originals stay on disk for the next run.
        """
        if not self._kept:
            return
        now = await client.options()
        differing = {name: value for name, value in self._kept.items() if now.get(name) != value}
        try:
            if differing:
                await client.set_options(differing)
        except CallFailed as error:  # it would refuse it for ever
            say(f"Warning: the server's options could not be put back: {error}")
        self._file.unlink(missing_ok=True)
        self._kept = {}


def _read(file: Path) -> dict[str, Any]:
    """The options that were kept in a file; none if there is none.

    Raises:
        StableflowsError: it is not what we wrote.
    """
    try:
        kept = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        kept = None
    if not isinstance(kept, dict):
        raise StableflowsError(
            f"{file} is damaged: the options that the server had before an earlier run are not known. Look "
            "at the server's settings, and delete that file."
        )
    return kept


@dataclass(frozen=True)
class ServerState:
    """A server as it was when the run started.

    Attributes:
        options: all of GET /sdapi/v1/options.
        pixel_options: those that change pixels and stand in no request.
        sandbox: whether it draws rather than renders.
        hashes: (kind, name) of a model -> the hash that the server reports for it now, also in its answers.
    """

    config: ServerConfig
    capabilities: Capabilities
    names: ServerNames
    options: Mapping[str, Any]
    pixel_options: Mapping[str, Any]
    changes: OptionChanges
    sandbox: bool = False
    warnings: tuple[str, ...] = field(default=())
    hashes: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def record(self, asked: str | None) -> ServerRecord:
        """What plan.json keeps of it.

        Args:
            asked: what the request named it.
        """
        return ServerRecord(
            asked=asked,
            name=self.config.label,
            url=self.config.base_url,
            family=self.capabilities.family,
            version=self.capabilities.version,
            options=dict(self.pixel_options),
            settled={name: self.options[name] for name in MANAGED.values() if name in self.options},
            sandbox=self.sandbox,
        )

    def will_override(self, entries: tuple[Entry, ...]) -> None:
        """Keep the originals of the options that the entries' requests override: they stay overridden."""
        sampling = [stage.generation for entry in entries for stage in entry.plan if stage.generation]
        if sampling:
            named = {name for config in sampling for name in config.override_settings or {}}
            if any(stage.refiner_switch_step for entry in entries for stage in entry.plan):
                named.add("refiner_switch_by_sample_steps")
            self.changes.will_change({*MANAGED.values(), *named})

    @property
    def loaded(self) -> Weights:
        """What the server would render with if nobody said otherwise."""
        now = self.changes.now
        return Weights(
            self.canonical(str(now.get("sd_model_checkpoint") or "")), str(now.get("sd_vae") or "")
        )

    def canonical(self, checkpoint: str) -> str:
        """One name for all names of a checkpoint."""
        known = self.names.checkpoint(checkpoint)
        return known.title if known else checkpoint

    @cached_property
    def key_context(self) -> KeyContext:
        return KeyContext(
            server=self.config.server_identity,
            family=self.capabilities.family,
            options=self.pixel_options,
            hashes=self.hashes,
        )

    def learned(self, request: StageRequest, reply: WebUIReply) -> ServerState:
        """This state with the hashes that an answer reports: what was rendered with is filed under them."""
        found = reported_hashes(request.body, reply)
        news = {model: hash_ for model, hash_ in found.items() if self.hashes.get(model) != hash_}
        return replace(self, hashes={**self.hashes, **news}) if news else self

    async def read_again(self, client: WebUIClient) -> ServerState:
        """The same server after it went away and came back, perhaps with other files.

        Raises:
            WebUIError: it went away again.
        """
        names = await load_names(client)
        options = {**await client.options(), **self.changes.originals}
        networks = {model: hash_ for model, hash_ in self.hashes.items() if model[0] != "checkpoint"}
        self.changes.unsure()
        return replace(
            self,
            names=names.expecting(self.names.asked),
            pixel_options=pixel_options(options, self.capabilities.family),
            hashes=networks | listed_hashes(names),
        )


SHORT_HASH = 10
"""Characters of a checkpoint's SHA-256 that every answer of a WebUI reports."""

REPORTED_WITH_HASH = {"refiner_checkpoint": "Refiner", "hr_checkpoint_name": "Hires checkpoint"}
"""Request fields whose checkpoint an infotext names with its hash, and the key there."""


def listed_hashes(names: ServerNames) -> dict[tuple[str, str], str]:
    """The hash of each checkpoint that has one in the server's list, under each of its names."""
    return {
        ("checkpoint", name): full[:SHORT_HASH]
        for checkpoint in names.checkpoints
        if (full := checkpoint.sha256 or checkpoint.hash)
        for name in checkpoint_names(checkpoint)
    }


def reported_hashes(body: Mapping[str, Any], reply: WebUIReply) -> dict[tuple[str, str], str]:
    """What an answer says of the models that its request names."""
    found: dict[tuple[str, str], str] = {}
    asked = (body.get("override_settings") or {}).get("sd_model_checkpoint")
    if asked and reply.info and reply.info.sd_model_hash:
        found["checkpoint", asked] = reply.info.sd_model_hash
    for text in map(parse_infotext, reply.infotexts):
        for field_name, key in REPORTED_WITH_HASH.items():
            named = NAMED_WITH_HASH.fullmatch(text.params.get(key, ""))
            if named and body.get(field_name):
                found["checkpoint", body[field_name]] = named["hash"]
        hashes = text.lora_hashes
        for name, hash_ in text.embedding_hashes.items():
            found["embedding", name] = hash_
        for tag in (tag for prompt in prompts_of(body) for tag in lora_tags(prompt)):
            if tag.hash_key in hashes:
                found["lora", tag.name] = hashes[tag.hash_key]
    return found


def prompts_of(body: Mapping[str, Any]) -> list[str]:
    """Every prompt in a request's body."""
    fields = ("prompt", "negative_prompt", "hr_prompt", "hr_negative_prompt")
    texts = [str(body.get(name) or "") for name in fields]
    texts += [
        str(unit.get(name) or "")
        for unit in body.get("alwayson_scripts", {}).get("ADetailer", {}).get("args", ())
        if isinstance(unit, Mapping)
        for name in ("ad_prompt", "ad_negative_prompt")
    ]
    return texts
