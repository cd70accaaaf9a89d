"""The generator over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, cast

from ragmesh.common.v1 import search_pb2
from ragmesh.generator.v1 import generator_pb2_grpc
from ragmesh_gateway.domain.answer import AnswerEvent, Question, Source
from ragmesh_gateway.server import convert
from ragmesh_servicekit.channel import MeshChannel


class GeneratorClient:
    """Satisfies domain.ports.Generator. Leaving the iterator cancels the call, and with it the model's."""

    def __init__(self, channel: MeshChannel) -> None:
        self._generate: Any = generator_pb2_grpc.GeneratorServiceStub(cast(Any, channel)).Generate

    async def generate(
        self, question: Question, sources: Sequence[Source[search_pb2.Hit]]
    ) -> AsyncIterator[AnswerEvent[search_pb2.Hit]]:
        async with aclosing(self._generate(convert.generator_request(question, tuple(sources)))) as replies:
            async for reply in replies:
                event = convert.generated(reply)
                if event is not None:
                    yield event
