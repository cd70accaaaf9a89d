"""Which calls the channel sends again, counted at the server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ragmesh.gateway.v1 import documents_pb2
from ragmesh.generator.v1 import generator_pb2
from ragmesh.ingestor.v1 import ingestor_pb2
from ragmesh.retriever.v1 import retriever_pb2
from ragmesh_servicekit import identity
from ragmesh_servicekit.channel import open_channel
from ragmesh_servicekit.channel_options import repeatable_methods
from ragmesh_servicekit.errors import MeshError, NotFound, Unavailable
from ragmesh_servicekit.identity import Identity
from ragmesh_servicekit.tokens import TokenMinter
from support.mesh_server import KEYS, SERVICE, Handlers, mesh_server


class Refusing:
    """A method that refuses its first calls and then works."""

    def __init__(self, refusals: int, error: MeshError) -> None:
        self.calls = 0
        self._refusals = refusals
        self._error = error

    async def __call__(self, request: bytes, context: Any) -> bytes:
        self.calls += 1
        if self.calls <= self._refusals:
            raise self._error
        return b"done"

    def handlers(self) -> Handlers:
        async def unary(request: bytes, context: Any) -> bytes:
            return await self(request, context)

        async def many(request: bytes, context: Any) -> AsyncIterator[bytes]:
            yield await self(request, context)

        return Handlers(unary=unary, many=many)


@pytest.fixture(autouse=True)
def anna() -> Any:
    with identity.acting_as(Identity("acme", "anna")):
        yield


async def test_a_repeatable_call_succeeds_on_the_third_attempt() -> None:
    work = Refusing(2, Unavailable("busy"))
    async with mesh_server(work.handlers(), repeatable=["Unary"]) as mesh:
        assert await mesh.unary(b"") == b"done"
    assert work.calls == 3


async def test_three_attempts_are_all_there_are() -> None:
    work = Refusing(10, Unavailable("busy"))
    async with mesh_server(work.handlers(), repeatable=["Unary"]) as mesh:
        with pytest.raises(Unavailable, match="busy"):
            await mesh.unary(b"")
    assert work.calls == 3


async def test_a_call_that_may_not_be_repeated_is_made_once() -> None:
    work = Refusing(2, Unavailable("busy"))
    async with mesh_server(work.handlers()) as mesh:
        with pytest.raises(Unavailable, match="busy"):
            await mesh.unary(b"")
    assert work.calls == 1


async def test_a_server_that_asks_for_no_retry_gets_none_and_the_caller_knows() -> None:
    work = Refusing(2, Unavailable("overloaded", retry_after_seconds=-1))
    async with mesh_server(work.handlers(), repeatable=["Unary"]) as mesh:
        with pytest.raises(Unavailable, match="overloaded") as caught:
            await mesh.unary(b"")
    assert work.calls == 1
    assert caught.value.retry_after_seconds == -1


async def test_other_errors_are_not_repeated() -> None:
    work = Refusing(2, NotFound("no such collection"))
    async with mesh_server(work.handlers(), repeatable=["Unary"]) as mesh:
        with pytest.raises(NotFound):
            await mesh.unary(b"")
    assert work.calls == 1


async def test_a_server_that_is_gone_is_unavailable_by_name() -> None:
    async with mesh_server(Handlers(), repeatable=["Unary"]) as mesh:
        await mesh.server.stop(0)
        with pytest.raises(Unavailable, match="the test does not answer") as caught:
            await mesh.unary(b"")
    assert caught.value.metadata == {"dependency": "test"}


async def test_a_channel_as_services_open_it_reaches_its_peer() -> None:
    work = Refusing(0, Unavailable("busy"))
    async with mesh_server(work.handlers()) as mesh:
        channel = open_channel(f"dns:///127.0.0.1:{mesh.port}", "test", TokenMinter(KEYS))
        try:
            assert await channel.unary_unary(f"/{SERVICE}/Unary")(b"") == b"done"
        finally:
            await channel.close()


def test_the_contract_says_which_methods_are_repeatable() -> None:
    def names(service: Any) -> set[str]:
        return {each["method"] for each in repeatable_methods(service)}

    assert "Search" in names(retriever_pb2.DESCRIPTOR.services_by_name["RetrieverService"])
    assert names(generator_pb2.DESCRIPTOR.services_by_name["GeneratorService"]) == set()
    ingestor = names(ingestor_pb2.DESCRIPTOR.services_by_name["IngestorService"])
    assert "DeleteDocument" in ingestor
    assert "SubmitDocument" not in ingestor
    assert "UploadDocument" not in names(documents_pb2.DESCRIPTOR.services_by_name["DocumentService"])
