"""Samplers and schedulers: the lookup that never refuses a name."""

from typing import Any

from stableflows.sandbox.errors import HTTPError
from stableflows.sandbox.recorded import Family, of_family

AUTOMATIC = "Automatic"
_TIMESTEP_SAMPLERS = ("DDIM", "DDIM CFG++", "PLMS", "UniPC")
"""Samplers that take no noise schedule."""


def sampler_option(family: Family, name: str, option: str) -> Any:
    entry = next((item for item in of_family(family, "samplers") if item["name"] == name), None)
    return entry["options"].get(option) if entry else None


def is_second_order(family: Family, name: str) -> bool:
    return bool(sampler_option(family, name, "second_order"))


def uses_ensd(family: Family, name: str) -> bool:
    return bool(sampler_option(family, name, "uses_ensd"))


def takes_schedule(name: str) -> bool:
    return name not in _TIMESTEP_SAMPLERS


def resolve(
    family: Family, sampler: str | None, scheduler: str | None, *, default_to_automatic: bool
) -> tuple[str, str]:
    """Sampler name and scheduler label for what was asked.

    Names are case-sensitive; a scheduler may stand behind the sampler ("DPM++ 2M Karras"); anything unknown
    is replaced by the first sampler and by Automatic, without an error.
    """
    samplers = of_family(family, "samplers")
    schedulers = of_family(family, "schedulers")
    by_name = {item["name"]: item for item in samplers}
    known: dict[str, Any] = {}
    for item in schedulers:
        known |= {item["name"]: item, item["label"]: item}
    found = known.get(scheduler or "", schedulers[0])
    name = sampler or samplers[0]["name"]
    for item in schedulers:
        for ending in (item["label"], item["name"], *(item["aliases"] or [])):
            if name.endswith(f" {ending}"):
                found = item
                name = name[: -len(ending) - 1]
                break
    chosen = by_name.get(name, samplers[0])
    if default_to_automatic and chosen["options"].get("scheduler") == found["name"]:
        found = schedulers[0]
    return chosen["name"], found["label"]


def effective_schedule(family: Family, sampler: str, scheduler: str) -> str | None:
    """The schedule really used: Automatic is the sampler's own; None is the model's."""
    if not takes_schedule(sampler):
        return None
    schedulers = of_family(family, "schedulers")
    wanted = scheduler if scheduler != AUTOMATIC else sampler_option(family, sampler, "scheduler")
    found = next((item for item in schedulers if wanted in (item["name"], item["label"])), None)
    return None if found is None or found["label"] == AUTOMATIC else str(found["label"])


def sdnext_sampler(name: str) -> str:
    """SD.Next (from its source): any case, "Default" is its first, unknown is a 404.

    Raises:
        HTTPError: 404 "Sampler not found".
    """
    names = [item["name"] for item in of_family("sdnext", "samplers")]
    if name.lower() == "default":
        return "Euler a"
    found = next((known for known in names if known.lower() == name.lower()), None)
    if found is None:
        raise HTTPError(404, "Sampler not found")
    return str(found)
