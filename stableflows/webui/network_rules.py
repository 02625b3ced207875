"""Verification of networks: LoRA, embeddings, ADetailer."""

from __future__ import annotations

from collections.abc import Iterator

from .errors import Disagreement
from .expected import adetailer_asked
from .findings import OF_AUTOMATIC1111, Case, Finding, Unverified, Warned
from .names import lora_tags

__all__ = ["adetailer", "embeddings", "loras"]

_ORDINALS = ("", " 2nd", " 3rd", *(f" {n}th" for n in range(4, 16)))


def _prompts(case: Case) -> list[str]:
    """The positive prompts that the server reads tags from, styles included."""
    prompts = [str(case.body.get("prompt") or "")]
    if case.body.get("enable_hr"):
        prompts.append(str(case.body.get("hr_prompt") or ""))
    asked = case.body.get("styles") or []
    return prompts + [style.prompt for style in case.names.styles if style.name in asked]


def loras(case: Case) -> Iterator[Finding]:
    """Each tag's name has its hash, which proves that the file was found, not that it had an effect."""
    if lora_tags(str(case.body.get("negative_prompt") or "")):
        yield Warned("LoRA: a tag in the negative prompt is plain text to the server")
    tags = {tag.hash_key: tag for prompt in _prompts(case) for tag in lora_tags(prompt)}
    if not tags or case.body.get("disable_extra_networks"):
        return
    hashes = case.texts[0].lora_hashes if case.texts else {}
    missing = [tag.name for key, tag in tags.items() if key not in hashes]
    if not missing:
        return
    if not hashes and case.option("lora_add_hashes_to_infotext") is False:
        yield Warned("LoRA: cannot be verified, since the server's option lora_add_hashes_to_infotext is off")
    elif not hashes and case.caps.family not in OF_AUTOMATIC1111:
        yield Unverified("LoRA: this server does not report hashes")
    else:
        for name in missing:
            why = "no such file (case counts), unreadable, or a weight that is no number"
            yield Disagreement("LoRA", name, "not used", why)


def embeddings(case: Case) -> Iterator[Finding]:
    """Reported only when the prompt was newly encoded, so that absence proves nothing: preflight decides."""
    texts = [*_prompts(case), str(case.body.get("negative_prompt") or "")]
    used = {name for text in texts for name in case.names.embeddings_in(text)}
    reported = {name.casefold() for text in case.texts for name in text.embedding_hashes}
    for name in sorted(used):
        if name.casefold() not in reported:
            yield Unverified(f"embedding {name}: reported only when its prompt is newly encoded")


def adetailer(case: Case) -> Iterator[Finding]:
    """Its keys stand there for each unit and no other.

    An unknown argument drops a unit; finding nothing is invisible.
    """
    asked = list(adetailer_asked(case.body).models)
    got = [case.params[key] for suffix in _ORDINALS if (key := f"ADetailer model{suffix}") in case.params]
    if asked and not case.params:
        yield Unverified("ADetailer: the picture has no infotext")
    elif asked != got:
        why = "an unknown argument drops a unit; without the two leading booleans an unasked one runs"
        yield Disagreement("ADetailer units", ", ".join(asked) or "none", ", ".join(got) or "none", why)
