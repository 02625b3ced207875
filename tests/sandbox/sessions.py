"""What the recorded servers had on their disks, and what happened on those disks between two requests.

A session is a row of pairs that hang together: they are replayed in order on one sandbox.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stableflows.sandbox import Catalog, Checkpoint, Embedding, Lora, Sandbox, SandboxSettings, Style, Vae
from stableflows.sandbox.catalog import Extension
from stableflows.sandbox.networks import Tag
from tests.sandbox.recordings import by_name

TINY_A = "2961c70a87736a7fcbb4421b1f6bebda5f9efffa1e3e659a339cc08208c52a55"
TINY_B = "96b753969ee68905e65c87a8135398526a02a0e6757f4c14e0e950454716c481"
SWAPPED = "2494700d15ab53e1764c49482cfc84722474b9ed4a9dbf0c1f3f757fa2905e8c"
RENAMED = "2ffb48b3b9bbe41aaaacdd161381a0b2c96d7d8425b8d287e5215353b2f69705"
NEWER, OLDER = 1_800_000_000, 1_600_000_000


def sha(short: str) -> str:
    return short.ljust(64, "0")


def tiny(name: str, sha256: str, **more: Any) -> Checkpoint:
    return Checkpoint(name=name, sha256=sha256, has_config=True, **more)


def disk(root: str, a: str = TINY_A, b: str = TINY_B, **more: Any) -> Catalog:
    empty: dict[str, Any] = {
        "vaes": (),
        "loras": (),
        "embeddings": (),
        "styles": (),
        "upscalers": (),
        "adetailer_models": (),
    }
    checkpoints = (tiny("sandbox_tiny_a", a), tiny("sandbox_tiny_b", b))
    return Catalog(**{"root": root, "clip_layers": 2, "checkpoints": checkpoints, **empty, **more})


ADETAILER = (
    "mediapipe_face_full",
    "mediapipe_face_short",
    "mediapipe_face_mesh",
    "mediapipe_face_mesh_eyes_only",
    "face_random_yolov8n.pt",
)
_AGENT = Extension(
    name="sd-webui-agent-scheduler",
    remote="https://example.invalid/agent-scheduler",
    commit_hash="a33753321b914c6122df96d1dc0b5117d38af680",
    version="a3375332",
    commit_date="1736762619",
)
A1111 = disk("/srv/webui", adetailer_models=ADETAILER, extensions=(_AGENT,))
AUTH = disk("/srv/data2", a="cfca7f96d8982fb04710952bcbcfbc809fac2d1d37c8f017ba78a90dce49afc6")
SPARSE = disk("/srv/data2", b=sha("7ba6ac74c6"))
FORGE = disk(
    "/srv/forge",
    checkpoints=(
        Checkpoint(
            name="sandbox_full_sd15",
            sha256="5217db5d611651e3d582d4b84247d014a8106b41970f7b15bf423463f1099120",
        ),
    ),
)
FORGE_NETWORKS = FORGE.model_copy(
    update={
        "loras": (Lora(name="zzrnd_lora", sha256=sha("a5261015cd75")),),
        "embeddings": (
            Embedding(name="zzrndemb", vectors=2),
            Embedding(name="zzwrong", width=1024, vectors=2),
        ),
    }
)
_ALIAS = {
    "ss_sd_model_name": "x",
    "ss_base_model_version": "sd_v1",
    "ss_network_dim": "4",
    "ss_output_name": "other_alias",
}
_PLAIN = Lora(name="rnd_plain", sha256=sha("d57fb7b05afc"))
_SWAP = Lora(name="rnd_swap", sha256=sha("cbd32e092032"))
_SWAPPED = Lora(name="rnd_swap", sha256=sha("e795cbfe56e4"), mtime=NEWER)
_COMMON = (
    Lora(name="rnd_badkeys", sha256=sha("1d3407372450"), defect="no_effect"),
    Lora(name="rnd_broken", defect="unreadable"),
    Lora(name="rnd_wrongshape", sha256=sha("5e3dd72d2e4e"), defect="no_effect"),
    Lora(name="rnd spaced", folder="sub dir", sha256=sha("9b6c8115a519")),
)
_ALIASED = Lora(name="rnd_alias", alias="other_alias", sha256=sha("7b49d4ef2e96"), metadata=_ALIAS)
LORAS = disk("/srv/data", loras=(_PLAIN, _SWAP, _ALIASED, *_COMMON))
_SSHS = {
    "ss_base_model_version": "sd_v1",
    "sshs_model_hash": "deadbeef" * 8,
    "ss_output_name": "rnd_sshs",
}
LORA_NAMES = disk(
    "/srv/data",
    loras=(
        _PLAIN,
        _SWAPPED,
        _ALIASED,
        *_COMMON,
        Lora(name="rnd,comma", sha256=sha("d57fb7b05afc")),
        Lora(name="rnd_alias", folder="sub dir", sha256=sha("e795cbfe56e4")),
        Lora(
            name="rnd_aliasclash",
            alias="other_alias",
            sha256=sha("d57fb7b05afc"),
            metadata={"ss_base_model_version": "sd_v1", "ss_output_name": "other_alias"},
        ),
        Lora(name="rnd_sshs", sha256=sha("0123"), metadata=_SSHS),
    ),
    embeddings=(Embedding(name="rndneg", sha256=sha("d2623c260693")),),
)
EMBEDDINGS = disk(
    "/srv/data",
    loras=(_SWAPPED,),
    embeddings=(
        Embedding(name="rndemb", sha256=sha("4c7605108b5a"), vectors=2),
        Embedding(name="rndneg", sha256=sha("d2623c260693"), vectors=1),
        Embedding(
            name="rndpt",
            sha256=sha("b6f69da50b91"),
            vectors=3,
            step=10,
            sd_checkpoint="abc",
            sd_checkpoint_name="x",
        ),
        Embedding(name="wrongwidth", width=1024, vectors=2),
    ),
)
_RND_VAE = Vae(name="rnd_vae.safetensors", sha256=sha("d018f371b0"), mtime=OLDER)
_B_VAE = Vae(name="sandbox_tiny_b.vae.safetensors", sha256=sha("7702157f37"), mtime=NEWER)
VAE = disk("/srv/data", vaes=(_RND_VAE,))
ALL_VAES = disk("/srv/data", vaes=(_RND_VAE, Vae(name="rnd_vae2.safetensors", mtime=OLDER), _B_VAE))
STYLES = disk(
    "/srv/data",
    styles=(
        Style(name="known_style", prompt="oil painting, {prompt}, canvas", negative_prompt="lowres"),
        Style(name="append_style", prompt="sharp focus"),
    ),
)
_CORRUPT = (
    Checkpoint(name="zz_corrupt", defect="unreadable"),
    tiny("zz_wrongshape", sha("55"), defect="wrong_shape"),
)
FAILING = disk(
    "/srv/data",
    vaes=(_B_VAE,),
    loras=(_ALIASED,),
    embeddings=(Embedding(name="rndemb", sha256=sha("4c7605108b5a")),),
    checkpoints=(
        tiny("sandbox_tiny_a", TINY_A),
        tiny("sandbox_tiny_b", TINY_B),
        tiny("swap_ren", RENAMED),
        _CORRUPT[0],
    ),
)

Event = Callable[[Sandbox], None]


def changed(kind: str, name: str, **changes: Any) -> Event:
    return lambda sandbox: sandbox.set_catalog(sandbox.catalog.replacing(kind, name, **changes))


def added(kind: str, *items: Any) -> Event:
    def event(sandbox: Sandbox) -> None:
        for item in items:
            sandbox.set_catalog(sandbox.catalog.adding(kind, item))

    return event


def removed(kind: str, name: str) -> Event:
    return lambda sandbox: sandbox.set_catalog(sandbox.catalog.without(kind, name))


def renamed(sandbox: Sandbox) -> None:
    old = sandbox.catalog.checkpoint("swap_me")
    assert old is not None
    catalog = sandbox.catalog.without("checkpoints", "swap_me")
    sandbox.set_catalog(catalog.adding("checkpoints", old.model_copy(update={"name": "swap_ren"})))


def restarted(sandbox: Sandbox) -> None:
    sandbox.restart()


def hashes_known(*names: str) -> Event:
    """The server had loaded these before: their hashes are in its cache."""

    def event(sandbox: Sandbox) -> None:
        ui = sandbox.webui
        for name in names:
            ui.weights.reload(ui.weights.exact(name))
        ui.weights.refresh_checkpoints()
        ui.weights.reload(ui.weights.checkpoints[0])

    return event


def all_of(*events: Event) -> Event:
    def event(sandbox: Sandbox) -> None:
        for one in events:
            one(sandbox)

    return event


def tiny_b_vae_was_used(sandbox: Sandbox) -> None:
    """The one cache entry for VAEs holds the newest file's hash."""
    ui = sandbox.webui
    ui.options.data["sd_vae"] = _B_VAE.name
    ui.weights.reload_vae()
    ui.weights.vae_hash()
    ui.options.data["sd_vae"] = "Automatic"
    ui.weights.reload_vae()


