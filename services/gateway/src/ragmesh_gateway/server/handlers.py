"""The handlers of the methods that the gateway answers itself: convert in, one use case, convert out."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Protocol

from ragmesh.common.v1 import answer_pb2, errors_pb2, search_pb2
from ragmesh.gateway.v1 import ask_pb2, keys_pb2
from ragmesh.gateway.v1 import search_pb2 as public_search_pb2
from ragmesh.retriever.v1 import retriever_pb2
from ragmesh_gateway.domain.ask import Ask
from ragmesh_gateway.domain.keys import Keys
from ragmesh_gateway.server import convert
from ragmesh_gateway.server.answered import ASK, ASK_STREAM, SEARCH, StreamedAnswer, answered
from ragmesh_gateway.server.endpoints import Handler
from ragmesh_servicekit import identity
from ragmesh_servicekit.errors import MeshError, Unavailable
from ragmesh_servicekit.paging import PageTokens
from ragmesh_servicekit.status import grpc_code, to_mesh_error

PAGE_SIZE = 50


class Searcher(Protocol):
    """A search passed on as it is, with its explanations and timings."""

    async def call(self, request: retriever_pb2.SearchRequest) -> retriever_pb2.SearchResponse:
        """Raises MeshError."""
        ...


class AskHandlers:
    """gateway.v1.AskService and SearchService."""

    def __init__(self, ask: Ask[search_pb2.Hit], retriever: Searcher) -> None:
        self._ask = ask
        self._retriever = retriever

    def handlers(self) -> Mapping[str, Handler]:
        return {
            SEARCH: self.search,
            ASK: self.ask,
            ASK_STREAM: self.ask_stream,
        }

    async def search(self, request: public_search_pb2.SearchRequest) -> public_search_pb2.SearchResponse:
        reply = await self._retriever.call(convert.inner_search(request))
        if request.strict and reply.degraded:
            raise Unavailable("a part of the search is down and the request is strict; try again")
        answered(SEARCH, reply.degraded)
        return convert.public_search(reply)

    async def ask(self, request: ask_pb2.AskRequest) -> ask_pb2.AskResponse:
        answer = await self._ask.answer(convert.question(request))
        answered(ASK, answer.degraded, answer.usage.completion_tokens if answer.usage else 0)
        return convert.answer_message(answer)

    async def ask_stream(self, request: ask_pb2.AskStreamRequest) -> AsyncGenerator[ask_pb2.AskStreamResponse, None]:
        stream_id, sequence, seen = secrets.token_hex(8), 0, StreamedAnswer()

        def message(fields: Mapping[str, Any]) -> ask_pb2.AskStreamResponse:
            nonlocal sequence
            sequence += 1
            return ask_pb2.AskStreamResponse(stream_id=stream_id, sequence=sequence, **fields)

        async with aclosing(self._ask.stream(convert.question(request))) as events:
            try:
                async for event in events:
                    seen.saw(event)
                    yield message(convert.event_fields(event))
            except Exception as error:
                failure = to_mesh_error(error)
                if sequence:  # an answer was begun: its stream says itself how it ended
                    yield message({"error": _stream_error(failure)})
                if failure is error:
                    raise
                raise failure from error


def _stream_error(error: MeshError) -> answer_pb2.StreamError:
    return answer_pb2.StreamError(
        code=grpc_code(error.code).value[0],
        reason=errors_pb2.ErrorReason.Value(f"ERROR_REASON_{error.reason}"),
        message=error.message,
    )


class KeyHandlers:
    """gateway.v1.KeyService."""

    def __init__(self, keys: Keys, pages: PageTokens) -> None:
        self._keys = keys
        self._pages = pages

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "/ragmesh.gateway.v1.KeyService/CreateKey": self.create,
            "/ragmesh.gateway.v1.KeyService/ListKeys": self.list,
            "/ragmesh.gateway.v1.KeyService/RevokeKey": self.revoke,
        }

    async def create(self, request: keys_pb2.CreateKeyRequest) -> keys_pb2.CreateKeyResponse:
        record, secret = await self._keys.create(identity.require(), convert.new_key(request))
        return keys_pb2.CreateKeyResponse(key=convert.key_message(record), secret=secret)

    async def list(self, request: keys_pb2.ListKeysRequest) -> keys_pb2.ListKeysResponse:
        caller = identity.require()
        after = self._pages.read(request.page_token, caller.tenant, "ListKeys")
        size = request.page_size or PAGE_SIZE
        records = await self._keys.list(caller, after, size + 1)
        page = records[:size]
        more = self._pages.issue(page[-1].key_id, caller.tenant, "ListKeys") if len(records) > size else ""
        return keys_pb2.ListKeysResponse(keys=[convert.key_message(r) for r in page], next_page_token=more)

    async def revoke(self, request: keys_pb2.RevokeKeyRequest) -> keys_pb2.RevokeKeyResponse:
        record = await self._keys.revoke(identity.require(), request.key_id)
        return keys_pb2.RevokeKeyResponse(key=convert.key_message(record))
