"""Between the contract's messages and the domain's records. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from ragmesh.common.v1 import answer_pb2, search_pb2
from ragmesh.gateway.v1 import ask_pb2, keys_pb2
from ragmesh.gateway.v1 import search_pb2 as public_search_pb2
from ragmesh.generator.v1 import generator_pb2
from ragmesh.retriever.v1 import retriever_pb2
from ragmesh_backends.model.key import KeyRecord
from ragmesh_gateway.domain.answer import (
    Answer,
    AnswerEvent,
    Citation,
    Degraded,
    Done,
    Found,
    Question,
    Source,
    SourcesFound,
    Token,
    Usage,
)
from ragmesh_gateway.domain.keys import NewKey
from ragmesh_servicekit.errors import InvalidArgument

Hit = search_pb2.Hit

DEFAULT_SOURCES = 8
"""How many passages an answer may use when the caller does not say."""


def question(request: ask_pb2.AskRequest | ask_pb2.AskStreamRequest) -> Question:
    return Question(
        collection_id=request.collection_id,
        text=request.question,
        top_k=request.top_k or DEFAULT_SOURCES,
        mode=request.mode,
        document_ids=tuple(request.filter.document_ids),
        max_tokens=request.max_tokens,
        strict=request.strict,
    )


def retriever_request(asked: Question) -> retriever_pb2.SearchRequest:
    return retriever_pb2.SearchRequest(
        collection_id=asked.collection_id,
        query=asked.text,
        top_k=asked.top_k,
        mode=search_pb2.SearchMode.ValueType(asked.mode),
        filter=search_pb2.SearchFilter(document_ids=asked.document_ids),
    )


def found(reply: retriever_pb2.SearchResponse) -> Found[Hit]:
    return Found(tuple(reply.hits), tuple(reply.degraded))


def inner_search(request: public_search_pb2.SearchRequest) -> retriever_pb2.SearchRequest:
    return retriever_pb2.SearchRequest(
        collection_id=request.collection_id,
        query=request.query,
        top_k=request.top_k,
        mode=request.mode,
        explain=request.explain,
        filter=request.filter,
        max_per_document=request.max_per_document,
    )


def public_search(reply: retriever_pb2.SearchResponse) -> public_search_pb2.SearchResponse:
    return public_search_pb2.SearchResponse(hits=reply.hits, degraded=reply.degraded, timings=reply.timings)


def generator_request(asked: Question, sources: tuple[Source[Hit], ...]) -> generator_pb2.GenerateRequest:
    return generator_pb2.GenerateRequest(
        question=asked.text,
        sources=[source_message(source) for source in sources],
        max_tokens=asked.max_tokens,
        strict=asked.strict,
    )


def source_message(source: Source[Hit]) -> answer_pb2.Source:
    return answer_pb2.Source(number=source.number, hit=source.hit)


def generated(reply: generator_pb2.GenerateResponse) -> AnswerEvent[Hit] | None:
    """The domain's event, or None for an event that this version does not know."""
    match reply.WhichOneof("event"):
        case "token":
            return Token(reply.token.text)
        case "citation":
            c = reply.citation
            return Citation(c.number, c.chunk_id, c.document_id, c.start, c.end)
        case "usage":
            u = reply.usage
            return Usage(u.model, u.prompt_tokens, u.completion_tokens, u.estimated)
        case "degraded":
            return Degraded(tuple(reply.degraded.parts))
        case "done":
            return Done(reply.done.finish_reason, reply.done.confidence, reply.done.cache)
    return None


def event_fields(event: AnswerEvent[Hit]) -> dict[str, Any]:
    """The one field of AskStreamResponse that the event is."""
    match event:
        case SourcesFound(sources):
            return {"sources": answer_pb2.Sources(sources=[source_message(s) for s in sources])}
        case Token(text):
            return {"token": answer_pb2.Token(text=text)}
        case Citation():
            return {"citation": citation_message(event)}
        case Usage():
            return {"usage": usage_message(event)}
        case Degraded(parts):
            return {"degraded": answer_pb2.Degraded(parts=_parts(parts))}
        case Done(finish_reason, confidence, cache):
            return {
                "done": answer_pb2.Done(
                    finish_reason=answer_pb2.FinishReason.ValueType(finish_reason),
                    confidence=confidence,
                    cache=answer_pb2.CacheKind.ValueType(cache),
                )
            }


def answer_message(answer: Answer[Hit]) -> ask_pb2.AskResponse:
    done = answer.done
    assert done is not None
    return ask_pb2.AskResponse(
        answer=answer.text,
        sources=[source_message(s) for s in answer.sources],
        citations=[citation_message(c) for c in answer.citations],
        usage=usage_message(answer.usage) if answer.usage else None,
        degraded=_parts(answer.degraded),
        finish_reason=answer_pb2.FinishReason.ValueType(done.finish_reason),
        confidence=done.confidence,
        cache=answer_pb2.CacheKind.ValueType(done.cache),
    )


def citation_message(c: Citation) -> answer_pb2.Citation:
    return answer_pb2.Citation(
        number=c.number, chunk_id=c.chunk_id, document_id=c.document_id, start=c.start, end=c.end
    )


def usage_message(u: Usage) -> answer_pb2.Usage:
    return answer_pb2.Usage(
        model=u.model, prompt_tokens=u.prompt_tokens, completion_tokens=u.completion_tokens, estimated=u.estimated
    )


def _parts(parts: tuple[int, ...]) -> list[search_pb2.Part.ValueType]:
    return [search_pb2.Part.ValueType(part) for part in parts]


def new_key(request: keys_pb2.CreateKeyRequest) -> NewKey:
    """Raises InvalidArgument for an expiry that is no time."""
    try:
        expires = request.expire_time.ToDatetime(tzinfo=UTC) if request.HasField("expire_time") else None
    except (ValueError, OverflowError) as error:
        raise InvalidArgument.field("expire_time", "must be a time of the years 1 to 9999") from error
    return NewKey(
        tenant=request.tenant_id,
        name=request.display_name,
        scopes=frozenset(request.scopes),
        groups=tuple(request.groups),
        expires_at=expires,
    )


def key_message(record: KeyRecord) -> keys_pb2.Key:
    return keys_pb2.Key(
        key_id=record.key_id,
        tenant_id=record.tenant,
        display_name=record.name,
        scopes=sorted(record.scopes),
        groups=record.groups,
        create_time=_time(record.created_at),
        expire_time=_time(record.expires_at),
        revoke_time=_time(record.revoked_at),
    )


def _time(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
