"""The layout version of a blob store: how keys and manifests are built, in one small blob beside them.

A store without the blob was written before there were versions, or is new: both are layout 1, the first.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from ragmesh_servicekit.errors import FailedPrecondition, NotFound, Unavailable

log = structlog.get_logger()

KEY = "ragmesh-layout"
LAYOUT = 1
"""Goes up when blobs move or change their form; what is written by an older layout is brought forward here."""

RETRY_SECONDS = 0.5
LOOK_SECONDS = 5.0
"""The longest wait of one attempt, for who repeats it."""


class Blobs(Protocol):
    """As much of a blob store as is needed here."""

    async def get(self, key: str) -> bytes: ...

    async def put(self, key: str, data: bytes) -> None: ...


async def open_layout(blobs: Blobs, *, wait_seconds: float = 30.0) -> None:
    """Mark the store with this program's layout; waits for one that is still starting. Two processes that do so at
    once write the same.

    Raises FailedPrecondition when a newer program wrote the store or the mark is none, which changes nothing;
    Unavailable when it does not answer within wait_seconds.
    """
    try:
        async with asyncio.timeout(wait_seconds):
            await _mark(blobs)
    except TimeoutError as error:
        raise Unavailable.dependency("blobs", f"the blobs store did not answer within {wait_seconds:g} s") from error


async def _mark(blobs: Blobs) -> None:
    while True:
        try:
            if await require_known_layout(blobs) is None:
                await blobs.put(KEY, f"{LAYOUT}\n".encode())
            return
        except Unavailable as error:
            log.debug("blobs.waiting", message=error.message)
        await asyncio.sleep(RETRY_SECONDS)


async def require_known_layout(blobs: Blobs) -> int | None:
    """The store's layout, None when it has no mark; changes nothing. Raises as open_layout, without waiting."""
    try:
        text = (await blobs.get(KEY)).decode("ascii", "replace").strip()
    except NotFound:
        return None
    if not (text.isascii() and text.isdigit()):
        raise FailedPrecondition(f"the layout mark of the blobs store ({KEY}) is damaged: restore a backup")
    found = int(text)
    if found > LAYOUT:
        raise FailedPrecondition(
            f"the blobs store ({KEY}) has layout {found}, written by a newer ragmesh; this one knows layout {LAYOUT}: "
            "run the newer program or restore a backup"
        )
    return found
