"""Verification of what SD.Next reports, in the keys that its source writes into the infotext.

Never observed on a running one: a value that contradicts the request is a mismatch, a key that is missing is
only unverified.
"""

from __future__ import annotations

from collections.abc import Iterator

from .errors import Disagreement
from .findings import Case, Finding, Unverified, Warned

__all__ = ["clip_skip", "detail", "hires", "refiner", "schedule"]


def schedule(case: Case) -> Iterator[Finding]:
    """`Sampler sigma` stands there unless it is the default."""
    asked = case.overrides.get("schedulers_sigma")
    if asked is None:
        return
    got = case.params.get("Sampler sigma")
    if got is not None and got != asked:
        yield Disagreement("schedule", str(asked), got, "the server's option schedulers_sigma was not set")
    elif got is None and asked != "default":
        yield Unverified("schedule: the server does not report it")


def clip_skip(case: Case) -> Iterator[Finding]:
    """Written above 1 only."""
    asked, got = case.body.get("clip_skip"), case.params.get("Clip skip")
    if asked is None:
        return
    if got is not None and float(got) != float(asked):
        yield Disagreement("clip skip", str(asked), got)
    elif got is None and asked > 1:
        yield Unverified("clip skip: the server does not report it")


def hires(case: Case) -> Iterator[Finding]:
    """The second pass leaves the name of its upscaler; a refiner alone needs `enable_hr` too."""
    asked = case.body.get("hr_upscaler")
    if not case.body.get("enable_hr") or asked == "None":
        return
    got = case.params.get("Hires upscaler")
    if got is None:
        yield Unverified("hires: the server does not report it")
    elif asked is not None and got != asked:
        yield Disagreement("hr_upscaler", str(asked), got)


def refiner(case: Case) -> Iterator[Finding]:
    """Beside the name: what SD.Next does differently, which no answer shows."""
    if not case.body.get("refiner_checkpoint"):
        return
    if "Refiner" not in case.params:
        yield Unverified("refiner: the server does not report it")
    yield Warned(
        "refiner: SD.Next hands over in the middle of sampling with SDXL models only; "
        "with others the base model samples to its end and the refiner works over the result"
    )


def detail(case: Case) -> Iterator[Finding]:
    """The answer is an image and a seed: no infotext, and not whether anything was found."""
    models = ", ".join(case.body.get("detailer_models") or ())
    yield Unverified(f"detailer {models}: the server reports neither its settings nor what it found")
