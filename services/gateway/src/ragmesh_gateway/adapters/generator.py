"""The generator over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import grpc.aio

from ragmesh.common.v1 import search_pb2
from ragmesh.generator.v1 import generator_pb2_grpc
from ragmesh_gateway.domain.answer import AnswerEvent, Question, Source
from ragmesh_gateway.server import convert


class GeneratorClient:
    """Satisfies domain.ports.Generator. Leaving the iterator cancels the call, and with it the model's."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: generator_pb2_grpc.GeneratorServiceAsyncStub = generator_pb2_grpc.GeneratorServiceStub(channel)

    async def generate(
        self, question: Question, sources: Sequence[Source[search_pb2.Hit]]
    ) -> AsyncIterator[AnswerEvent[search_pb2.Hit]]:
        call = self._stub.Generate(convert.generator_request(question, tuple(sources)))
        try:
            async for reply in call:
                event = convert.generated(reply)
                if event is not None:
                    yield event
        finally:
            call.cancel()
