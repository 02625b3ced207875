"""What `--plan` prints: entries, stages, requests, images, checkpoints and seeds, before anything is sent."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from flows.wording import counted
from stableflows.entries import Entry
from stableflows.estimate import Estimate
from stableflows.payload import output_size
from stableflows.request import Prepared

if TYPE_CHECKING:
    from flows.check import Checked

__all__ = ["plan_as_data", "print_plan"]


def plan_as_data(prepared: Prepared, cost: Estimate, checked: Checked | None = None) -> dict[str, Any]:
    """The plan as JSON data: what the run will be, to the count.

    Args:
        checked: what a server said of it, if one was asked.
    """
    requests = Counter(call.entry for call in prepared.calls)
    return {
        "job_id": prepared.job.job_id,
        "name": prepared.job.name,
        "total_entries": len(prepared.entries),
        "total_requests": len(prepared.calls),
        "total_images": prepared.image_count,
        "hits": sorted(checked.hits) if checked and checked.server else None,
        "checkpoint_loads": cost.checkpoint_loads,
        "seconds": round(cost.seconds, 1),
        "measured": cost.known,
        "checkpoints": _checkpoints(prepared.entries),
        "entries": [
            {
                "pack_id": entry.item.pack_id,
                "pack_name": entry.item.name,
                "name": entry.item.entry.name,
                "prompt": entry.texts.prompt,
                "negative_prompt": entry.texts.negative_prompt,
                "mode": entry.plan.mode,
                "stages": [stage.stage_type.value for stage in entry.plan],
                "requests": requests[entry.index],
                "images": entry.count * max(1, len(entry.inputs)),
                "size": _size(entry),
                "checkpoints": _checkpoints((entry,)),
                "seed": entry.seed.model_dump() if entry.seed else None,
                "randomizer": entry.item.randomizer,
            }
            for entry in prepared.entries
        ],
        "calls": [call.model_dump(mode="json", exclude={"label"}) for call in prepared.calls],
        "warnings": list(prepared.warnings),
    }


def print_plan(prepared: Prepared, console: Console) -> None:
    """The plan for a person: two lines an entry, and the sums."""
    requests = Counter(call.entry for call in prepared.calls)
    width = max(20, console.width - 4)
    for entry in prepared.entries:
        size = _size(entry)
        images = entry.count * max(1, len(entry.inputs))
        details = [
            " > ".join(_stages(entry)),
            f"{size[0]}×{size[1]}" if size else "",
            _checkpoint(entry),
            f"seed {entry.seed.value} ({entry.seed.how})" if entry.seed else "",
            f"{counted(requests[entry.index], 'request')}, {counted(images, 'image')}",
        ]
        title = Text(f"{entry.index + 1:>3} {entry.title}", style="bold")
        chosen = Text(_chosen(entry), style="dim")
        title.truncate(max(24, width - chosen.cell_len), overflow="ellipsis")
        console.print(title + chosen, soft_wrap=True)
        console.print(Text("    " + " · ".join(part for part in details if part)), soft_wrap=True)
    stages = Counter(call.stage_type.value for call in prepared.calls)
    by_stage = ", ".join(f"{count} {stage}" for stage, count in stages.items())
    console.print(
        f"{counted(len(prepared.entries), 'entry')}, {counted(len(prepared.calls), 'request')} "
        f"({by_stage or 'none'}), {counted(prepared.image_count, 'image')}",
        soft_wrap=True,
    )
    for warning in prepared.warnings:
        console.print(Text(f"Warning: {warning}", style="yellow"), soft_wrap=True)


def _chosen(entry: Entry) -> str:
    """What was drawn or swept, by its names; nothing, if there was no choice."""
    told = {name: " ".join(str(value).split()) for name, value in entry.item.chosen.items()}
    return "".join(f" · {name}={_shortened(value)}" for name, value in told.items())


def _shortened(value: str, most: int = 30) -> str:
    """A value within what a line can bear."""
    return value if len(value) <= most else f"{value[: most - 1]}…"


def _stages(entry: Entry) -> list[str]:
    """Stage names, with what is added to txt2img in brackets."""
    names = []
    for stage in entry.plan:
        extra = [
            word for word, on in (("hires", stage.hires_enabled), ("refiner", stage.refiner_enabled)) if on
        ]
        names.append(stage.stage_type.value + (f" [{'+'.join(extra)}]" if extra else ""))
    return names


def _size(entry: Entry) -> tuple[int, int] | None:
    size = (entry.inputs[0].width, entry.inputs[0].height) if entry.inputs else None
    for stage in entry.plan:
        size = output_size(stage, size)
    return size


def _checkpoint(entry: Entry) -> str:
    if not any(stage.generation for stage in entry.plan):
        return ""
    return ", ".join(_checkpoints((entry,))) or "the server's checkpoint"


def _checkpoints(entries: tuple[Entry, ...]) -> list[str]:
    """Names of the checkpoints that the entries name, each once, in the order in which they are needed."""
    names: dict[str, None] = {}
    for entry in entries:
        for stage in entry.plan:
            config = stage.generation
            for name in (config.checkpoint if config else None, stage.refiner_model_name):
                if name:
                    names[name] = None
    return list(names)
