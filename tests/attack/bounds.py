"""Attacks run in a process of their own, whose bounds the kernel keeps: no busy machine's clock decides."""

from __future__ import annotations

import subprocess
import sys
import textwrap

__all__ = ["within"]

PRELUDE = """
import resource
resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds} + 1))
resource.setrlimit(resource.RLIMIT_AS, ({megabytes} << 20, {megabytes} << 20))
"""


def within(code: str, *, cpu_seconds: int, megabytes: int) -> str:
    """What `code` prints; it may take so much processor time and so much address space.

    Raises:
        AssertionError: it took more (the kernel ended it, or an allocation failed), or raised.
    """
    prelude = PRELUDE.format(seconds=cpu_seconds, megabytes=megabytes)
    ran = subprocess.run(
        [sys.executable, "-c", prelude + textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, f"ended with {ran.returncode}\n{ran.stderr[-3000:]}"
    return ran.stdout
