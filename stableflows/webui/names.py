"""Everything at a server that a name in a request can be looked up in.

The rules are the servers' own (AUTOMATIC1111 v1.10.1, Forge f2.0.1), because they forgive silently: an
unknown sampler, checkpoint or LoRA is answered with 200 and something else.
"""

from __future__ import annotations

import asyncio
import ntpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from stableflows.errors import nearest

from .capabilities import Capabilities, Family
from .client import WebUIClient
from .kinds import NameKind
from .models import Checkpoint, Embeddings, Lora, Named, Sampler, Scheduler, ScriptInfo, Style, Upscaler, Vae
from .prompts import LoraTag, lora_tags, stray_tags
from .sdnext import SCHEDULES, own_name

__all__ = [
    "NAMED_WITH_HASH",
    "Found",
    "LoraTag",
    "NotFound",
    "SamplerChoice",
    "ServerNames",
    "load_names",
    "lora_tags",
    "stray_tags",
]

_MOST_SUGGESTIONS = 5

NAMED_WITH_HASH = re.compile(r"(?P<name>.+) \[(?P<hash>[0-9a-f]{10,64})\]", re.DOTALL)
"""A checkpoint by name and content. (Hashes of 8 characters, before 2023, are of another kind.)"""


@dataclass(frozen=True, slots=True)
class Found:
    """A name that the server has.

    ``name`` is the server's own for it, ``hash`` what it reports for the file.
    """

    name: str
    hash: str | None = None


@dataclass(frozen=True, slots=True)
class NotFound:
    """A name that the server has not.

    Args:
        suggestions: the nearest that exist, best first.
        existing: all of that kind.
        reason: why, where it is more than "not there".
    """

    suggestions: tuple[str, ...] = ()
    existing: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SamplerChoice:
    """A sampler as the server understands it: its name, and the schedule that stands behind it in the
    name.
    """

    sampler: Sampler
    scheduler: Scheduler | None = None


