"""One pretended server: its state, and the one lock that everything which renders goes through."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from stableflows.sandbox.catalog import Catalog
from stableflows.sandbox.faults import Fault
from stableflows.sandbox.flavours import FLAVOURS
from stableflows.sandbox.networks import Conditioning, Loras
from stableflows.sandbox.options import Options
from stableflows.sandbox.progress import State, Tasks
from stableflows.sandbox.recorded import of_family
from stableflows.sandbox.settings import SandboxSettings
from stableflows.sandbox.stock import Stock
from stableflows.sandbox.weights import HashCache, Weights


class Interrupted(Exception):  # noqa: N818 - a signal, nothing went wrong
    """Sampling was interrupted or skipped."""


class WebUI:
    """State of one server from its start to its end. A restart makes a new one with the same hash cache."""

    def __init__(
        self,
        settings: SandboxSettings,
        catalog: Catalog,
        hashes: HashCache,
        config: dict[str, Any] | None = None,
    ) -> None:
        self.settings = settings
        self.flavour = FLAVOURS[settings.flavour]
        self.family = self.flavour.family
        self.catalog = catalog
        self.options = Options(self.family, sparse=settings.sparse_config)
        if config is not None:
            self.options.data = dict(config)
            self.options.save()
        self.state = State()
        self.tasks = Tasks()
        self.weights = Weights(
            catalog,
            self.options,
            hashes,
            lambda: self.sleep(settings.load_seconds, heed_interrupt=False),
            eager=self.flavour.loads_at_start,
        )
        self.loras = Loras(catalog, hashes, self.family)
        self.conditioning = Conditioning(catalog, hashes, self.family)
        self.stock = Stock() if settings.stock_pictures else None
        self.started = time.monotonic()
        # One worker is one lock with waiting in order of arrival.
        self.lock = ThreadPoolExecutor(1, thread_name_prefix="sandbox-lock")
        self.encoders = ThreadPoolExecutor(2, thread_name_prefix="sandbox-encode")

    @property
    def has_adetailer(self) -> bool:
        return self.flavour.adetailer and bool(self.catalog.adetailer_models)

    def change_disk(self, catalog: Catalog) -> None:
        """Other files on the disk; the server notices when a real one would."""
        self.catalog = catalog
        self.weights.disk = self.loras.disk = self.conditioning.disk = catalog

    def close(self) -> None:
        self.state.interrupt()
        self.lock.shutdown(wait=False, cancel_futures=True)
        self.encoders.shutdown(wait=False, cancel_futures=True)

    def sleep(self, seconds: float, *, heed_interrupt: bool = True) -> None:
        """Wait inside the lock.

        Raises:
            Interrupted: when somebody interrupted or skipped.
        """
        if seconds > 0 and heed_interrupt:
            self.state.woken.wait(seconds)
        elif seconds > 0:
            time.sleep(seconds)
        if heed_interrupt and (self.state.interrupted or self.state.skipped):
            self.state.woken.clear()
            raise Interrupted

    def sample(self, steps: int, fault: Fault | None, show: Callable[[float], None]) -> None:
        """``steps`` sampling steps with their progress.

        Raises:
            Interrupted: with the progress where it stopped.
            ServerError: if the armed fault says so.
        """
        self.state.sampling_steps = steps
        self.state.sampling_step = 0
        for step in range(steps):
            if fault is not None and step == min(fault.step, steps - 1):
                fault.strike(self)
            self.sleep(self.settings.step_seconds)
            self.state.sampling_step = step
            show((step + 1) / steps)

    @property
    def own_upscalers(self) -> list[str]:
        """The user's; SD.Next names them behind their kind."""
        kind = "ESRGAN " if self.family == "sdnext" else ""
        return [kind + name for name in self.catalog.upscalers]

    def upscaler_names(self) -> list[str]:
        return [item["name"] for item in of_family(self.family, "upscalers")] + self.own_upscalers

    def latent_modes(self) -> list[str]:
        return [item["name"] for item in of_family(self.family, "latent_upscale_modes")]

    def apply_overrides(self, overrides: dict[str, Any]) -> None:
        """Set the request's options and load what they name.

        Raises:
            ServerError: KeyError for an unknown option, or what a failed load raises.
        """
        if self.weights.exact(overrides.get("sd_model_checkpoint")) is None:
            # An unknown checkpoint is dropped without a word: the model of the options renders.
            overrides = {key: value for key, value in overrides.items() if key != "sd_model_checkpoint"}
            self.weights.reload()
        for key, value in overrides.items():
            self.options.set(key, value)
            if key == "sd_model_checkpoint" and self.weights.reload():
                self.weights.note_switch()
            if key == "sd_vae" and self.family != "forge":
                self.weights.reload_vae()

    def restore(self, stored: dict[str, Any]) -> None:
        """Put options back. The checkpoint's weights stay until the next request needs the others."""
        for key, value in stored.items():
            self.options.data[key] = value
            if key == "sd_vae" and self.family != "forge":
                self.weights.reload_vae()


@dataclass(frozen=True)
class Answered:
    """Images of an answer before they are encoded, and the rest of its JSON."""

    images: list[Any]
    rest: dict[str, Any]
