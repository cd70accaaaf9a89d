"""A server that refuses a call while requests are still coming. grpc.aio lets the request that could not be sent any
more hide the server's status (grpc #36066); the caller must get what the server said all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ragmesh_servicekit import identity
from ragmesh_servicekit.errors import FieldViolation, InvalidArgument, Reason
from ragmesh_servicekit.identity import Identity
from support.mesh_server import Handlers, Mesh, mesh_server

REFUSAL = "content: must have at most 10 MiB"
TURNS = 40  # it is a race that either side may win


async def refuse(requests: AsyncIterator[bytes]) -> None:
    for _ in range(3):
        await anext(requests)
    raise InvalidArgument.field("content", "must have at most 10 MiB", reason=Reason.CONTENT_TOO_LARGE)


async def upload(requests: AsyncIterator[bytes], context: Any) -> bytes:
    await refuse(requests)
    return b""


async def chat(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    await refuse(requests)
    yield b""


async def parts(size: int) -> AsyncIterator[bytes]:
    for _ in range(20):
        yield bytes(size)


async def send(mesh: Mesh, arity: str, size: int) -> None:
    if arity == "upload":
        await mesh.upload(parts(size))
    else:
        async for _ in mesh.chat(parts(size)):
            pass


@pytest.mark.parametrize("size", [10, 500_000])
@pytest.mark.parametrize("arity", ["upload", "chat"])
async def test_a_refusal_before_the_last_request_arrives_whole(arity: str, size: int) -> None:
    async with mesh_server(Handlers(upload=upload, chat=chat)) as mesh:
        for _ in range(TURNS):
            with identity.acting_as(Identity("acme", "anna")), pytest.raises(InvalidArgument) as caught:
                await send(mesh, arity, size)
            assert (caught.value.message, caught.value.reason) == (REFUSAL, Reason.CONTENT_TOO_LARGE)
            assert caught.value.violations == (FieldViolation("content", "must have at most 10 MiB"),)
