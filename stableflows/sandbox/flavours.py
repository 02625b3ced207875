"""What differs between the WebUIs that the sandbox can stand in for."""

from dataclasses import dataclass

from stableflows.sandbox.recorded import Family
from stableflows.sandbox.settings import FlavourName


@dataclass(frozen=True)
class Flavour:
    """Traits of a WebUI, as the facts have them (``sdnext``: from its source, never observed)."""

    family: Family
    version: str
    validation: str
    """``v1`` coerces like pydantic 1 (2.7 becomes 2), ``v2`` like pydantic 2 (2.7 is refused)."""
    internal_routes: bool = True
    process_time: bool = True
    """Answers carry ``X-Process-Time``."""
    closes_after_500: bool = False
    loads_at_start: bool = True
    adetailer: bool = True
    empty_status: int = 200
    """Status of interrupt, skip, refresh and the like."""


FLAVOURS: dict[FlavourName, Flavour] = {
    "a1111": Flavour("a1111", "1.10.1", "v1"),
    "api-only": Flavour("a1111", "1.10.1", "v1", internal_routes=False),
    "forge": Flavour(
        "forge",
        "f2.0.1v1.10.1-previous-669-gdfdcbab6",
        "v2",
        process_time=False,
        closes_after_500=True,
        loads_at_start=False,
    ),
    "sdnext": Flavour(
        "sdnext",
        "058a7f0",
        "v2",
        internal_routes=False,
        process_time=False,
        adetailer=False,
        empty_status=204,
    ),
}
