"""What a family of servers needs in a request that the others do not know."""

from __future__ import annotations

from stableflows.sdnext_requests import Spoken, in_sdnext
from stableflows.webui.capabilities import Family
from stableflows.webui.models import WebUIRequest
from stableflows.webui.names import ServerNames

__all__ = ["Spoken", "in_dialect"]


def in_dialect(request: WebUIRequest, family: Family, names: ServerNames) -> Spoken:
    """`request`, which is in AUTOMATIC1111's terms, as a server of this family needs it.

    Forge f2.0.1 answers a hires request without `hr_additional_modules` with 500 (TypeError: argument of
    type 'NoneType' is not iterable); "Use same choices" is its page's own default.
    """
    if family is Family.SDNEXT:
        return in_sdnext(request, names)
    if family is Family.FORGE and request.body.get("enable_hr"):
        body = {"hr_additional_modules": ["Use same choices"], **request.body}
        return Spoken(WebUIRequest(request.path, body, request.n_images, request.size), {})
    return Spoken(request, {})
