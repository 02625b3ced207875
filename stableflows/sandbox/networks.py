"""LoRAs, embeddings and the cache of encoded prompts.

Pixels follow what was really applied (``applied``, ``Encoded``), the infotext follows what the server
believes; the quirks between the two are those of the facts page on networks.
"""

import re
from dataclasses import dataclass
from typing import Any

from stableflows.sandbox.catalog import Catalog, Embedding, Lora
from stableflows.sandbox.recorded import Family
from stableflows.sandbox.weights import HashCache

_TAG = re.compile(r"<(\w+):([^>]+)>")
_LORA_TAGS = ("lora", "lyco")


@dataclass(frozen=True)
class Tag:
    """An extra network tag of a prompt: ``<kind:positional:...:named=...>``."""

    kind: str
    positional: tuple[str, ...]
    named: tuple[tuple[str, str], ...]


def parse_tags(prompt: str) -> tuple[str, list[Tag]]:
    """The prompt without its tags, and the tags."""
    tags = []
    for match in _TAG.finditer(prompt):
        items = match.group(2).split(":")
        named = tuple((item.split("=", 1)[0], item.split("=", 1)[1]) for item in items if "=" in item)
        tags.append(Tag(match.group(1), tuple(item for item in items if "=" not in item), named))
    return _TAG.sub("", prompt), tags


class _OnDisk:
    """A LoRA in the server's list; its hash is read once, when the entry is made or first used."""

    def __init__(self, file: Lora, cache: HashCache) -> None:
        self.file = file
        self._cache = cache
        self.hash = file.metadata.get("sshs_model_hash") or cache.known(self._title, file.mtime) or ""

    @property
    def _title(self) -> str:
        return f"lora/{self.file.name}"

    def read_hash(self, file: Lora) -> bool:
        """Read the hash unless there is one; whether it was read now."""
        if self.hash:
            return False
        self.hash = self._cache.computed(self._title, file.mtime, file.sha256)
        return True

    @property
    def short_hash(self) -> str:
        return self.hash[:12]


@dataclass
class _Loaded:
    name: str
    entry: _OnDisk
    mtime: int
    content: str | None
    """SHA-256 of what was loaded; None for a file whose keys or shapes do not fit (no effect)."""
    te: float = 1.0
    unet: float = 1.0


class Loras:
    """The server's LoRAs: list, memory, and what is applied to the model."""

    def __init__(self, catalog: Catalog, cache: HashCache, family: Family) -> None:
        self.disk = catalog
        self._cache = cache
        self._family = family
        self._entries: dict[str, _OnDisk] = {}
        self._by_alias: dict[str, _OnDisk] = {}
        self._names_by_hash: dict[str, str] = {}
        self._loaded: list[_Loaded] = []
        self._applied_names: tuple[Any, ...] = ()
        self.applied: dict[str, tuple[float, float]] = {}
        self.refresh()

    def refresh(self) -> None:
        self._entries, self._by_alias = {}, {}
        # By path: of two files with one base name, the later one wins.
        for file in sorted(self.disk.loras, key=lambda item: f"{item.folder}/{item.name}".lstrip("/")):
            self._add(file)

    def _add(self, file: Lora) -> None:
        entry = _OnDisk(file, self._cache)
        self._entries[file.name] = entry
        self._by_alias[file.name] = entry
        if file.alias:
            self._by_alias[file.alias] = entry
        if entry.hash:
            self._names_by_hash[entry.short_hash] = file.name

    def as_json(self) -> list[dict[str, Any]]:
        folder = f"{self.disk.root}/models/Lora"
        return [
            {
                "name": name,
                "alias": entry.file.alias or name,
                "path": "/".join(part for part in (folder, entry.file.folder, f"{name}.safetensors") if part),
                "metadata": entry.file.metadata,
            }
            for name, entry in self._entries.items()
        ]

    def name_of_hash(self, short_hash: str) -> str | None:
        return self._names_by_hash.get(short_hash)

    def activate(self, tags: list[Tag]) -> dict[str, str]:
        """Apply the LoRAs of a prompt; the hashes for the infotext by the name as written.

        A name that is not found is skipped without a word (Forge then drops all of them), a weight that is no
        number drops every LoRA of the request.
        """
        wanted = [tag for tag in tags if tag.kind in _LORA_TAGS and tag.positional]
        try:
            weights = [(tag.positional[0], *_weights(tag)) for tag in wanted]
        except ValueError:
            weights = []
        self._load(weights)
        if self._family == "forge" and len(self._loaded) < len(weights):
            self._loaded = []
        self._apply()
        return {
            item.name.replace(":", "").replace(",", ""): item.entry.short_hash
            for item in self._loaded
            if item.entry.hash
        }

    def _find(self, name: str) -> _OnDisk | None:
        entry = self._by_alias.get(name)
        if entry is None:
            # A file that came since the list was read is found at use.
            for file in self.disk.loras:
                if name in (file.name, file.alias):
                    self._add(file)
        return self._by_alias.get(name)

    def _load(self, weights: list[tuple[str, float, float]]) -> None:
        before = {item.name: item for item in self._loaded}
        self._loaded = []
        for name, te, unet in weights:
            entry = self._find(name)
            loaded = before.get(name)
            if entry is not None:
                file = self._on_disk(entry)
                if file is None:
                    # Looking at the file's time fails, which drops every LoRA of the request.
                    self._loaded = []
                    return
                if loaded is None or file.mtime > loaded.mtime:
                    if file.defect == "unreadable":
                        continue
                    content = None if file.defect == "no_effect" else file.sha256
                    loaded = _Loaded(name, entry, file.mtime, content)
                    before[name] = loaded
                if entry.read_hash(file):
                    self._names_by_hash[entry.short_hash] = entry.file.name
            if loaded is None:
                continue
            # One object for all mentions of a name: the last weight counts for every one of them.
            loaded.te, loaded.unet = te, unet
            self._loaded.append(loaded)

    def _on_disk(self, entry: _OnDisk) -> Lora | None:
        where = (entry.file.name, entry.file.folder)
        return next((file for file in self.disk.loras if (file.name, file.folder) == where), None)

    def _apply(self) -> None:
        names = tuple((item.name, item.te, item.unet) for item in self._loaded)
        if names == self._applied_names:
            # The model is patched only when names or weights change; a replaced file waits for that.
            return
        self._applied_names = names
        sums: dict[str, tuple[float, float]] = {}
        for item in self._loaded:
            if item.content is not None:
                te, unet = sums.get(item.content, (0.0, 0.0))
                sums[item.content] = (round(te + item.te, 6), round(unet + item.unet, 6))
        self.applied = {content: pair for content, pair in sums.items() if pair != (0.0, 0.0)}


