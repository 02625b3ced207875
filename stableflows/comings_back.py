"""A server that goes away in mid-run and comes back: which entry it dies of, and what it has now.

A WebUI that was restarted by its owner, by a watchdog or by a crash may come back with other files. What is
no longer what it was when the run started must not be rendered with in silence.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

from stableflows.calls import StageCall
from stableflows.entries import Entry
from stableflows.errors import StableflowsError
from stableflows.keys import models_in
from stableflows.preflight import check_names
from stableflows.server_state import ServerState
from stableflows.webui.client import WebUIClient
from stableflows.webui.errors import SetAside, Unreachable

__all__ = ["ComingsBack", "ModelsChangedError"]

MOST_DEATHS = 3
"""How often the server may die while it renders one entry."""


class ModelsChangedError(StableflowsError):
    """The server came back with other models."""


class ComingsBack:
    """Remembers, over one run, when the server was away.

    Attributes:
        away: it went away, and what it has now was not read yet.
    """

    def __init__(self) -> None:
        self._hashes: dict[tuple[str, str], str] = {}
        self._deaths: Counter[int] = Counter()
        self.away = False
        self._was_away = False
        self._reading = asyncio.Lock()

    def lost(self, call: StageCall, error: Unreachable, *, running: bool) -> None:
        """The connection broke under a call.

        Args:
            running: the server was rendering this call; one that only waited there is not to blame.

        Raises:
            SetAside: that has happened too often with this entry.
        """
        self.away = True
        if not running:
            return
        self._deaths[call.entry] += 1
        if self._deaths[call.entry] >= MOST_DEATHS:
            reason = (
                f"the server went away {MOST_DEATHS} times while it rendered this entry, which is set aside"
            )
            raise SetAside(
                reason, error.site, advice="Look at the server's log; --retry tries again"
            ) from error

    async def read(self, client: WebUIClient, server: ServerState) -> ServerState:
        """What the server has, read anew if it was away.

        Raises:
            WebUIError: it went away again.
        """
        async with self._reading:
            if not self.away:
                return server
            again = await server.read_again(client)
            self._hashes = {**server.hashes, **self._hashes}
            self.away, self._was_away = False, True
            return again

    def refuse(self, entry: Entry, body: Mapping[str, Any], server: ServerState) -> None:
        """Raises: ModelsChangedError: the server came back without what the entry names, or with other
        files."""
        if not self._was_away:
            return
        problems = [str(error) for error in check_names((entry,), server.names, server.capabilities)]
        for kind, name in models_in(body):
            before, now = self._hashes.get((kind, name)), server.hashes.get((kind, name))
            if before and now and before != now:
                problems.append(f"the {kind} {name!r} is another file now ({now} instead of {before})")
        if problems:
            raise ModelsChangedError(f"the server came back with other models: {'; '.join(problems)}")
