"""Checkpoints and VAEs: the lists the server knows, what is loaded, and the hashes it believes.

A real server hashes a file when it first loads it, trusts that hash until the file's modification time is
newer, and keeps one cache entry for *all* VAEs; see the facts on files that were replaced. Pixels follow the
content that was loaded, the reported hash follows the cache, and the two can differ.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from stableflows.sandbox.catalog import Catalog, Checkpoint, Vae
from stableflows.sandbox.errors import POISONED, ServerError
from stableflows.sandbox.options import Options

UNREADABLE = ServerError("SafetensorError", "Error while deserializing header: HeaderTooLarge")
WRONG_SHAPE = ServerError(
    "RuntimeError",
    "Error(s) in loading state_dict for LatentDiffusion:\n\tsize mismatch for"
    " model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight: copying a param with"
    " shape torch.Size([5, 5]) from checkpoint, the shape in current model is torch.Size([32, 768]).",
)
_AUTOMATIC = ("Automatic", "auto")


class HashCache:
    """``cache.json``: it survives a restart; a file whose time is not newer keeps its old hash."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[int, str]] = {}

    def known(self, title: str, mtime: int) -> str | None:
        entry = self._entries.get(title)
        return entry[1] if entry and mtime <= entry[0] else None

    def computed(self, title: str, mtime: int, sha256: str) -> str:
        cached = self.known(title, mtime)
        if cached is None:
            self._entries[title] = (mtime, sha256)
        return cached or sha256


@dataclass
class CheckpointInfo:
    """An entry of the server's list of checkpoints."""

    file: Checkpoint
    sha256: str | None
    ids: list[str] = field(default_factory=list)

    @property
    def hash(self) -> str | None:
        return self.sha256[:10] if self.sha256 else None

    @property
    def title(self) -> str:
        return f"{self.file.filename} [{self.hash}]" if self.hash else self.file.filename

    @property
    def short_title(self) -> str:
        return f"{self.file.name} [{self.hash}]" if self.hash else self.file.name

    def aliases(self) -> list[str]:
        names = [self.file.filename, self.file.name, self.title, self.short_title]
        return [*names, self.hash, self.sha256] if self.hash and self.sha256 else names


@dataclass
class LoadedModel:
    """What is in the (pretended) memory of the card."""

    info: CheckpointInfo
    content: str
    hash: str