def lora_was_used(name: str) -> Event:
    def event(sandbox: Sandbox) -> None:
        sandbox.webui.loras.activate([Tag("lora", (name,), ())])
        sandbox.webui.loras.activate([])

    return event


@dataclass(frozen=True)
class Session:
    """Pairs in order, the disk they began with, and what happened before some of them."""

    name: str
    server: str
    catalog: Catalog
    pairs: tuple[str, ...]
    settings: SandboxSettings = field(default_factory=SandboxSettings)
    before: dict[str, Event] = field(default_factory=dict)


def starting(server: str, *starts: str) -> tuple[str, ...]:
    """The recorded names that begin so, in the order of the parts and of their numbers."""
    return tuple(name for start in starts for name in sorted(by_name(server)) if name.startswith(start))


_KNOWN = hashes_known("sandbox_tiny_a", "sandbox_tiny_b")
_NET = "networks"
_SPARSE_FORGE = SandboxSettings(flavour="forge", sparse_config=True)

SESSIONS: tuple[Session, ...] = (
    Session("lora", _NET, LORAS, starting(_NET, "lora_0", "lora_1", "lora_2", "lora_3")),
    Session(
        "lora files replaced",
        _NET,
        LORAS,
        (
            *starting(_NET, "loraswap_01", "loraswap_02", "loraswap_03", "loraswap_04", "loraswap_05"),
            *starting(_NET, "loraswap_06", "loraswap_07", "loraswap_08", "loraadd_", "loraswap_09"),
            *starting(_NET, "loraswap_1", "loraswap_2"),
        ),
        before={
            "loraswap_02_list_after_replace": changed(
                "loras", "rnd_swap", sha256=sha("e795cbfe56e4"), mtime=NEWER
            ),
            "loraadd_01_no_refresh": added("loras", Lora(name="rnd_added", sha256=sha("e795cbfe56e4"))),
            "loraadd_03_list_after_delete": removed("loras", "rnd_added"),
            "loraswap_06_oldmtime_no_refresh": changed(
                "loras", "rnd_plain", sha256=sha("e795cbfe56e4"), mtime=OLDER
            ),
            "loraswap_20_restart_newmtime": restarted,
        },
    ),
    Session(
        "lora names",
        _NET,
        LORA_NAMES,
        starting(_NET, "loraname_", "loraleak_", "lora_4", "lora_5"),
        before={"loraname_00_refresh": lora_was_used("rnd_swap")},
    ),
    Session("embeddings", _NET, EMBEDDINGS, starting(_NET, "ti_")),
    Session(
        "embedding files replaced",
        _NET,
        EMBEDDINGS,
        starting(_NET, "tiswap_"),
        before={
            "tiswap_02_replaced_same_prompt": changed(
                "embeddings", "rndemb", sha256=sha("9083f9ebd017"), mtime=NEWER
            ),
            "tiswap_08_new_no_refresh": added(
                "embeddings", Embedding(name="rndnew", sha256=sha("9083f9ebd017"), vectors=2, mtime=NEWER)
            ),
            "tiswap_09_list": lambda sandbox: sandbox.set_catalog(
                sandbox.catalog.model_copy(
                    update={
                        "embeddings": tuple(sorted(sandbox.catalog.embeddings, key=lambda item: item.name))
                    }
                )
            ),
        },
    ),
    Session(
        "vae",
        _NET,
        VAE,
        starting(_NET, "vae_"),
        before={
            "vae_00_refresh": _KNOWN,
            "vae_09_list_without_refresh": added(
                "vaes", Vae(name="rnd_vae2.safetensors", mtime=OLDER), _B_VAE
            ),
        },
    ),
    Session(
        "vae file replaced",
        _NET,
        ALL_VAES,
        starting(_NET, "vaeswap_"),
        before={
            "vaeswap_01": tiny_b_vae_was_used,
            "vaeswap_02_replaced_loaded": changed(
                "vaes", "rnd_vae2.safetensors", sha256=sha("aa"), mtime=OLDER
            ),
        },
    ),
    Session(
        "vae unreadable",
        _NET,
        ALL_VAES.adding("vaes", Vae(name="zz_badvae.safetensors", defect="unreadable")),
        starting(_NET, "vaefail_"),
    ),
    Session(
        "checkpoint files",
        _NET,
        disk("/srv/data", vaes=(_B_VAE,)),
        starting(_NET, "ckpt_0", "ckpt_1", "ckpt_2", "ckpt_3", "ckpt_4"),
        before={
            "ckpt_01_new_file_no_refresh": all_of(_KNOWN, added("checkpoints", tiny("swap_me", TINY_B))),
            "ckpt_06_after_overwrite": changed("checkpoints", "swap_me", sha256=SWAPPED, mtime=NEWER),
            "ckpt_20_oldmtime_refresh": changed("checkpoints", "swap_me", sha256=RENAMED, mtime=OLDER),
            "ckpt_30_renamed_no_refresh": renamed,
        },
    ),
    Session(
        "checkpoint overwritten while loaded",
        _NET,
        disk("/srv/data", vaes=(_B_VAE,)).adding("checkpoints", tiny("swap_ren", RENAMED)),
        starting(_NET, "ckpt_5"),
        before={
            "ckpt_50_refresh": all_of(
                hashes_known("sandbox_tiny_b", "swap_ren"), added("checkpoints", tiny("swap_two", TINY_B))
            ),
            "ckpt_53_refresh_after_overwrite": changed(
                "checkpoints", "swap_two", sha256=SWAPPED, mtime=NEWER
            ),
        },
    ),
    Session(
        "checkpoint fails to load",
        _NET,
        FAILING,
        starting(_NET, "ckptfail_"),
        before={
            "ckptfail_01_refresh": hashes_known("sandbox_tiny_b", "swap_ren"),
            "ckptfail_14_refresh": removed("checkpoints", "zz_corrupt"),
            "ckptfail_20_refresh": added("checkpoints", _CORRUPT[0]),
            "ckptfail_30_refresh": added("checkpoints", _CORRUPT[1]),
        },
    ),
    Session(
        "refiner and hires checkpoint",
        _NET,
        disk("/srv/data", vaes=(_B_VAE,)),
        starting(_NET, "refiner_", "hrck_"),
        before={"refiner_01_same_as_loaded": _KNOWN},
    ),
    Session("clip skip, ENSD, RNG, sizes", _NET, STYLES, starting(_NET, "misc_", "style_", "dim_")),
    Session(
        "forge networks",
        _NET,
        FORGE_NETWORKS,
        (
            *starting(_NET, "forge_lora_0", "forge_ti_", "forge_vae_", "forge_misc_", "forge_options"),
            *starting(_NET, "forge_lora_2"),
        ),
        settings=_SPARSE_FORGE,
    ),
    Session(
        "forge just started",
        "forge",
        FORGE,
        ("get_progress", "get_sd_models"),
        settings=SandboxSettings(flavour="forge"),
    ),
    Session(
        "sparse config",
        "sparse-config",
        SPARSE,
        (
            "t2i_override_bad_value",
            "options_get_poisoned",
            "t2i_hr_latent",
            "options_fix_poison",
            "t2i_override_clip_skip",
            "fix",
            "sticky_1_before",
            "sticky_2_override",
            "sticky_3_after",
            "sticky_4_fix",
        ),
        settings=SandboxSettings(sparse_config=True),
        before={
            "t2i_override_bad_value": lambda sandbox: sandbox.set_options(
                sd_model_checkpoint="sandbox_tiny_b"
            )
        },
    ),
)
