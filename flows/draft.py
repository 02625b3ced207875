"""Drafts of jobs: job files that commands write, add to and clear, and that people edit.

A draft names pack files and holds the command line's settings; it is read anew each time it is planned or
run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from stableflows.errors import InputError, Where
from stableflows.packs import read_sources
from stableflows.request import RenderRequest
from stableflows.run.files import write_whole
from stableflows.stages import StageType

__all__ = ["add", "check_clearable", "clear", "read", "save"]

HEAD = "# A draft of a job: docs/queue.md. `packs` are files beside this one, or entries of their own.\n"


def save(request: RenderRequest, file: Path, name: str | None = None) -> None:
    """Write what a command line asks for as a draft, in place of an earlier one.

    Raises:
        InputError: it asks for what a job file cannot say, or the file cannot be written.
    """
    if request.from_images or (request.inputs and request.packs):
        option = "--from" if request.from_images else "--input"
        raise InputError(f"{option} cannot be kept in a draft; name the images in a pack.", where=Where(file))
    settings: dict[str, Any] = dict(request.settings)
    if request.stages is not None:
        for stage in StageType:
            settings[stage.value] = {**settings.get(stage.value, {}), "enabled": stage in request.stages}
    if request.count is not None:
        settings["count"] = request.count
    draft: dict[str, Any] = {"name": name or file.stem, "packs": _packs(request, file)}
    if settings:
        draft["settings"] = settings
    if request.seed is not None:
        draft["first_seed"] = request.seed
    _write(file, draft)


def read(file: Path) -> dict[str, Any]:
    """A draft, or any job file.

    Raises:
        InputError: it is not there, or is no job file.
    """
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            "there is no such draft; `run ... --save FILE` makes one.", where=Where(file)
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot be read: {error}", where=Where(file)) from None
    if not isinstance(data, dict) or not isinstance(data.get("packs"), list):
        raise InputError("is no job file: it has no list `packs`.", where=Where(file))
    return data


def add(file: Path, packs: list[str]) -> int:
    """Add pack files to a draft; one that is not there yet is made.

    Returns:
        How many packs it names now.

    Raises:
        InputError: a pack cannot be read; the draft is unchanged.
    """
    draft = read(file) if file.exists() else {"name": file.stem, "packs": []}
    read_sources(packs)
    draft["packs"] = [*draft["packs"], *(_beside(pack, file) for pack in packs)]
    _write(file, draft)
    return len(draft["packs"])


def check_clearable(packs: Sequence[str], *, queued: bool) -> None:
    """See, before anything is queued, that there is one draft to clear.

    Raises:
        InputError: there is none, or the command does not queue.
    """
    if not queued:
        raise InputError(
            "goes with --queue: a draft is cleared once the queue has it.", where=Where(field="--clear")
        )
    if len(packs) != 1:
        raise InputError("goes with one draft alone.", where=Where(field="--clear"))
    read(Path(packs[0]))


def clear(file: Path) -> int:
    """Take all packs out of a draft; its settings stay. Returns how many they were."""
    draft = read(file)
    count = len(draft["packs"])
    _write(file, {**draft, "packs": []})
    return count


def _packs(request: RenderRequest, file: Path) -> list[Any]:
    if request.packs:
        read_sources(request.packs)
        return [_beside(pack, file) for pack in request.packs]
    if request.prompt is None and not request.inputs:
        return []
    entry: dict[str, Any] = {"prompt": request.prompt or "", "negative_prompt": request.negative_prompt}
    if request.inputs:
        entry["inputs"] = [_beside(image, file) for image in request.inputs]
    return [{"pack_id": "prompt", "entry": {name: value for name, value in entry.items() if value}}]


def _beside(path: str, file: Path) -> str:
    """A path as a file beside it names it: relative where that does not lead far up."""
    full = Path(path).expanduser().absolute()
    relative = os.path.relpath(full, file.absolute().parent)
    return str(full) if relative.startswith(os.path.join("..", "..")) else relative  # noqa: PTH118 (a beginning)


def _write(file: Path, draft: dict[str, Any]) -> None:
    text = HEAD + yaml.safe_dump(draft, sort_keys=False, allow_unicode=True, width=110)
    try:
        file.absolute().parent.mkdir(parents=True, exist_ok=True)
        write_whole(file.absolute(), text.encode())
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}.", where=Where(file)) from None
