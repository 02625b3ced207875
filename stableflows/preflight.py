"""Before the first generating request: every name is looked up, and all problems are told at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stableflows.budget import disk_warnings, megapixel_warnings
from stableflows.config import SDUpscale
from stableflows.config.base import named_fields
from stableflows.embeddings import embedding_tags
from stableflows.entries import Entry, place_of
from stableflows.errors import InputError, InvalidInputs, Where
from stableflows.network_hashes import listed_networks, remembered
from stableflows.sdnext_faults import schedule_faults
from stableflows.server_state import OptionChanges, ServerState, listed_hashes
from stableflows.silent_faults import positive_prompts, silent_faults, written_prompts
from stableflows.webui.capabilities import Capabilities, Family
from stableflows.webui.client import WebUIClient
from stableflows.webui.errors import NotReady
from stableflows.webui.kinds import NameKind
from stableflows.webui.names import NAMED_WITH_HASH, NotFound, ServerNames, load_names
from stableflows.webui.prompts import lora_tags
from stableflows.webui.serverstate import pixel_options, troubling_options

__all__ = ["check_names", "preflight", "survey"]

MOST_NAMED = 12
"""Names that an error lists where none is like the one that was written."""

CONNECT_SECONDS = 5.0
"""How long a server that does not answer at all is tried when a run begins."""
STARTING_SECONDS = 180.0
"""How long one that is starting, and answers some of its routes, is waited for."""

WORDS = {
    NameKind.AD_MODEL: "ADetailer model",
    NameKind.HIRES_UPSCALER: "upscaler for hires",
    NameKind.LORA: "LoRA",
    NameKind.VAE: "VAE",
}


@dataclass(frozen=True)
class _Use:
    kind: NameKind
    name: str
    field: str


async def preflight(
    client: WebUIClient,
    entries: tuple[Entry, ...],
    *,
    root: Path,
    say: Callable[[str], None],
    sandbox: bool = False,
) -> ServerState:
    """Wait for the server, learn what it has, and refuse what it does not.

    Args:
        say: told what is waited for.

    Raises:
        WebUIError: the server is down, needs a password, or is no WebUI.
        InvalidInputs: every name that it does not have, each with where it stands and the nearest names.
    """
    try:
        await client.wait_ready(CONNECT_SECONDS)
    except NotReady:
        await client.wait_ready(STARTING_SECONDS)
    if not await client.is_idle():
        say("The server is busy with another job; waiting until it is idle")
        await client.wait_idle(math.inf)
    await client.refresh()
    return await survey(client, entries, root=root, say=say, sandbox=sandbox)


async def survey(
    client: WebUIClient,
    entries: tuple[Entry, ...],
    *,
    root: Path,
    say: Callable[[str], None],
    sandbox: bool = False,
    remembers: bool = False,
) -> ServerState:
    """What a server has, as far as the entries need it.

    Args:
        remembers: what the server said of LoRAs and embeddings at earlier runs stands for their hashes, which
            is good enough for a plan.

    Raises:
        WebUIError: the server does not answer.
        InvalidInputs: every name that it does not have.
    """
    capabilities = await client.probe()
    names = await load_names(client)
    changes = OptionChanges.of(root, client.config.server_identity, await client.options())
    options = changes.before
    problems = [*check_names(entries, names, capabilities), *_two_contents(entries, names)]
    if problems:
        raise InvalidInputs(problems)
    hashes = listed_hashes(names) | listed_networks(names)
    checkpoints = (use.name for entry in entries for use in _uses(entry) if use.kind is NameKind.CHECKPOINT)
    names = names.expecting(checkpoints)
    if remembers:
        hashes |= remembered(root, client.config.server_identity)
    return ServerState(
        config=client.config,
        capabilities=capabilities,
        names=names,
        options=options,
        pixel_options=pixel_options(options, capabilities.family),
        changes=changes,
        hashes=hashes,
        sandbox=sandbox,
        warnings=(
            *_embedding_warnings(entries, names),
            *disk_warnings(entries, root),
            *megapixel_warnings(entries, client.config.megapixel_limit),
            *(str(trouble) for trouble in troubling_options(options)),
        ),
    )


def _embedding_warnings(entries: tuple[Entry, ...], names: ServerNames) -> list[str]:
    found = {
        f"the embedding {use.name!r} does not fit the loaded checkpoint; if it does not fit "
        f"the entry's own either, the server takes its name for plain text"
        for entry in entries
        for use in _uses(entry)
        if _may_fit_later(use, entry, names)
    }
    return sorted(found)


def check_names(
    entries: tuple[Entry, ...], names: ServerNames, capabilities: Capabilities
) -> list[InputError]:
    """Everything that the entries name and the server does not have; one error a name and place."""
    errors: dict[str, InputError] = {}
    for entry in entries:
        for use in _uses(entry):
            found = names.find(use.kind, use.name)
            if isinstance(found, NotFound) and not _may_fit_later(use, entry, names):
                error = _unknown(use, found, place_of(entry, use.field))
                errors.setdefault(str(error), error)
        for error in silent_faults(entry, capabilities):
            errors.setdefault(str(error), error)
        if capabilities.family is Family.SDNEXT:
            for stage in entry.plan:
                for field, message in schedule_faults(stage, names):
                    error = InputError(message, where=entry.places.of(field))
                    errors.setdefault(str(error), error)
    return list(errors.values())


def _may_fit_later(use: _Use, entry: Entry, names: ServerNames) -> bool:
    """An embedding that the loaded checkpoint skips may fit the one that the entry is going to load."""
    skipped = {name.casefold() for name in names.embeddings.skipped}
    if use.kind is not NameKind.EMBEDDING or use.name.casefold() not in skipped:
        return False
    loaded = names.checkpoint(str(names.options.get("sd_model_checkpoint") or ""))
    configs = [stage.generation for stage in entry.plan if stage.generation]
    return any(c.checkpoint and names.checkpoint(c.checkpoint) != loaded for c in configs)


def _two_contents(entries: tuple[Entry, ...], names: ServerNames) -> Iterator[InputError]:
    """A checkpoint of which the server does not know the hash yet, and which is named with two."""
    wanted: dict[str, tuple[str, Where]] = {}
    for entry in entries:
        for use in _uses(entry):
            named = NAMED_WITH_HASH.fullmatch(use.name) if use.kind is NameKind.CHECKPOINT else None
            model = names.checkpoint(use.name) if named else None
            if named is None or model is None or model.hash or model.sha256:
                continue
            where = place_of(entry, use.field)
            other, place = wanted.setdefault(model.title, (named["hash"], where))
            if other != named["hash"]:
                yield InputError(
                    f"the checkpoint {named['name']} is named with the hash {named['hash']} here, and with "
                    f"{other} at {place}; the server has one file of that name.",
                    where=where,
                )


def _uses(entry: Entry) -> Iterator[_Use]:
    for stage in entry.plan:
        for path, kind, name in named_fields(stage.config, f"{stage.config_key}."):
            yield _Use(kind, name, path)
        if isinstance(stage.config, SDUpscale):
            yield _Use(NameKind.SCRIPT, "SD upscale", "upscale.mode")
    for place, prompt in positive_prompts(entry):
        for tag in lora_tags(prompt):
            yield _Use(NameKind.LORA, tag.name, place)
    for place, prompt in written_prompts(entry):
        for name in embedding_tags(prompt):
            yield _Use(NameKind.EMBEDDING, name, place)


def _unknown(use: _Use, found: NotFound, where: Where) -> InputError:
    word = WORDS.get(use.kind, use.kind.value.replace("_", " "))
    message = f"the server has no {word} {use.name!r}"
    if found.reason:
        message += f": {found.reason}"
    if found.suggestions:
        message += f". Did you mean {' or '.join(map(repr, found.suggestions[:3]))}?"
    elif found.existing:
        more = ", ..." if len(found.existing) > MOST_NAMED else ""
        message += f". It has: {', '.join(found.existing[:MOST_NAMED])}{more}."
    else:
        message += "." if found.reason else "; it has none."
    return InputError(message, where=where)
