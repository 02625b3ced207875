"""`stableflows job show|add|clear JOB.YAML`: drafts of jobs."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml
from cyclopts import App, Parameter

from flows import draft
from flows.command import main, refused
from flows.wording import counted
from stableflows.errors import ExitCode, StableflowsError

__all__ = ["app"]

app = App(
    name="job",
    help="Drafts of jobs, which `run ... --save FILE` makes; `run FILE` plans, renders or queues one.",
    default_parameter=Parameter(negative=()),
    version_flags=(),
)


@app.command
def show(file: Path, /) -> int:
    """Show what a draft says; `run FILE --plan` shows what comes of it."""
    try:
        text = yaml.safe_dump(draft.read(file), sort_keys=False, allow_unicode=True)
    except StableflowsError as error:
        return refused(error)
    sys.stdout.write(text)
    return int(ExitCode.OK)


@app.command
def add(file: Path, /, *packs: str) -> int:
    """Add pack files to a draft; one that is not there yet is made.

    Parameters
    ----------
    file:
        The draft.
    packs:
        Pack files, or patterns.
    """
    try:
        count = draft.add(file, list(packs))
    except StableflowsError as error:
        return refused(error)
    sys.stdout.write(f"{file} has {counted(count, 'pack')}.\n")
    return int(ExitCode.OK)


@app.command
def clear(file: Path, /) -> int:
    """Take all packs out of a draft; its settings stay."""
    try:
        count = draft.clear(file)
    except StableflowsError as error:
        return refused(error)
    sys.stdout.write(f"{file}: {counted(count, 'pack')} taken out.\n")
    return int(ExitCode.OK)


if __name__ == "__main__":
    main(app)
