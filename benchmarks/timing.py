"""What the pretended server takes, for every peer alike. All that is pretended stands here.

Sources: a load of a checkpoint took 12 to 20 s, 26 to 36 steps of 768x1024 took 10 to 14 s (a 12 GB card, an
ordinary disk); AUTOMATIC1111 encodes the PNG of an answer outside its lock, 0.2 s for 1024x1024 at its
default compression. "Fast" is a distilled model on a large card (4 to 8 steps).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FAST", "NO_TIME", "SCALED", "USUAL", "Timing"]

STEPS = 10
"""Of every call, whatever its time."""


@dataclass(frozen=True)
class Timing:
    """Seconds.

    Attributes:
        call: sampling of one image, inside the server's lock.
        encode: of its PNG, outside the lock.
        load: of a checkpoint, inside the lock.
    """

    call: float
    encode: float
    load: float

    @property
    def arguments(self) -> list[str]:
        """Of `python -m stableflows.sandbox`."""
        times = {"step": self.call / STEPS, "encode": self.encode, "load": self.load}
        options = [(f"--{name}-seconds", f"{seconds:.6f}") for name, seconds in times.items()]
        return ["--stock-pictures", *(word for option in options for word in option)]


FAST = Timing(call=0.3, encode=0.2, load=0.0)
USUAL = Timing(call=2.0, encode=0.2, load=0.0)
SCALED = Timing(call=12.0 / 40, encode=0.2 / 40, load=15.0 / 40)
"""An SDXL call of 12 s and a load of 15 s, all forty times faster, so that the case takes a minute."""
NO_TIME = Timing(call=0.0, encode=0.0, load=0.0)
"""What is left is our own cost, and the server's handling of HTTP."""
