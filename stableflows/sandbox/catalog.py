"""The files on the pretended server's disk: checkpoints, VAEs, LoRAs, embeddings, styles.

A catalog is what lies on the *disk*. What the server knows of it (its lists, its hash cache, what it has
loaded) is the business of ``weights`` and ``networks``, which find out at the moments when a real one does.
"""

import hashlib
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


def _digest(kind: str, name: str) -> str:
    return hashlib.sha256(f"sandbox {kind} {name}".encode()).hexdigest()


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256: str = ""
    """SHA-256 of the content; left empty, one is made from the name."""
    mtime: int = 1_700_000_000
    """Modification time: a server trusts a cached hash unless the file is newer than it."""

    @model_validator(mode="before")
    @classmethod
    def _content_from_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("sha256") and isinstance(data.get("name"), str):
            return {**data, "sha256": _digest(cls.__name__.lower(), data["name"])}
        return data


class Checkpoint(_File):
    """A checkpoint file; ``name`` is its stem."""

    defect: Literal["unreadable", "wrong_shape"] | None = None
    has_config: bool = False
    """A ``.yaml`` of the same name lies beside it."""

    @property
    def filename(self) -> str:
        return f"{self.name}.safetensors"


class Vae(_File):
    """A VAE file; ``name`` has its extension, as WebUIs list it."""

    defect: Literal["unreadable"] | None = None


class Lora(_File):
    """A LoRA file; ``sha256`` is that of its data after the safetensors header, ``name`` its stem."""

    alias: str | None = None
    folder: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)
    defect: Literal["unreadable", "no_effect"] | None = None


class Embedding(_File):
    """A textual inversion file; ``width`` is that of the text encoder it was made for."""

    vectors: int = 1
    width: int = 768
    step: int | None = None
    sd_checkpoint: str | None = None
    sd_checkpoint_name: str | None = None
    defect: Literal["unreadable"] | None = None


class Style(BaseModel):
    """A style of ``styles.csv``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    prompt: str = ""
    negative_prompt: str = ""


class Extension(BaseModel):
    """An extension that is listed and does nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    remote: str = ""
    branch: str = "main"
    commit_hash: str = ""
    version: str = ""
    commit_date: str = "0"
    enabled: bool = True


class Catalog(BaseModel):
    """Everything on the pretended server's disk. The first checkpoint is the one loaded at the start."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoints: tuple[Checkpoint, ...] = (
        Checkpoint(name="sandbox_base_v1"),
        Checkpoint(name="sandbox_portrait_v2"),
        Checkpoint(name="sandbox_anime_xl"),
    )
    vaes: tuple[Vae, ...] = (
        Vae(name="sandbox_vae.safetensors"),
        Vae(name="sandbox_soft.vae.safetensors", mtime=1_700_000_500),
    )
    loras: tuple[Lora, ...] = (
        Lora(name="film_grain"),
        Lora(name="ink_wash", alias="ink wash", metadata={"ss_output_name": "ink wash"}),
        Lora(name="soft_light", folder="light"),
    )
    embeddings: tuple[Embedding, ...] = (
        Embedding(name="easynegative_sb", vectors=8),
        Embedding(name="sharp_sb", vectors=2),
        Embedding(name="wide_sb", width=1024, vectors=2),
    )
    styles: tuple[Style, ...] = (
        Style(name="oil painting", prompt="oil painting, {prompt}, canvas", negative_prompt="lowres"),
        Style(name="sharp focus", prompt="sharp focus"),
    )
    upscalers: tuple[str, ...] = ("4x_sandbox_sharp",)
    """Upscaler models of the user, after those that the WebUI brings."""
    adetailer_models: tuple[str, ...] = (
        "face_yolov8n.pt",
        "face_yolov8s.pt",
        "hand_yolov8n.pt",
        "person_yolov8n-seg.pt",
        "person_yolov8s-seg.pt",
        "mediapipe_face_full",
        "mediapipe_face_short",
        "mediapipe_face_mesh",
        "mediapipe_face_mesh_eyes_only",
    )
    extensions: tuple[Extension, ...] = ()
    clip_layers: int = 12
    """Layers of the text encoder: a clip skip beyond them is an error."""
    encoder_width: int = 768
    """Width of the text encoder: embeddings of another width are skipped."""
    root: str = "/srv/webui"

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        for kind in ("checkpoints", "vaes", "embeddings"):
            names = [item.name for item in getattr(self, kind)]
            if len(set(names)) < len(names):
                raise ValueError(f"{kind}: two files cannot have one name in one folder: {sorted(names)}")
        return self

    def checkpoint(self, name: str) -> Checkpoint | None:
        return next((item for item in self.checkpoints if item.name == name), None)

    def vae(self, name: str) -> Vae | None:
        return next((item for item in self.vaes if item.name == name), None)

    def replacing(self, kind: str, name: str, **changes: Any) -> "Catalog":
        """The same disk with one file changed: ``catalog.replacing("loras", "ink_wash", mtime=...)``.

        Raises:
            KeyError: if no file of this kind has the name.
        """
        items = getattr(self, kind)
        if all(item.name != name for item in items):
            raise KeyError(f"{name!r} is not among {kind}: {[item.name for item in items]}")
        changed = tuple(
            type(item)(**{**item.model_dump(), **changes}) if item.name == name else item for item in items
        )
        return self.model_copy(update={kind: changed})

    def without(self, kind: str, name: str) -> "Catalog":
        return self.model_copy(
            update={kind: tuple(item for item in getattr(self, kind) if item.name != name)}
        )

    def adding(self, kind: str, item: _File) -> "Catalog":
        return self.model_copy(update={kind: (*getattr(self, kind), item)})
