"""Prompts as a server may get them: embeddings by their bare names, and nothing in them left to be drawn."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stableflows.errors import InputError, Where

__all__ = ["faults", "plain_prompt"]

# Each pattern takes linear time on any text: none can match the same characters in two ways.
EMBEDDING = re.compile(r"<\s*embedding\s*:([^<>:]+)>", re.IGNORECASE)
WEIGHTED_EMBEDDING = re.compile(r"<\s*embedding\s*:([^<>:]+):([^<>]*)>", re.IGNORECASE)
TAG = re.compile(r"<[^<>]*>")
UNRESOLVED = (
    # [[a, b]] and [[a|b]] are the WebUI's own: weaker attention, alternating words.
    (re.compile(r"\[\[([^\[\]|:,()<>\n]*)\]\]"), "matrix slot", "; to weaken a word, write (word:0.83)"),
    (re.compile(r"__(?!_)[\w.*/~-]+?(?<!_)__"), "wildcard", ""),
    (re.compile(r"\$\{[^{}]*\}|\{[^{}|]*\|[^{}]*\}"), "variant", ""),
)


def plain_prompt(text: str) -> str:
    """`text` with `<embedding:name>` as the bare `name`, which is what the WebUI knows: it drops the tag."""
    return EMBEDDING.sub(lambda tag: tag[1].strip(), text)


def faults(text: str, where: Where) -> Iterator[InputError]:
    """What in a prompt would reach the server as it stands, and is not meant to."""
    if weighted := WEIGHTED_EMBEDDING.search(text):
        name, weight = (part.strip() for part in weighted.groups())
        yield InputError(
            f"{weighted[0]!r}: the weight of an embedding stands outside: (<embedding:{name}>:{weight}).",
            where=where,
        )
    # Names of LoRAs and embeddings may look like a wildcard.
    bare = TAG.sub("", text)
    for pattern, what, advice in UNRESOLVED:
        yield from (
            InputError(f"{found[0]!r} is a {what}, which nothing here resolves{advice}.", where=where)
            for found in pattern.finditer(bare)
        )
