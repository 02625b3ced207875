"""Verification of models: checkpoint, refiner, hires, clip skip, VAE."""

from __future__ import annotations

from collections.abc import Iterator

from .capabilities import Family
from .errors import Disagreement
from .expected import refiner_is_reached
from .findings import OF_AUTOMATIC1111, Case, Finding, Unverified, Warned, reported_sampler
from .models import Checkpoint
from .names import checkpoint_names

__all__ = ["checkpoint", "clip_skip", "hires", "refiner", "vae"]


def checkpoint(case: Case) -> Iterator[Finding]:
    """By hash, else by name. An unknown one in an override is ignored: the loaded one renders."""
    asked, info = case.overrides.get("sd_model_checkpoint"), case.reply.info
    if not asked or info is None:
        return
    # SD.Next's info has no name; its infotext does.
    name, short_hash = info.sd_model_name or case.params.get("Model"), info.sd_model_hash
    if not name and not short_hash:
        yield Unverified("checkpoint: the server does not report it")
    elif not _is_checkpoint(case, str(asked), name, short_hash):
        got = f"{name or '?'} [{short_hash or '?'}]"
        why = "not there (any more), or its file was replaced; the one that was loaded rendered"
        yield Disagreement("checkpoint", str(asked), got, why)


def _is_checkpoint(case: Case, asked: str, name: str | None, short_hash: str | None) -> bool:
    model = case.names.checkpoint(asked)
    if model is None:
        return _is_name_itself(asked, name) or _is_part_of_title(case, asked, name)
    if model.hash and short_hash:
        return _same_hash(model.hash, short_hash)
    return _has_name(model, name)


def _same_hash(one: str, other: str) -> bool:
    length = min(len(one), len(other))
    return length > 0 and one[:length].casefold() == other[:length].casefold()


def _has_name(model: Checkpoint, name: str | None) -> bool:
    return name is not None and name in checkpoint_names(model)


def _is_name_itself(asked: str, name: str | None) -> bool:
    """A checkpoint that came to the server after its list was read."""
    return name is not None and name in checkpoint_names(Checkpoint(title=asked, filename=asked))


def _is_part_of_title(case: Case, asked: str, name: str | None) -> bool:
    """The server takes part of a title for the checkpoint with the shortest title that contains it."""
    titles = sorted(
        (model for model in case.names.checkpoints if asked in model.title), key=lambda m: len(m.title)
    )
    return bool(titles) and _has_name(titles[0], name)


def _is_written_model(case: Case, asked: str, written: str) -> bool:
    """Whether ``name [hash]``, as the infotext writes a refiner or hires checkpoint, is the one asked for."""
    name, _, rest = written.rpartition(" [")
    if not name:
        name, rest = written, ""
    return _is_checkpoint(case, asked, name, rest.rstrip("]") or None)


def refiner(case: Case) -> Iterator[Finding]:
    """Its key stands there only if it is another model than the base and its switch was reached."""
    asked, got = case.body.get("refiner_checkpoint"), case.params.get("Refiner")
    if not asked or str(asked) == "None":
        if got:
            yield Disagreement("refiner", "none", got, "left over on the server")
        return
    info, switch = case.reply.info, case.body.get("refiner_switch_at")
    is_base = info is not None and _is_checkpoint(case, str(asked), info.sd_model_name, info.sd_model_hash)
    if got:
        if not _is_written_model(case, str(asked), got):
            yield Disagreement("refiner", str(asked), got)
    elif not is_base and switch is not None and float(switch) >= 1:
        yield Warned("refiner: it switches at the end, so that it is not used")
    elif not is_base and not refiner_is_reached(case.body):
        yield Unverified("refiner: with so few steps its switch may not have been reached")
    elif not is_base and case.caps.family is not Family.SDNEXT:
        yield Disagreement("refiner", str(asked), "none")


def hires(case: Case) -> Iterator[Finding]:
    """The second pass leaves its keys; its checkpoint always, its sampler if it is another one."""
    if not case.body.get("enable_hr"):
        return
    if not case.params or case.caps.family is Family.SDNEXT:
        yield Unverified("hires: the server does not report it")
        return
    if "Hires upscale" not in case.params and "Hires resize" not in case.params:
        yield Disagreement("hires", "a second pass", "none")
    for field, key, same in (
        ("hr_upscaler", "Hires upscaler", ""),
        ("hr_sampler_name", "Hires sampler", "Use same sampler"),
        ("hr_checkpoint_name", "Hires checkpoint", "Use same checkpoint"),
    ):
        asked, got = case.body.get(field), case.params.get(key)
        if asked and asked != same and not _is_hires_value(case, field, str(asked), got):
            yield Disagreement(field, str(asked), got or "none")


def _is_hires_value(case: Case, field: str, asked: str, got: str | None) -> bool:
    if field == "hr_checkpoint_name":
        return got is not None and _is_written_model(case, asked, got)
    if field == "hr_sampler_name":
        choice = case.names.sampler(asked)
        got = got or reported_sampler(case)  # no key: the same as the first pass's
        return got is not None and got.casefold() == (choice.sampler.name if choice else asked).casefold()
    return got is not None and got.casefold() == asked.casefold()


def clip_skip(case: Case) -> Iterator[Finding]:
    """Reported as an option's echo; absent means 1."""
    asked = case.overrides.get("CLIP_stop_at_last_layers")
    if not isinstance(asked, int | float) or not case.params or case.caps.family not in OF_AUTOMATIC1111:
        return
    got = case.texts[0].number("Clip skip") or 1
    if max(1, int(asked)) != int(got):
        yield Disagreement("clip skip", f"{int(asked)}", f"{int(got)}")


def vae(case: Case) -> Iterator[Finding]:
    """By name: its reported hash can be another file's.

    An unknown one is ignored: the checkpoint's own is used.
    """
    if case.overrides.get("forge_additional_modules"):
        yield Unverified("modules (VAE, text encoders): the server does not report their files")
    asked, info = case.overrides.get("sd_vae"), case.reply.info
    if not asked or info is None or case.caps.family is Family.SDNEXT:
        return
    if str(asked) == "Automatic":
        yield Unverified("VAE: Automatic takes what the server finds")
    elif str(asked) == "None":
        if info.sd_vae_name:
            yield Disagreement("VAE", "None", info.sd_vae_name)
    elif info.sd_vae_name != asked:
        why = "the server does not know that name (it needs the extension), and takes the checkpoint's own"
        if case.caps.family is Family.FORGE:
            why = "Forge takes no sd_vae, but forge_additional_modules"
        yield Disagreement("VAE", str(asked), info.sd_vae_name or "none", why)