@dataclass(frozen=True)
class ServerNames:
    """The lists of a server, read once (`load_names`)."""

    family: Family = Family.UNKNOWN
    samplers: tuple[Sampler, ...] = ()
    schedulers: tuple[Scheduler, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    vaes: tuple[Vae, ...] = ()
    upscalers: tuple[Upscaler, ...] = ()
    latent_upscale_modes: tuple[Named, ...] = ()
    loras: tuple[Lora, ...] = ()
    embeddings: Embeddings = field(default_factory=Embeddings)
    styles: tuple[Style, ...] = ()
    face_restorers: tuple[Named, ...] = ()
    ad_models: tuple[str, ...] = ()
    has_adetailer: bool = False
    scripts: tuple[ScriptInfo, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    """The server's options when the lists were read."""
    asked: tuple[str, ...] = ()
    """Checkpoints by the names that a job gives them (`expecting`)."""

    def find(self, kind: NameKind, name: str) -> Found | NotFound:
        """Looks a name up as the server would, or, where the server would guess, as it should.

        (AUTOMATIC1111 takes any part of a checkpoint's title and picks the shortest: here that is not found.)
        """
        if self.family is Family.SDNEXT:
            name = own_name(kind, name, self.existing(kind))
        finder: dict[NameKind, Callable[[str], Found | NotFound]] = {
            NameKind.SAMPLER: self._find_sampler,
            NameKind.SCHEDULER: self._find_scheduler,
            NameKind.CHECKPOINT: self._find_checkpoint,
            NameKind.VAE: self._find_vae,
            NameKind.LORA: self._find_lora,
            NameKind.EMBEDDING: self._find_embedding,
            NameKind.AD_MODEL: self._find_ad_model,
            NameKind.SCRIPT: self._find_script,
        }
        if kind in finder:
            return finder[kind](name)
        return _exact(name, self.existing(kind))

    def existing(self, kind: NameKind) -> tuple[str, ...]:
        """All names of a kind."""
        named: dict[NameKind, Iterable[str]] = {
            NameKind.SAMPLER: (sampler.name for sampler in self.samplers),
            NameKind.SCHEDULER: (
                name for scheduler in self.schedulers for name in (scheduler.label, scheduler.name) if name
            ),
            NameKind.CHECKPOINT: (name for model in self.checkpoints for name in checkpoint_names(model)),
            NameKind.VAE: ("None", "Automatic", *(vae.model_name for vae in self.vaes)),
            NameKind.UPSCALER: (upscaler.name for upscaler in self.upscalers),
            NameKind.HIRES_UPSCALER: (
                *(mode.name for mode in self.latent_upscale_modes),
                *(upscaler.name for upscaler in self.upscalers),
            ),
            NameKind.LORA: (name for lora in self.loras for name in (lora.name, lora.alias) if name),
            NameKind.EMBEDDING: self.embeddings.loaded,
            NameKind.AD_MODEL: ("None", *self.ad_models) if self.has_adetailer else (),
            NameKind.STYLE: (style.name for style in self.styles),
            NameKind.SCRIPT: (script.name for script in self.scripts),
            NameKind.FACE_RESTORER: (restorer.name for restorer in self.face_restorers),
        }
        return tuple(dict.fromkeys(named[kind]))

    # -- by kind
    # -------------------------------------------------------------------------------------------------

    def sampler(self, name: str) -> SamplerChoice | None:
        """The sampler that a name means. Case counts and aliases do not resolve (SD.Next: any case)."""
        same = _any_case if self.family is Family.SDNEXT else _same
        for scheduler in (None, *self.schedulers):
            for suffix in (scheduler.label, scheduler.name, *scheduler.aliases) if scheduler else ("",):
                base = name.removesuffix(f" {suffix}") if suffix else name
                if suffix and base == name:
                    continue
                found = next((sampler for sampler in self.samplers if same(sampler.name, base)), None)
                if found:
                    return SamplerChoice(found, scheduler)
        return None

    def scheduler(self, name: str) -> Scheduler | None:
        """The scheduler of that name or label, in any case (as verification compares them)."""
        folded = name.casefold()
        for scheduler in self.schedulers:
            if folded in (scheduler.name.casefold(), scheduler.label.casefold()):
                return scheduler
        return None

    def checkpoint(self, name: str) -> Checkpoint | None:
        """The checkpoint of that title, name, file name or hash.

        `name [hash]`, as infotexts and titles have it, is the file with that content, whatever it is called
        now; else the file of that name, unless the server knows that its content is another.
        """
        listed = self._listed(name)
        named = NAMED_WITH_HASH.fullmatch(name)
        if listed or not named:
            return listed
        own = self._listed(named["name"])
        same = [model for model in self.checkpoints if _is_content(model, named["hash"])]
        if own in same or (own and not same and not own.hash and not own.sha256):
            return own
        return next(iter(same), None)

    def own_checkpoint(self, name: str) -> str:
        """A name of a checkpoint that the server itself understands: `name [hash]` is not one everywhere."""
        found = None if self._listed(name) else self.checkpoint(name)
        return found.title if found else name

    def expecting(self, asked: Iterable[str]) -> ServerNames:
        """These names, with the hashes that are asked for of checkpoints of which the server knows none yet:
        what an answer reports is compared with them."""
        asked = tuple(dict.fromkeys(asked))
        wanted: dict[str, str] = {}
        for named in filter(None, map(NAMED_WITH_HASH.fullmatch, asked)):
            model = self.checkpoint(named[0])
            if model and not model.hash and not model.sha256:
                wanted.setdefault(model.title, named["hash"])
        listed = (
            model.model_copy(update={"hash": wanted[model.title]}) if model.title in wanted else model
            for model in self.checkpoints
        )
        return replace(self, checkpoints=tuple(listed), asked=asked)

    def _listed(self, name: str) -> Checkpoint | None:
        for model in self.checkpoints:
            if name in (*checkpoint_names(model), model.hash, model.sha256) and name:
                return model
        return None

    def embeddings_in(self, text: str) -> list[str]:
        """Embeddings that a prompt mentions and the server would use: as words of their own, in any case."""
        return [
            name
            for name in self.embeddings.loaded
            if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE)
        ]

    def _find_sampler(self, name: str) -> Found | NotFound:
        choice = self.sampler(name)
        if choice is None:
            combined = [
                f"{sampler.name} {scheduler.label}"
                for sampler in self.samplers
                for scheduler in self.schedulers
            ]
            return _missing(name, self.existing(NameKind.SAMPLER), more=combined)
        suffix = f" {choice.scheduler.label}" if choice.scheduler else ""
        return Found(choice.sampler.name + suffix)

    def _find_scheduler(self, name: str) -> Found | NotFound:
        if not self.schedulers:
            reason = (
                "this server has no schedulers of their own: write it into the sampler, as DPM++ 2M Karras"
            )
            return NotFound(reason=reason)
        return _exact(name, self.existing(NameKind.SCHEDULER))

    def _find_checkpoint(self, name: str) -> Found | NotFound:
        model = self.checkpoint(name)
        if model is not None:
            return Found(model.title, model.sha256 or model.hash)
        named = NAMED_WITH_HASH.fullmatch(name)
        other = self._listed(named["name"]) if named else None
        if named is None or other is None:
            return _missing(named["name"] if named else name, self.existing(NameKind.CHECKPOINT))
        own = (other.hash or other.sha256 or "")[:10]
        return NotFound(
            suggestions=(other.title,),
            existing=self.existing(NameKind.CHECKPOINT),
            reason=f"its {named['name']} has the hash {own}, so it is another file, and none of its "
            f"checkpoints has {named['hash']}; to take it all the same, name it without the hash: "
            f"{named['name']}",
        )

    def _find_vae(self, name: str) -> Found | NotFound:
        found = _exact(name, self.existing(NameKind.VAE))
        if isinstance(found, NotFound) and (
            full := [vae.model_name for vae in self.vaes if ntpath.splitext(vae.model_name)[0] == name]
        ):
            return NotFound((*full, *found.suggestions), found.existing, "a VAE is named with its extension")
        return found

    def _find_lora(self, name: str) -> Found | NotFound:
        for lora in self.loras:
            if name and name in (lora.name, lora.alias):
                return Found(lora.name)
        return _missing(name, self.existing(NameKind.LORA))

    def _find_embedding(self, name: str) -> Found | NotFound:
        for loaded in self.embeddings.loaded:
            if _any_case(loaded, name):
                return Found(loaded)
        skipped = any(_any_case(other, name) for other in self.embeddings.skipped)
        reason = "it is there, but does not fit the loaded checkpoint, which skips it" if skipped else ""
        return _missing(name, self.existing(NameKind.EMBEDDING), reason=reason)

    def _find_ad_model(self, name: str) -> Found | NotFound:
        if not self.has_adetailer:
            return NotFound(reason="the server has no ADetailer extension, and no detailer of its own")
        return _exact(name, self.existing(NameKind.AD_MODEL))

    def _find_script(self, name: str) -> Found | NotFound:
        for script in self.scripts:
            if _any_case(script.name, name):
                return Found(script.name)
        return _missing(name, self.existing(NameKind.SCRIPT))


def checkpoint_names(model: Checkpoint) -> tuple[str, ...]:
    """The names that a checkpoint can be asked for by: title, path below its folder, file name, short
    names.
    """
    path = re.sub(r"\s*\[[0-9a-f]{10}\]$", "", model.title)
    file = ntpath.basename(model.filename) or ntpath.basename(path)
    names = (model.title, path, file, model.model_name, ntpath.splitext(file)[0])
    return tuple(dict.fromkeys(name for name in names if name))


def _is_content(model: Checkpoint, hash_: str) -> bool:
    """Whether the server knows that a file's SHA-256 begins so."""
    return any(
        known.startswith(hash_[: len(known)]) for known in (model.sha256, model.hash) if known and hash_
    )


def _same(one: str, other: str) -> bool:
    return one == other


def _any_case(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


def _exact(name: str, existing: tuple[str, ...]) -> Found | NotFound:
    return Found(name) if name in existing else _missing(name, existing)


def _missing(name: str, existing: tuple[str, ...], *, more: Iterable[str] = (), reason: str = "") -> NotFound:
    candidates = [*existing, *more]
    near = nearest(name, candidates, most=_MOST_SUGGESTIONS)
    # The nearest by ratio of a short name may leave out one that is a single slip away (PMS: PLMS, but also
    # LMS).
    near += [other for other in candidates if _one_slip_apart(name, other) and other not in near]
    folded = {suggestion.casefold() for suggestion in near}
    # Names that differ in case only are one to `nearest`; here case may be all that is wrong.
    twins = [other for other in existing if other.casefold() in folded and other not in near]
    return NotFound((*near, *twins), existing, reason)


def _one_slip_apart(one: str, other: str) -> bool:
    """One character more, less or another, or two changed over; case aside."""
    left, right = one.casefold(), other.casefold()
    while left and right and left[0] == right[0]:
        left, right = left[1:], right[1:]
    while left and right and left[-1] == right[-1]:
        left, right = left[:-1], right[:-1]
    return max(len(left), len(right)) <= 1 or (len(left) == len(right) == 2 and left == right[::-1])


async def load_names(client: WebUIClient) -> ServerNames:
    """Reads all lists of a server.

    Raises:
        WebUIError: one of them cannot be read.
    """
    capabilities: Capabilities = await client.probe()
    samplers, schedulers, checkpoints, vaes = await asyncio.gather(
        client.samplers(), client.schedulers(), client.checkpoints(), client.vaes()
    )
    upscalers, latent, loras, embeddings = await asyncio.gather(
        client.upscalers(), client.latent_upscale_modes(), client.loras(), client.embeddings()
    )
    styles, restorers, options, ad_models = await asyncio.gather(
        client.styles(), client.face_restorers(), client.options(), client.ad_models()
    )
    sdnext = capabilities.family is Family.SDNEXT
    return ServerNames(
        family=capabilities.family,
        samplers=samplers,
        schedulers=SCHEDULES if sdnext else schedulers,  # it lists samplers under that path
        checkpoints=checkpoints,
        vaes=vaes,
        upscalers=upscalers,
        latent_upscale_modes=latent,
        loras=loras,
        embeddings=embeddings,
        styles=styles,
        face_restorers=restorers,
        ad_models=ad_models,
        has_adetailer=capabilities.adetailer is not None or (sdnext and bool(ad_models)),
        scripts=capabilities.scripts,
        options=options,
    )
