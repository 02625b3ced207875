"""`python -m flows.reprocess FOLDER --stages upscale,adetailer`: finished images, taken further."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from flows.carry_out import carry_out, stages_of
from flows.command import main, refused
from flows.server import check_server
from stableflows.errors import InputError, StableflowsError, Where
from stableflows.jobs import load
from stableflows.request import RenderRequest, parse_settings
from stableflows.stages import StageType

__all__ = ["app"]

app = App(
    name="reprocess",
    help="Take the images of a folder through further stages, with the prompt and settings found in them.",
    default_parameter=Parameter(negative=()),
    version_flags=(),
)


@app.default
def reprocess(
    *folders: Path,
    stages: str,
    settings: Annotated[list[str] | None, Parameter(name="--set")] = None,
    recursive: bool = False,
    server: str | None = None,
    out: Path = Path("outputs"),
    plan: bool = False,
    json_output: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Take the images of folders through further stages.

    Parameters
    ----------
    folders:
        Folders of PNG, JPEG and WebP images, or single images.
    stages:
        What they go through: img2img, upscale, adetailer, joined by commas.
    settings:
        A setting above those found in the images, such as upscale.factor=1.5. May be given several times.
    recursive:
        Look into the folders of the folders, too.
    server:
        As for `run`.
    out:
        The folder that holds all runs.
    plan:
        Print what would be rendered, and stop.
    json_output:
        Print the outcome (or, with --plan, the plan) as JSON and nothing else.
    """
    console = Console(stderr=json_output, highlight=False)
    try:
        wanted = stages_of(stages)
        if StageType.TXT2IMG in wanted or not wanted:
            raise InputError(
                "must be of img2img, upscale and adetailer; txt2img makes images from prompts alone "
                "(stableflows run --from IMAGE makes an image again).",
                where=Where(field="--stages"),
            )
        check_server(server)
        request = RenderRequest.of(
            from_images=tuple(str(file) for file in _files(folders, recursive=recursive)),
            stages=wanted,
            settings=parse_settings(settings or ()),
            server=server,
            out=str(out),
        )
        return carry_out(request, load(request, submitted="cli"), console, plan=plan, json_output=json_output)
    except StableflowsError as error:
        return refused(error, json_output)


def _files(folders: tuple[Path, ...], *, recursive: bool) -> list[Path]:
    """Every image once, folder by folder.

    Raises:
        InputError: nothing was named, or a folder is none or has no image.
    """
    from stableflows.images import images_in

    if not folders:
        raise InputError("name a folder of images.")
    found = [
        file
        for folder in folders
        for file in ([folder] if folder.is_file() else images_in(folder.expanduser(), recursive=recursive))
    ]
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    main(app)
