"""What is known of the server of a run, read once when the run starts, and what the run changed there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from stableflows.entries import Entry
from stableflows.keys import KeyContext
from stableflows.payload import StageRequest
from stableflows.run.files import write_whole
from stableflows.run.plan_record import ServerRecord
from stableflows.stages import StageExecution, StageExecutionPlan
from stableflows.webui.capabilities import Capabilities
from stableflows.webui.client import WebUIClient
from stableflows.webui.infotext import parse_infotext
from stableflows.webui.models import WebUIReply
from stableflows.webui.names import ServerNames, checkpoint_names
from stableflows.webui.prompts import lora_tags
from stableflows.webui.server import ServerConfig

__all__ = ["MANAGED", "OptionChanges", "ServerState", "settle"]

MANAGED = {"checkpoint": "sd_model_checkpoint", "vae": "sd_vae", "clip_skip": "CLIP_stop_at_last_layers"}
"""Config fields of which a job may leave open, and the server options that then decide."""


class OptionChanges:
    """Server options that a run changed, to be put back: someone uses that WebUI by day.

    The originals are on disk before the first change, so that after a kill the next run puts them back.
    """

    def __init__(self, file: Path, originals: Mapping[str, Any]) -> None:
        self._file = file
        self._originals = dict(originals)
        self._kept: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}

    @classmethod
    def of(cls, root: Path, server_identity: str, options: Mapping[str, Any]) -> OptionChanges:
        """The changes at one server; the file is named after it."""
        name = sha256(server_identity.encode()).hexdigest()[:16]
        return cls(root / "store" / "options" / f"{name}.json", options)

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

    async def set(self, client: WebUIClient, options: Mapping[str, Any]) -> None:
        """Set options for the calls to come.

        Raises:
            WebUIError: the server refused.
        """
        self.will_change(set(options))
        await client.set_options(options)

    async def put_back(self, client: WebUIClient) -> None:
        """Put back what was changed, as far as it differs now.

        Raises:
            WebUIError: the server refused or is gone; the originals stay on disk for the next run.
        """
        if not self._kept:
            return
        now = await client.options()
        differing = {name: value for name, value in self._kept.items() if now.get(name) != value}
        if differing:
            await client.set_options(differing)
        self.forget()

    def forget(self) -> None:
        """Nothing is left to be put back."""
        self._file.unlink(missing_ok=True)
        self._kept = {}


@dataclass(frozen=True)
class ServerState:
    """A server as it was when the run started.

    Attributes:
        options: all of GET /sdapi/v1/options.
        pixel_options: those that change pixels and stand in no request.
        sandbox: whether it draws rather than renders.
    """

    config: ServerConfig
    capabilities: Capabilities
    names: ServerNames
    options: Mapping[str, Any]
    pixel_options: Mapping[str, Any]
    changes: OptionChanges
    sandbox: bool = False
    warnings: tuple[str, ...] = field(default=())

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
    def key_context(self) -> KeyContext:
        hashes = {
            ("checkpoint", name): checkpoint.sha256 or checkpoint.hash
            for checkpoint in self.names.checkpoints
            for name in checkpoint_names(checkpoint)
            if checkpoint.sha256 or checkpoint.hash
        }
        return KeyContext(
            server=self.config.server_identity,
            family=self.capabilities.family,
            options=self.pixel_options,
            hashes={key: value for key, value in hashes.items() if value},
        )

    def with_reported(
        self, context: KeyContext, request: StageRequest, reply: WebUIReply | None
    ) -> KeyContext:
        """`context` with the checkpoint's hash that the answer reports, where no list had one yet."""
        if reply is None or reply.info is None or not reply.info.sd_model_hash:
            return context
        name = request.body.get("override_settings", {}).get("sd_model_checkpoint")
        if not name or ("checkpoint", name) in context.hashes:
            return context
        return replace(context, hashes={**context.hashes, ("checkpoint", name): reply.info.sd_model_hash})

    def networks(
        self, body: Mapping[str, Any], reply: WebUIReply | None
    ) -> dict[tuple[str, str], str | None]:
        """The LoRAs and embeddings that a request's prompts name, each with its hash if one is reported."""
        texts = [str(body.get(name) or "") for name in ("prompt", "negative_prompt", "hr_prompt")]
        texts += [
            str(unit.get(name) or "")
            for unit in body.get("alwayson_scripts", {}).get("ADetailer", {}).get("args", ())
            if isinstance(unit, Mapping)
            for name in ("ad_prompt", "ad_negative_prompt")
        ]
        reported = [parse_infotext(text) for text in reply.infotexts] if reply else []
        found: dict[tuple[str, str], str | None] = {}
        for prompt in texts:
            for tag in lora_tags(prompt):
                key = tag.hash_key
                found["lora", tag.name] = next(
                    (text.lora_hashes[key] for text in reported if key in text.lora_hashes), None
                )
            for name in self.names.embeddings_in(prompt):
                found["embedding", name] = None  # reported only when a prompt was newly encoded
        return found


def settle(entries: tuple[Entry, ...], options: Mapping[str, Any]) -> tuple[Entry, ...]:
    """The entries with the checkpoint, VAE and clip skip that they leave open filled in from the server's
    options, as far as it has them: what one job leaves behind must not decide how the next one looks."""
    return tuple(
        replace(
            entry, plan=StageExecutionPlan(stages=tuple(_settled(stage, options) for stage in entry.plan))
        )
        for entry in entries
    )


def _settled(stage: StageExecution, options: Mapping[str, Any]) -> StageExecution:
    config = stage.generation
    if config is None:
        return stage
    known = {
        name: options[option]
        for name, option in MANAGED.items()
        if getattr(config, name) is None and options.get(option)
    }
    return stage.model_copy(update={"config": config.model_copy(update=known)}) if known else stage
