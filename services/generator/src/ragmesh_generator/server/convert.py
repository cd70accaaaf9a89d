"""Between the contract's messages and the domain's records. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ragmesh.common.v1 import answer_pb2, search_pb2
from ragmesh.generator.v1 import generator_pb2
from ragmesh_backends.model.generation import Passage
from ragmesh_generator.domain.events import AnswerEvent, AnswerRequest, Citation, Degraded, Done, Token, Usage


def answer_request(message: generator_pb2.GenerateRequest) -> AnswerRequest:
    return AnswerRequest(
        question=message.question,
        passages=tuple(_passage(source) for source in message.sources),
        max_tokens=message.max_tokens,
        strict=message.strict,
    )


def _passage(source: answer_pb2.Source) -> Passage:
    hit = source.hit
    title = " > ".join(dict.fromkeys(part for part in (hit.title, *hit.heading_path) if part))
    return Passage(number=source.number, chunk_id=hit.chunk_id, title=title, text=hit.text)


def documents_of(message: generator_pb2.GenerateRequest) -> dict[str, str]:
    """chunk id -> document id of the sources."""
    return {source.hit.chunk_id: source.hit.document_id for source in message.sources}


def response(event: AnswerEvent, documents: Mapping[str, str]) -> generator_pb2.GenerateResponse:
    match event:
        case Token(text):
            return generator_pb2.GenerateResponse(token=answer_pb2.Token(text=text))
        case Citation(number, chunk_id, start, end):
            citation = answer_pb2.Citation(
                number=number, chunk_id=chunk_id, document_id=documents[chunk_id], start=start, end=end
            )
            return generator_pb2.GenerateResponse(citation=citation)
        case Degraded():
            return generator_pb2.GenerateResponse(degraded=answer_pb2.Degraded(parts=[search_pb2.PART_MODEL]))
        case Usage(usage):
            spent = answer_pb2.Usage(
                model=usage.model,
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
                estimated=usage.estimated,
            )
            return generator_pb2.GenerateResponse(usage=spent)
        case Done(finish_reason, confidence):
            done = answer_pb2.Done(
                finish_reason=answer_pb2.FinishReason.Value(f"FINISH_REASON_{finish_reason}"),
                confidence=confidence,
                cache=answer_pb2.CACHE_KIND_NONE,
            )
            return generator_pb2.GenerateResponse(done=done)
