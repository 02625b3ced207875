"""Lists and defaults as the real servers reported them, in ``data/``.

``a1111.json`` is from AUTOMATIC1111 v1.10.1 with ADetailer 25.3.0, ``forge.json`` from Forge f2.0.1.
"""

import json
from functools import cache
from importlib import resources
from typing import Any, Literal

Family = Literal["a1111", "forge", "sdnext"]


@cache
def recorded(name: str) -> Any:
    """The content of ``data/<name>.json``. Callers must not change it."""
    text = resources.files(__package__).joinpath("data", f"{name}.json").read_text(encoding="utf-8")
    return json.loads(text)


def of_family(family: Family, key: str) -> Any:
    """A recorded list of a family. SD.Next was not recorded: it gets its source's, else A1111's."""
    if family == "sdnext" and key == "options":
        return {**recorded("a1111")[key], **recorded("sdnext")[key]}
    if family == "sdnext" and key in recorded("sdnext"):
        return recorded("sdnext")[key]
    return recorded("forge" if family == "forge" else "a1111")[key]
