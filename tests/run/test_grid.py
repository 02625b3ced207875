"""Grids: an image of each sweep, composed from what a run left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from stableflows.run.chains import latest
from stableflows.run.folder import RunFolder
from stableflows.run.grid import MAX_SIDE, write_grids
from tests.run.samples import Sample, png

COLOURS = {"1": "#ff0000", "2": "#00ff00", "3": "#0000ff", "4": "#ffff00"}


def swept(
    sample: Sample, points: Sequence[Sequence[Mapping[str, Any]]], of: str = "s", **said: Any
) -> list[str]:
    """Entries of one sweep; gives the id of each one's first call."""
    first = []
    for axes in points:
        first.append(sample.add("a cat", **said)[0])
        entry = sample.entries[-1]
        point = {"of": of, "axes": [dict(axis) for axis in axes]}
        sample.entries[-1] = entry.model_copy(update={"entry": {**entry.entry, "sweep": point}})
    return first


def colours(path: Path) -> list[tuple[int, int, int]]:
    """The full colours in a grid, from left to right and then down, each once."""
    with Image.open(path) as grid:
        pixels = grid.convert("RGB")
        wanted = {tuple(bytes.fromhex(colour[1:])) for colour in COLOURS.values()}
        found: dict[Any, None] = {}
        for y in range(pixels.height):
            for x in range(pixels.width):
                if (pixel := pixels.getpixel((x, y))) in wanted:
                    found[pixel] = None
    return list(found)


def rgb(name: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(COLOURS[name][1:]))


def grids_of(folder: RunFolder) -> list[Path]:
    return write_grids(folder, folder.plan(), latest(folder.calls()))


def test_nothing_swept_gives_no_grid(sample: Sample) -> None:
    sample.add("a cat")
    sample.write_plan()
    assert grids_of(sample.folder) == []
    assert not (sample.folder.path / "grids").exists()


def test_each_image_is_in_its_row_and_column(sample: Sample) -> None:
    points: list[list[dict[str, Any]]] = [
        [{"vae": row}, {"txt2img.steps": column}] for row in "ab" for column in (10, 20)
    ]
    calls = swept(sample, points)
    sample.write_plan()
    # Finished in another order than planned.
    for call, name in reversed(list(zip(calls, "1234", strict=True))):
        sample.finish(call, lambda *_, name=name: png(40, 40, COLOURS[name]))
    (grid,) = grids_of(sample.folder)
    assert grid.relative_to(sample.folder.path).as_posix() == "grids/0001-a-cat.png"
    assert colours(grid) == [rgb(name) for name in "1234"]
    with Image.open(grid) as image:
        assert image.info["Description"] == "Grid composed from images of a run; not rendered by a model."


def test_an_image_that_is_not_there_leaves_its_cell_empty(sample: Sample) -> None:
    calls = swept(sample, [[{"txt2img.steps": steps}] for steps in (10, 20, 30)])
    sample.write_plan()
    sample.finish(calls[0], lambda *_: png(40, 40, COLOURS["1"]))
    gone = sample.finish(calls[1], lambda *_: png(40, 40, COLOURS["2"]))
    sample.fail(calls[2], "out of memory")
    (sample.folder.root / gone.images[0].path).unlink()
    (grid,) = grids_of(sample.folder)
    assert colours(grid) == [rgb("1")]


def test_no_image_at_all_gives_no_grid(sample: Sample) -> None:
    (call,) = swept(sample, [[{"vae": "a"}]])
    sample.write_plan()
    sample.fail(call, "out of memory")
    assert grids_of(sample.folder) == []


def test_several_images_of_an_entry_are_several_grids_and_sweeps_apart(sample: Sample) -> None:
    calls = swept(sample, [[{"vae": "a"}], [{"vae": "b"}]], count=2, batch=2)
    calls += swept(sample, [[{"vae": "a"}]], of="other")
    sample.write_plan()
    for call in calls:
        sample.finish(call)
    names = [path.name for path in grids_of(sample.folder)]
    assert names == ["0001-a-cat-1.png", "0001-a-cat-2.png", "0003-a-cat.png"]


def test_a_long_axis_stays_within_bounds(sample: Sample) -> None:
    points = [[{"txt2img.steps": steps}] for steps in range(1, 121)]
    for call in (calls := swept(sample, points)):
        assert call
    sample.write_plan()
    sample.finish(calls[0], lambda *_: png(512, 512))
    (grid,) = grids_of(sample.folder)
    with Image.open(grid) as image:
        assert image.width <= MAX_SIDE + 300
