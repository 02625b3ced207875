"""Which run folder belongs to a Prefect flow run."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from stableflows.run.folder import RunFolder

__all__ = ["folder_of_flow_run"]


def folder_of_flow_run(root: Path, flow_run_ids: Container[str]) -> RunFolder | None:
    """The folder into which one of these flow runs rendered, or renders; None if they had none yet.

    The newest folders are looked through first, so that for what ran last only few logs are read.
    """
    for plan in sorted(root.glob("*/plan.json"), key=lambda file: file.stat().st_mtime, reverse=True):
        folder = RunFolder(root, plan.parent.name)
        if any(flow_run_id in flow_run_ids for flow_run_id in folder.flow_run_ids()):
            return folder
    return None
