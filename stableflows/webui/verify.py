"""Did it do what was asked? The answer of a generating call against its request.

HTTP 200 proves nothing on these servers. What a server reports and what disagrees with the request is a
mismatch; what it does not report is unverified; what it reports but was not asked for as a field (steps, for
instance) is not looked at. The rules, and what was observed of each, stand at their functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stableflows.errors import printable

from . import model_rules, network_rules, sdnext_rules
from .capabilities import Capabilities, Family
from .errors import CallSite, Disagreement, Mismatch
from .expected import expected_seeds, expected_size, expected_subseeds
from .findings import Case, Finding, Unverified, Warned, reported_sampler
from .infotext import parse_infotext
from .models import WebUIReply, WebUIRequest
from .names import ServerNames
from .sdnext import DETAIL

__all__ = ["Verdict", "verify"]

_AUTOMATIC = "automatic"
_SDNEXT = (sdnext_rules.schedule, sdnext_rules.hires, sdnext_rules.refiner, sdnext_rules.clip_skip)


@dataclass(frozen=True)
class Verdict:
    """What became of a request.

    Args:
        mismatches: what the server did otherwise than asked; empty is good.
        unverified: what was asked and the server does not report, each with the reason.
        warnings: what may be wrong without being a failure.
        seeds: of each picture that was asked for; None where it reports none.
        sampler, scheduler, checkpoint, checkpoint_hash, vae: what it says it used.
    """

    mismatches: tuple[Disagreement, ...] = ()
    unverified: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    seeds: tuple[int | None, ...] = ()
    sampler: str | None = None
    scheduler: str | None = None
    checkpoint: str | None = None
    checkpoint_hash: str | None = None
    vae: str | None = None

    def raise_for_mismatch(self, site: CallSite) -> None:
        """Raises `Mismatch` with all the disagreements, if there are any."""
        if self.mismatches:
            raise Mismatch(site, self.mismatches)


def verify(request: WebUIRequest, reply: WebUIReply, caps: Capabilities, names: ServerNames) -> Verdict:
    """Compares an answer with its request.

    Args:
        request: what was asked, in the API's own terms.
        reply: what came.
        caps: what the server is.
        names: its lists, for hashes and default schedules.
    """
    first = reply.first_wanted(request)
    images = reply.wanted(request)
    texts = tuple(parse_infotext(text) for text in reply.infotexts[first : first + len(images)])
    case = Case(request, reply, caps, names, images, texts)
    rules = [_images, _size]
    if request.path == DETAIL:
        rules.append(sdnext_rules.detail)
    elif not request.path.endswith("/extra-single-image"):
        sdnext = caps.family is Family.SDNEXT
        rules += [
            _seed,
            _sampler,
            model_rules.checkpoint,
            model_rules.refiner,
            *(_SDNEXT if sdnext else (model_rules.hires, model_rules.clip_skip)),
            model_rules.vae,
            network_rules.loras,
            network_rules.embeddings,
            network_rules.adetailer,
        ]
    findings = [finding for rule in rules for finding in rule(case)]
    info = reply.info
    return Verdict(
        mismatches=tuple(finding for finding in findings if isinstance(finding, Disagreement)),
        unverified=tuple(printable(finding.text) for finding in findings if isinstance(finding, Unverified)),
        warnings=tuple(printable(finding.text) for finding in findings if isinstance(finding, Warned)),
        seeds=tuple(text.seed for text in texts),
        sampler=reported_sampler(case),
        scheduler=case.params.get("Schedule type"),
        checkpoint=info.sd_model_name if info else None,
        checkpoint_hash=info.sd_model_hash if info else None,
        vae=info.sd_vae_name if info else None,
    )


def _images(case: Case) -> Iterator[Finding]:
    """At least n, counted from ``index_of_first_image``: grids and ControlNet maps come extra."""
    asked, got = case.request.n_images, len(case.images)
    if got < asked:
        yield Disagreement(
            "images", str(asked), str(got), "interrupted, or an error that the server swallowed"
        )


def _size(case: Case) -> Iterator[Finding]:
    """Decoded pixels only: ``info`` repeats what was asked, even where it was floored to 8."""
    size = expected_size(case.request)
    if size is None:
        yield Unverified("size: what it must be cannot be told from the request")
        return
    for got in sorted({image.size for image in case.images if image.size != size}):
        yield Disagreement("size", f"{size[0]}x{size[1]}", f"{got[0]}x{got[1]}")


def _seed(case: Case) -> Iterator[Finding]:
    """From each picture's own infotext; ``all_seeds`` is wrong for SD upscale.

    Subseed only with a strength.
    """
    for name, key, asked in (
        ("seed", "Seed", expected_seeds(case.request)),
        ("variation seed", "Variation seed", expected_subseeds(case.request)),
    ):
        for place, (seed, text) in enumerate(zip(asked, case.texts, strict=False)):
            got = text.number(key)
            if seed is None:
                continue
            if got is None:
                yield Unverified(f"{name} of image {place + 1}: the server does not report it")
            elif int(got) != seed:
                yield Disagreement(f"{name} of image {place + 1}", str(seed), f"{got:.0f}")


def _sampler(case: Case) -> Iterator[Finding]:
    """Name or label, any case. An unknown one is answered with the first in the list, at 200."""
    asked = case.body.get("sampler_name") or case.body.get("sampler_index")
    if case.skips_base_pass:
        yield Unverified("sampler: ADetailer reports that of the base pass, which it skipped")
        return
    scheduler = case.body.get("scheduler")
    got, got_scheduler = reported_sampler(case), case.params.get("Schedule type")
    choice = case.names.sampler(asked) if asked else None
    if choice and choice.scheduler:
        scheduler = choice.scheduler.name  # the one in the sampler's name wins over the field
    if asked and got is None:
        yield Unverified("sampler: the server does not report it")
    elif asked and got is not None:
        wanted = choice.sampler.name if choice else asked
        if got.casefold() not in (wanted.casefold(), asked.casefold()):
            yield Disagreement(
                "sampler", asked, got, "the server does not know that name, and takes its first one"
            )
    if scheduler:
        yield from _scheduler(case, str(scheduler), got_scheduler, got)


def _scheduler(case: Case, asked: str, got: str | None, sampler: str | None) -> Iterator[Finding]:
    """An unknown one counts as Automatic, which means the sampler's own default."""
    if got is None:
        old = sampler is not None and sampler.casefold().endswith(asked.casefold())
        if not old and asked.casefold() != _AUTOMATIC:
            yield Unverified("scheduler: the server does not report it")
        return
    known, reported = case.names.scheduler(asked), case.names.scheduler(got)
    if asked.casefold() == got.casefold() or (known is not None and known == reported):
        return
    if asked.casefold() == _AUTOMATIC:
        used = case.names.sampler(sampler) if sampler else None
        default = used.sampler.default_scheduler if used else None
        if default is None or case.names.scheduler(default) == reported:
            return
    yield Disagreement(
        "scheduler", asked, got, "the server does not know that name, and takes the sampler's own"
    )
