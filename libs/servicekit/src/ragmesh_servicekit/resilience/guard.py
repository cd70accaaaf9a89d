"""The guard of one dependency: every call to it goes through here, and nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ragmesh_servicekit import deadline


class Guard:
    """One dependency at one endpoint. `name` is its role (`vectors`, `records`, `state`, `cache`, `blobs`,
    `embeddings`, `model`) and a label of its metrics; `endpoint` tells two of one role apart."""

    def __init__(self, name: str, endpoint: str = "") -> None:
        self.name = name
        self.endpoint = endpoint

    @asynccontextmanager
    async def call(self, cap_seconds: float) -> AsyncIterator[None]:
        """Around one call. The driver's errors are turned into MeshErrors inside.

        Raises Unavailable naming the dependency when it did not answer within cap_seconds; DeadlineExceeded when the
        request in hand ran out of time before that.
        """
        async with deadline.dependency(self.name, cap_seconds):
            yield
