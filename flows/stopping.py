"""Ending a run before its end without a cancel: at a time, or because somebody asks for it.

What is at the server is rendered to its end; nothing further is sent. Who wants that of a run in another
process writes the file `stop` into its folder (`ask_to_stop`).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta

from stableflows.run.files import write_whole
from stableflows.run.folder import RunFolder

__all__ = ["ask_to_stop", "moment", "watch_for_stop"]

EVERY = 1.0
"""Seconds between two looks."""


def ask_to_stop(folder: RunFolder, reason: str) -> None:
    """Ask the run that renders into `folder` to end after the images in hand.

    Args:
        reason: what the run's message and log say, such as "paused".
    """
    write_whole(folder.stop_file, reason.encode())


def moment(until: str, now: datetime) -> datetime:
    """The next moment at which a clock shows `until` ("HH:MM") in the zone of `now`."""
    hour, minute = map(int, until.split(":"))
    at = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return at if at > now else at + timedelta(days=1)


async def watch_for_stop(
    folder: RunFolder, until: datetime | None, *, stop: asyncio.Event, cancel: asyncio.Event
) -> str | None:
    """Set `stop` when the run shall send nothing further; and why, unless it was cancelled."""
    while not cancel.is_set():
        reason = _asked(folder)
        if reason is None and until is not None and datetime.now(until.tzinfo) >= until:
            reason = f"until {until:%H:%M}"
        if reason is not None:
            stop.set()
            return reason
        with suppress(TimeoutError):
            await asyncio.wait_for(cancel.wait(), EVERY)
    stop.set()
    return None


def _asked(folder: RunFolder) -> str | None:
    try:
        return folder.stop_file.read_text(encoding="utf-8", errors="replace").strip()[:200] or "asked to stop"
    except FileNotFoundError:
        return None