class Weights:
    """Lists, loaded checkpoint and loaded VAE of one server."""

    def __init__(
        self,
        catalog: Catalog,
        options: Options,
        cache: HashCache,
        on_load: Callable[[], None],
        *,
        eager: bool,
    ) -> None:
        self.disk = catalog
        self._options = options
        self._cache = cache
        self._on_load = on_load
        self.checkpoints: list[CheckpointInfo] = []
        self.aliases: dict[str, CheckpointInfo] = {}
        self.vaes: list[Vae] = []
        self.loaded: LoadedModel | None = None
        self.vae: Vae | None = None
        self.unloaded = False
        self.poisoned = False
        self.loads = 0
        self.refresh_checkpoints()
        self.refresh_vaes()
        if self.checkpoints and options["sd_model_checkpoint"] is None:
            options.data["sd_model_checkpoint"] = self.checkpoints[0].title
        if eager and self.checkpoints:
            self.reload(quiet=True)
            self._name_in_options()

    def refresh_checkpoints(self) -> None:
        """Read the folder: hashes come from the cache only, so that a new or newer file has none."""
        self.checkpoints = []
        self.aliases = {}
        for file in self.disk.checkpoints:
            sha256 = self._cache.known(f"checkpoint/{file.filename}", file.mtime)
            self._register(CheckpointInfo(file, sha256))

    def _register(self, info: CheckpointInfo) -> None:
        if info not in self.checkpoints:
            self.checkpoints.append(info)
        for alias in info.aliases():
            self.aliases[alias] = info

    def refresh_vaes(self) -> None:
        self.vaes = list(self.disk.vaes)

    def exact(self, name: object) -> CheckpointInfo | None:
        """By title, file name, stem or hash: what overrides and options understand."""
        return self.aliases.get(name) if isinstance(name, str) else None

    def closest(self, name: str) -> CheckpointInfo | None:
        """Also by part of the title: what refiner and hires checkpoints understand."""
        found = self.exact(name)
        candidates = [info for info in self.checkpoints if name in info.title]
        return found or min(candidates, key=lambda info: len(info.title), default=None)

    def selected(self) -> CheckpointInfo:
        """The checkpoint of the options; the first of the list where they name an unknown one."""
        found = self.exact(self._options["sd_model_checkpoint"])
        if found is None and not self.checkpoints:
            raise ServerError("FileNotFoundError", "No checkpoints found.")
        return found or self.checkpoints[0]

    def reload(self, info: CheckpointInfo | None = None, *, quiet: bool = False) -> bool:
        """Load a checkpoint unless its file is the loaded one; whether it was loaded.

        Raises:
            ServerError: if the file is gone or cannot be read. The old model stays named and is then broken.
        """
        info = info or self.selected()
        same = self.loaded is not None and self.loaded.info.file.name == info.file.name
        if same and not self.unloaded:
            return False
        if not quiet:
            self._on_load()
        if same and self.loaded is not None:
            # Unloaded and needed again: its weights come back from main memory, not from the file.
            self.unloaded = False
            return True
        self._load(info)
        return True

    def _load(self, info: CheckpointInfo) -> LoadedModel:
        file = self.disk.checkpoint(info.file.name)
        if file is None:
            self.poisoned = True
            path = f"{self.disk.root}/models/Stable-diffusion/{info.file.filename}"
            raise ServerError("FileNotFoundError", f"[Errno 2] No such file or directory: {path!r}")
        if file.defect == "wrong_shape":
            raise WRONG_SHAPE
        if file.defect == "unreadable":
            self.poisoned = True
            raise UNREADABLE
        # The file may have been replaced since the list was read: what is loaded is what lies there now.
        info.file = file
        info.sha256 = self._cache.computed(f"checkpoint/{file.filename}", file.mtime, file.sha256)
        self._register(info)
        loaded = LoadedModel(info, file.sha256, info.sha256[:10])
        self.loaded = loaded
        self.unloaded = False
        self.poisoned = False
        self.loads += 1
        self.vae = None
        self.reload_vae()
        return loaded

    def current(self) -> LoadedModel:
        if self.loaded is None:
            self._on_load()
            return self._load(self.selected())
        return self.loaded

    def _name_in_options(self) -> None:
        if self.loaded is not None:
            self._options.data["sd_model_checkpoint"] = self.loaded.info.title
            self._options.data["sd_checkpoint_hash"] = self.loaded.info.sha256

    def switch_by_options(self) -> bool:
        """POST /options with a checkpoint: load it; a file that cannot be loaded is only logged."""
        try:
            changed = self.reload()
        except ServerError:
            return False
        if changed:
            self._name_in_options()
        return True

    def note_switch(self) -> None:
        """After an override loaded another checkpoint, the option shows its title."""
        self._name_in_options()

    def _resolve_vae(self) -> Vae | None:
        setting = self._options["sd_vae"]
        by_name = {vae.name: vae for vae in self.vaes}
        if setting in _AUTOMATIC:
            stem = self.current().info.file.name
            return next((vae for name, vae in by_name.items() if name.startswith(stem)), None)
        return by_name.get(setting)

    def reload_vae(self) -> None:
        """Load the VAE that the options name, unless it is loaded.

        Raises:
            ServerError: if its file cannot be read; the model is then broken as after a failed checkpoint.
        """
        wanted = self._resolve_vae()
        if wanted is None:
            self.vae = None
            return
        if self.vae is not None and self.vae.name == wanted.name:
            return
        on_disk = self.disk.vae(wanted.name) or wanted
        if on_disk.defect == "unreadable":
            self.poisoned = True
            raise UNREADABLE
        if self.poisoned:
            self.poisoned = False
        self.vae = on_disk

    def vae_hash(self) -> str | None:
        """The hash that the server reports: of one cache entry for all VAEs, so perhaps another file's."""
        if self.vae is None:
            return None
        return self._cache.computed("vae", self.vae.mtime, self.vae.sha256)[:10]

    def check_poison(self) -> None:
        """What a newly encoded prompt meets after a failed load.

        Raises:
            ServerError: while the model is broken.
        """
        if self.poisoned:
            raise POISONED
