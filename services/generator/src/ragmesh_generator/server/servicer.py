"""GeneratorService: convert in, one use case, convert out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc.aio
import structlog

from ragmesh.generator.v1 import generator_pb2, generator_pb2_grpc
from ragmesh_generator.domain.events import Degraded
from ragmesh_generator.domain.generate import Generate
from ragmesh_generator.server import convert
from ragmesh_generator.server.counted import count

log = structlog.get_logger()


class GeneratorServicer(generator_pb2_grpc.GeneratorServiceServicer):
    """generator.v1.GeneratorService."""

    def __init__(self, generate: Generate) -> None:
        self._generate = generate

    async def Generate(
        self, request: generator_pb2.GenerateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[generator_pb2.GenerateResponse]:
        documents = convert.documents_of(request)
        async with aclosing(self._generate.run(convert.answer_request(request))) as events:
            async for event in events:
                if isinstance(event, Degraded):
                    log.warning("model.stood_in_for", model=event.model, cause=event.cause)
                count(event)
                yield convert.response(event, documents)
