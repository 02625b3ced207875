"""Places at which the fault suite kills a process: `STABLEFLOWS_FAILPOINT=after-answer:7` ends it, with its
process group, the seventh time that it comes by there.

Only `make faults` and its short form set the variable (see docs/faults.md); unset, it costs a comparison.
"""

from __future__ import annotations

import os
import signal

__all__ = ["VARIABLE", "failpoint"]

VARIABLE = "STABLEFLOWS_FAILPOINT"

_name, _, _count = os.environ.get(VARIABLE, "").partition(":")
_left = int(_count or 1)


def failpoint(name: str) -> None:
    """Die here, if this is the place and the time: as a power cut would have it, without any last word."""
    global _left  # noqa: PLW0603 (the count of this process)
    if name != _name:
        return
    _left -= 1
    if _left == 0:
        os.killpg(0, signal.SIGKILL)
