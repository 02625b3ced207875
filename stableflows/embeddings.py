"""Embeddings in prompts: users write `<embedding:name>`, and a WebUI knows the bare name alone.

AUTOMATIC1111 takes out tags that it does not know, so the tag must never reach it. A job keeps the tag, for
it says that an embedding is meant: preflight looks the name up, where a bare word would be plain text.
"""

from __future__ import annotations

import re

__all__ = ["bare_embeddings", "embedding_tags"]

# Takes linear time on any text: it cannot match the same characters in two ways.
TAG = re.compile(r"<\s*embedding\s*:([^<>:]+)>", re.IGNORECASE)


def bare_embeddings(text: str) -> str:
    """`text` with each `<embedding:name>` as `name`; `(<embedding:name>:0.87)` becomes `(name:0.87)`."""
    return TAG.sub(lambda tag: tag[1].strip(), text)


def embedding_tags(text: str) -> list[str]:
    """The names of the embeddings that `text` asks for by tag."""
    return [name.strip() for name in TAG.findall(text)]
