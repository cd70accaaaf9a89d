"""Work that ends when its client goes away: nobody waits for the answer, so neither search nor model need go on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from ragmesh_servicekit.errors import MeshError, Unavailable

T = TypeVar("T")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. Raises ClientDisconnect, with `work` cancelled and over, when the client goes first. The
    body must have been read."""
    task = asyncio.create_task(work, name="rest-call")
    watcher = watch(receive, task)
    try:
        return await task
    except asyncio.CancelledError:
        if watcher.done():
            raise ClientDisconnect from None
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise
        raise stopped() from None
    finally:
        watcher.cancel()


def watch(receive: Receive, task: asyncio.Task[Any]) -> asyncio.Task[None]:
    """A task that cancels `task` when the client goes away. It is done without being cancelled exactly then."""

    async def disconnected() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        task.cancel()

    return asyncio.create_task(disconnected(), name="rest-watch")


def stopped() -> MeshError:
    """What a caller hears when work was cancelled behind us, not by the caller."""
    return Unavailable("a service stopped while it worked on the request; try again")
