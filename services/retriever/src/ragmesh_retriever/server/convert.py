"""Between the contract's messages and the domain's records. Pure."""

from __future__ import annotations

from ragmesh.common.v1 import search_pb2
from ragmesh.retriever.v1 import retriever_pb2
from ragmesh_backends.model.search import SearchFilter
from ragmesh_retriever.domain.results import Hit, Reason, SearchMode, SearchRequest, SearchResult, Timing

DEFAULT_TOP_K = 10

_MODES = {
    search_pb2.SEARCH_MODE_UNSPECIFIED: SearchMode.GRAPH,
    search_pb2.SEARCH_MODE_DENSE: SearchMode.DENSE,
    search_pb2.SEARCH_MODE_BM25: SearchMode.BM25,
    search_pb2.SEARCH_MODE_HYBRID: SearchMode.HYBRID,
    search_pb2.SEARCH_MODE_GRAPH: SearchMode.GRAPH,
}


def search_request(message: retriever_pb2.SearchRequest, groups: tuple[str, ...]) -> SearchRequest:
    """The domain's request; `groups` are those of the verified identity, never of the message."""
    return SearchRequest(
        collection_id=message.collection_id,
        query=message.query,
        top_k=message.top_k or DEFAULT_TOP_K,
        mode=_MODES.get(message.mode, SearchMode.GRAPH),
        explain=message.explain,
        where=SearchFilter(groups=groups, document_ids=tuple(message.filter.document_ids)),
        max_per_document=message.max_per_document,
    )


def search_response(result: SearchResult, *, with_timings: bool) -> retriever_pb2.SearchResponse:
    return retriever_pb2.SearchResponse(
        hits=[_hit(hit) for hit in result.hits],
        degraded=[search_pb2.Part.Value(f"PART_{part}") for part in result.degraded],
        timings=[_timing(timing) for timing in result.timings] if with_timings else [],
    )


def _hit(hit: Hit) -> search_pb2.Hit:
    chunk = hit.chunk
    return search_pb2.Hit(
        chunk_id=chunk.chunk_id,
        document_id=chunk.document_id,
        version=chunk.version,
        text=chunk.text,
        title=chunk.title,
        heading_path=chunk.heading_path,
        start=chunk.start,
        end=chunk.end,
        page=chunk.page or 0,
        score=hit.score,
        scores=search_pb2.Scores(
            dense=hit.scores.dense, bm25=hit.scores.bm25, graph=hit.scores.graph, fused=hit.scores.fused
        ),
        explanations=[_explanation(reason) for reason in hit.reasons],
    )


def _explanation(reason: Reason) -> search_pb2.Explanation:
    return search_pb2.Explanation(factor=reason.factor, value=reason.value, detail=reason.detail)


def _timing(timing: Timing) -> search_pb2.Timing:
    return search_pb2.Timing(step=timing.name, milliseconds=timing.seconds * 1000)
