"""What must not stand in a prompt: embeddings with their weight inside, and, in one that is sent as it
stands, anything that would have to be drawn."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stableflows.errors import InputError, Where

__all__ = ["MAX_PROMPT", "faults", "unresolved"]

MAX_PROMPT = 20_000
"""Characters of a prompt; long ones of real packs have 3,000."""

NOT_UNICODE = re.compile("[\ud800-\udfff]")
# Each pattern takes linear time on any text: none can match the same characters in two ways.
WEIGHTED_EMBEDDING = re.compile(r"<\s*embedding\s*:([^<>:]+):([^<>]*)>", re.IGNORECASE)
TAG = re.compile(r"<[^<>]*>")
UNRESOLVED = (
    # [[a, b]] and [[a|b]] are the WebUI's own: weaker attention, alternating words.
    (re.compile(r"\[\[([^\[\]|:,()<>\n]*)\]\]"), "matrix slot", "; to weaken a word, write (word:0.83)"),
    (re.compile(r"__(?!_)[\w.*/~-]+?(?<!_)__"), "wildcard", ""),
    (re.compile(r"\$\{[^{}]*\}|\{[^{}|]*\|[^{}]*\}"), "variant", ""),
)


def faults(text: str, where: Where) -> Iterator[InputError]:
    """What in a prompt would reach the server as it stands, and is not meant to."""
    if len(text) > MAX_PROMPT:
        yield InputError(f"is {len(text)} characters long; at most {MAX_PROMPT}.", where=where)
        return
    if NOT_UNICODE.search(text):
        yield InputError("is not UTF-8; look at the encoding of your terminal.", where=where)
        return
    if weighted := WEIGHTED_EMBEDDING.search(text):
        name, weight = (part.strip() for part in weighted.groups())
        yield InputError(
            f"{weighted[0]!r}: the weight of an embedding stands outside: (<embedding:{name}>:{weight}).",
            where=where,
        )


def unresolved(text: str, where: Where) -> Iterator[InputError]:
    """What would have to be drawn, in a prompt where nothing is: in a sweep, on the command line."""
    # Names of LoRAs and embeddings may look like a wildcard.
    bare = TAG.sub("", text)
    for pattern, what, advice in UNRESOLVED:
        yield from (
            InputError(
                f"{found[0]!r} is a {what}, which is drawn if a pack says it, not from here{advice}.",
                where=where,
            )
            for found in pattern.finditer(bare)
        )
