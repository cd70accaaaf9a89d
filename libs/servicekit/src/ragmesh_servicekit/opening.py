"""The first look at a store, which a process may serve before: the store may be away when the process starts.

Until the look has succeeded (the layout is one that this program knows, its constraints are made) the store's guards
are held, so that every call of it is Unavailable and what can be done without the store goes on. An outage of a store
thus keeps no replica from starting; and nothing of this program reaches a store that a newer one wrote.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from ragmesh_servicekit.errors import DeadlineExceeded, MeshError, Unavailable
from ragmesh_servicekit.resilience.guard import Guard

log = structlog.get_logger()

PAUSE_SECONDS = 0.5
"""Between two looks: a store that comes back tells nobody."""

LOGIN_CAUSES = frozenset({"authentication", "permission", "key"})
"""metadata.cause of an Unavailable whose dependency answered, and refused who asked."""


class StartRefused(Exception):
    """A store or a setting that the operator must mend before this process can serve. message: one sentence."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def refuses_login(error: MeshError) -> bool:
    """Whether a store answered, and refused who asked: waiting is of no use."""
    return isinstance(error, Unavailable) and error.metadata.get("cause") in LOGIN_CAUSES


class Opening:
    """One store's. look: one attempt, bounded by itself; it bears repetition. Its Unavailable is waited out however
    long that takes; every other MeshError is of no use to repeat. guards: held from now on until it has succeeded."""

    def __init__(self, name: str, look: Callable[[], Awaitable[object]], *guards: Guard) -> None:
        self.name = name
        self.done = False
        self._look = look
        self._guards = guards
        for guard in guards:
            guard.hold()

    async def run(self) -> None:
        """Look until there is an answer. Raises StartRefused for one that will not change by itself."""
        awaited = False
        while not await self._looked(awaited):
            awaited = True
            await asyncio.sleep(PAUSE_SECONDS)
        for guard in self._guards:
            guard.release()
        self.done = True
        if awaited:
            log.info("store.opened", store=self.name)

    async def _looked(self, awaited: bool) -> bool:
        try:
            await self._look()
        except (Unavailable, DeadlineExceeded) as error:
            if not awaited:
                log.warning("store.awaited", store=self.name, message=error.message)
            return False
        except MeshError as error:
            raise StartRefused(error.message) from error
        return True