def _weights(tag: Tag) -> tuple[float, float]:
    named = dict(tag.named)
    te = float(tag.positional[1]) if len(tag.positional) > 1 else 1.0
    te = float(named.get("te", te))
    unet = float(tag.positional[2]) if len(tag.positional) > 2 else te
    return te, float(named.get("unet", unet))


@dataclass(frozen=True)
class Encoded:
    """An encoded prompt: its text, and the content of each embedding that it used."""

    text: str
    embeddings: tuple[tuple[str, str], ...]


class Conditioning:
    """Embeddings, and the cache that holds the last encoded prompt and negative prompt.

    "TI hashes" are written only when a prompt is encoded: a cache hit uses the embedding and says nothing.
    """

    def __init__(self, catalog: Catalog, cache: HashCache, family: Family) -> None:
        self.disk = catalog
        self._hashes = cache
        self._family = family
        self._known: dict[str, tuple[Embedding, str]] = {}
        self.skipped: dict[str, Embedding] = {}
        self._folder: tuple[str, ...] = ()
        self._cached: dict[str, tuple[Any, Encoded]] = {}
        self.refresh()

    def refresh(self) -> None:
        self._known, self.skipped = {}, {}
        self._folder = tuple(item.name for item in self.disk.embeddings)
        for file in sorted(self.disk.embeddings, key=lambda item: item.name.lower()):
            if file.defect == "unreadable":
                continue
            if file.width != self.disk.encoder_width and self._family != "forge":
                self.skipped[file.name] = file
                continue
            sha256 = self._hashes.computed(f"textual_inversion/{file.name}", file.mtime, file.sha256)
            self._known[file.name] = (file, sha256)

    def notice_new_files(self) -> None:
        """Before each job the folder's own time is looked at: a new file is found, a replaced one is not."""
        if self._folder != tuple(item.name for item in self.disk.embeddings):
            self.refresh()

    def as_json(self) -> dict[str, Any]:
        loaded = {name: _embedding_json(file) for name, (file, _) in self._known.items()}
        return {
            "loaded": loaded,
            "skipped": {name: _embedding_json(file) for name, file in self.skipped.items()},
        }

    def clear(self) -> None:
        """``persistent_cond_cache`` is off: nothing survives a request."""
        self._cached = {}

    def cached(self, slot: str, key: Any) -> Encoded | None:
        entry = self._cached.get(slot)
        return entry[1] if entry is not None and entry[0] == key else None

    def encode(self, slot: str, key: Any, text: str) -> tuple[Encoded, dict[str, str]]:
        """Encode a prompt anew; with the hashes of the embeddings that it used."""
        used: dict[str, str] = {}
        content: list[tuple[str, str]] = []
        on_disk = {file.name: file for file in self.disk.embeddings}
        for name in self._mentioned(text):
            _, sha256 = self._known[name]
            used[name.replace(":", "").replace(",", "")] = sha256[:12]
            # The vectors are mapped from the file: a replaced file shows at once, its hash does not.
            content.append((name, on_disk[name].sha256 if name in on_disk else sha256))
        encoded = Encoded(" ".join(text.split()), tuple(content))
        self._cached[slot] = (key, encoded)
        return encoded, ({} if self._family == "forge" else used)

    def _mentioned(self, text: str) -> list[str]:
        found: list[tuple[int, str]] = []
        for name in self._known:
            match = re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", text, re.IGNORECASE)
            if match:
                found.append((match.start(), name))
        return [name for _, name in sorted(found)]


def _embedding_json(file: Embedding) -> dict[str, Any]:
    return {
        "step": file.step,
        "sd_checkpoint": file.sd_checkpoint,
        "sd_checkpoint_name": file.sd_checkpoint_name,
        "shape": file.width,
        "vectors": file.vectors,
    }
