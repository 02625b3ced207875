"""What a family of servers needs in a request that the others do not know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stableflows.webui.capabilities import Family

__all__ = ["in_dialect"]


def in_dialect(body: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """`body` as a server of this family needs it.

    Forge f2.0.1 answers a hires request without `hr_additional_modules` with 500 (TypeError: argument of
    type 'NoneType' is not iterable); "Use same choices" is its page's own default.
    """
    if family is Family.FORGE and body.get("enable_hr"):
        return {"hr_additional_modules": ["Use same choices"], **body}
    return dict(body)
