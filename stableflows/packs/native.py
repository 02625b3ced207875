"""A pack, however it was read, as a native one: what `read_pack` reads, and reads as the same."""

from __future__ import annotations

from typing import Any

import yaml

from stableflows.config.layers import merge_values
from stableflows.packs.document import PlainLoader
from stableflows.packs.model import PackEntry, PromptPack
from stableflows.prompts.model import Language

__all__ = ["as_native", "native_yaml"]

WIDTH = 110
ODD_LINE_ENDS = set("\x85\u2028\u2029")


class _Dumper(yaml.SafeDumper):
    """Quotes what our reader would take for something else than a text: it differs from PyYAML's own."""

    yaml_implicit_resolvers = PlainLoader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # To YAML these are line ends, which it would read as a blank.
        style = '"' if ODD_LINE_ENDS & set(data) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style)


_Dumper.add_representer(str, _Dumper.represent_str)


def as_native(pack: PromptPack) -> dict[str, Any]:
    """The data of a native pack that says the same; files are named by absolute paths.

    Raises:
        InputError: the pack says one setting twice, differently.
    """
    native: dict[str, Any] = {"id": pack.pack_id}
    if pack.name != pack.pack_id:
        native["name"] = pack.name
    around = {key: value for key, value in pack.globals.model_dump().items() if value}
    if around:
        native["globals"] = around
    native |= _language(pack.language)
    if config := merge_values(pack.layers):
        native["config"] = config
    native["entries"] = [_entry(entry) for entry in pack.entries]
    return native


def native_yaml(pack: PromptPack) -> str:
    """The same as YAML text.

    Raises:
        InputError: see `as_native`.
    """
    text: str = yaml.dump(
        as_native(pack),
        Dumper=_Dumper,
        allow_unicode=True,
        sort_keys=False,
        width=WIDTH,
        default_flow_style=False,
    )
    return text


def _language(language: Language) -> dict[str, Any]:
    """What a pack says of its prompts, without what it does not say."""
    said: dict[str, Any] = language.model_dump(mode="json", exclude_defaults=True)
    if "sweep" in said:
        said["sweep"] = said["sweep"]["groups"]
    return said


def _entry(entry: PackEntry) -> dict[str, Any] | str:
    config = merge_values(entry.layers)
    count = config.pop("count", None)
    native = {
        "prompt": entry.prompt,
        "negative_prompt": entry.negative_prompt,
        "name": entry.name,
        "count": count,
        "inputs": [str(file) for file in entry.inputs],
        "styles": list(entry.styles),
        "prompts": entry.drawing.model_dump(mode="json", exclude_none=True) if entry.drawing else None,
        "sweep": entry.sweep.model_dump(mode="json")["groups"],
        "config": config,
    }
    said = {key: value for key, value in native.items() if value not in ("", None, [], {})}
    return entry.prompt if set(said) == {"prompt"} else said
