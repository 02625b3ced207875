"""What is wrong with a prompt as text. Facts of the WebUI: AUTOMATIC1111 v1.10.1, its prompt parser."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from stableflows.embeddings import bare_embeddings, embedding_tags
from stableflows.lint.finding import Rule, Severity
from stableflows.webui.prompts import lora_tags, stray_tags

__all__ = ["Told", "faults_of"]

Told = tuple[Rule, Severity, str, str, str]
"""(rule, severity, message, mend, the piece of text that it is about)"""

WINDOW = 75
"""Tokens that CLIP sees at once; a longer prompt is split."""

PAIRS = {"(": ")", "[": "]"}
"""Braces belong to the prompt language, which is strict with its own."""

# Each pattern takes linear time on any text: none can match the same characters in two ways.
WEIGHT = re.compile(r":([^:()\[\]<>\\]*)\)")
ATTENTION = re.compile(r"\s*[+-]?[.\d]+\s*")
BARE_TAG = re.compile(r"<[^\W\d][\w.+-]*>")
ANY_TAG = re.compile(r"<[^<>]*>")
UNRESOLVED = re.compile(r"\[\[[^\[\]]*\]\]|__[^\s_][^\s]*?__|\{[^{}]*\}")
TOKEN = re.compile(r"[^\W\d_]+|\d|[^\w\s]")
LETTERS_A_TOKEN = 9
"""CLIP has a token of its own for most words; longer ones are put together."""

NEGATIVE_WORDS = re.compile(
    r"(?<!no )(?<!without )(?<!not )\b(?:worst quality|low quality|bad quality|bad anatomy|bad hands|"
    r"bad proportions|extra fingers|extra limbs|extra arms|missing fingers|fused fingers|mutated hands|"
    r"poorly drawn|jpeg artifacts|lowres|disfigured|deformed|watermark|gross proportions)\b",
    re.IGNORECASE,
)


def faults_of(text: str, *, positive: bool) -> Iterator[Told]:
    """Everything to say about one prompt.

    Args:
        positive: False for a negative one; the server reads tags from positive ones alone.
    """
    yield from _brackets(text)
    yield from _weights(text)
    for name in embedding_tags(text):
        message = f"<embedding:{name}> is no tag of the WebUI; it is sent as {name!r}"
        yield Rule.EMBEDDING_TAG, Severity.NOTICE, message, f"its bare name says the same: {name}", name
    bare = bare_embeddings(text)
    if positive:
        yield from _tags(bare)
        yield from _negative_words(bare)
    for found in BARE_TAG.findall(bare):
        message = f"{found} is no tag, and reaches the model as text"
        yield Rule.STRAY_TAG, Severity.WARNING, message, f"for an embedding write {found[1:-1]}", found
    yield from _length(bare)


def _brackets(text: str) -> Iterator[Told]:
    """Brackets of each kind pair with their like alone, as the WebUI counts them."""
    plain = re.sub(r"\\.", "  ", text, flags=re.DOTALL)
    mend = "a bracket that is meant as such is written with a backslash"
    for opening, closing in PAIRS.items():
        still_open: list[int] = []
        for position, character in enumerate(plain):
            if character == opening:
                still_open.append(position)
            elif character == closing and not still_open:
                piece = text[max(0, position - 20) : position + 1]
                message = f"{closing!r} closes nothing: ...{piece}"
                yield Rule.UNBALANCED, Severity.WARNING, message, mend, piece
            elif character == closing:
                still_open.pop()
        if still_open:
            piece = text[still_open[0] : still_open[0] + 20]
            yield Rule.UNBALANCED, Severity.WARNING, f"{opening!r} is never closed: {piece}...", mend, piece


def _weights(text: str) -> Iterator[Told]:
    for found in WEIGHT.finditer(ANY_TAG.sub(lambda tag: " " * len(tag[0]), text)):
        weight = found[1]
        if _is_number(weight) or not re.search(r"\d", weight) or re.search(r"[^\W\d]", weight):
            continue
        mend = f"write it with a point, such as {weight.strip().replace(',', '.')}"
        if ATTENTION.fullmatch(weight):
            message, severity = f"the weight {weight!r} is no number, and the server fails", Severity.ERROR
            mend = "write a number such as 1.2"
        else:
            message, severity = f"the weight {weight!r} is no number, and taken as text", Severity.WARNING
        yield Rule.WEIGHT, severity, message, mend, found[0]


def _tags(text: str) -> Iterator[Told]:
    for tag in lora_tags(text):
        if not tag.weight_is_readable:
            message = (
                f"the weight {tag.weight_text!r} of the LoRA {tag.name!r} is no number; the server would "
                "drop all LoRAs of the prompt"
            )
            yield Rule.WEIGHT, Severity.ERROR, message, f"write <lora:{tag.name}:0.8>", tag.name
    for stray in stray_tags(text):
        message = f"the server knows no tag such as {stray} and would take it out silently"
        yield Rule.STRAY_TAG, Severity.ERROR, message, "take it out, or correct its kind", stray


def _negative_words(text: str) -> Iterator[Told]:
    words = list(dict.fromkeys(found[0] for found in NEGATIVE_WORDS.finditer(text)))
    if words:
        message = f"words that usually stand in a negative prompt: {', '.join(words[:4])}"
        yield Rule.NEGATIVE_WORDS, Severity.WARNING, message, "move them there", words[0]


def _length(text: str) -> Iterator[Told]:
    longest = max(map(_tokens, re.split(r"\bBREAK\b", text)))
    if longest > WINDOW:
        windows = math.ceil(longest / WINDOW)
        message = f"about {longest} tokens (an estimate), {windows} windows of {WINDOW}"
        mend = (
            "words of one window do not see those of another; put what belongs together first, or use BREAK"
        )
        yield Rule.LONG_PROMPT, Severity.NOTICE, message, mend, ""


def _tokens(text: str) -> int:
    """An estimate of CLIP's tokens: a slot, wildcard or variant counts as one word."""
    plain = UNRESOLVED.sub(" x ", ANY_TAG.sub(" ", text))
    plain = re.sub(r":\s*[+-]?[.\d]+\s*\)", ")", plain)
    found = TOKEN.findall(re.sub(r"[()\[\]\\]", " ", plain))
    return sum(math.ceil(len(word) / LETTERS_A_TOKEN) for word in found)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
