"""The use case: one question, the passages that answer it.

    collection -> [ hidden versions | embed -> dense | bm25 | what the question names ]   at once
               -> drop hidden -> fuse -> links of the best -> fetch what they point at -> select

A leg that fails is left out and declared; a search fails when no leg that it needs is left. The hidden versions are
not a leg: without them a reader could see half a document, so not knowing them is an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragmesh_backends.model.collection import Collection, IndexRef
from ragmesh_backends.model.document import Chunk, DocumentVersion, ScoredChunk
from ragmesh_backends.model.graph import Link
from ragmesh_retriever.domain import coverage, explain
from ragmesh_retriever.domain.candidates import Candidates
from ragmesh_retriever.domain.catalogue import Catalogue
from ragmesh_retriever.domain.legs import Legs, bounded, share_of_remaining
from ragmesh_retriever.domain.links import LinkMap, is_hidden, names_in
from ragmesh_retriever.domain.ports import Embedder, Graph, Meter, Records, Vectors, Visibility
from ragmesh_retriever.domain.results import Hit, Part, SearchMode, SearchRequest, SearchResult
from ragmesh_retriever.domain.selection import best_of, select
from ragmesh_servicekit.errors import DeadlineExceeded, FailedPrecondition, NotFound, Unavailable

Hidden = frozenset[DocumentVersion]
Fetch = Callable[[int], Coroutine[Any, Any, list[ScoredChunk]]]

LEG_LIMIT = 64
"""Hits of each leg that are fused. 50 to 100 measure within .6 points on MuSiQue and SciFact."""

MAX_LEG_LIMIT = 1024
"""Hits of one leg at most, when hidden versions or a document's quota took too many of them."""

FIRST_WAVE_SHARE = 0.6
"""Of the time left, for everything that starts at once; one hung leg leaves the rest for an answer without it."""

VISIBILITY_SHARE = 0.2
HIDDEN_RECORD_SHARE = 0.3
"""Of the time left, for the live set of hidden versions and, after it, for the record: together less than the first
wave, whose legs wait for the answer."""

GRAPH_SHARE = 0.5
"""Of the time left after the first wave, for following links."""

SEEDS = 20
"""The best fused passages whose links are asked for at once, before it is known which are chosen."""

MAX_NEIGHBOURS = 96
"""Linked passages that join the candidates in one round."""

LINKS_PER_CHUNK = 50
MAX_NAMED = 32


@dataclass(frozen=True, slots=True)
class _FirstWave:
    """None: the leg failed, or the mode has no use for it."""

    hidden: Hidden
    question: NDArray[np.float32] | None
    dense: list[ScoredChunk] | None
    bm25: list[ScoredChunk] | None
    named: list[Link] | None


class Search:
    """Answers searches; holds no state of its own but the catalogue."""

    def __init__(
        self,
        *,
        vectors: Vectors,
        graph: Graph,
        embedder: Embedder,
        records: Records,
        visibility: Visibility,
        catalogue: Catalogue | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._vectors = vectors
        self._graph = graph
        self._embedder = embedder
        self._records = records
        self._visibility = visibility
        self._catalogue = catalogue or Catalogue(records)
        self._meter = meter

    async def run(self, tenant: str, request: SearchRequest) -> SearchResult:
        """At most request.top_k hits, best first. NotFound: no such collection. Unavailable, DeadlineExceeded: no
        leg that the mode needs answered, or what must stay hidden is not known. FailedPrecondition: the collection
        was embedded by another model."""
        collection = await self._catalogue.get(tenant, request.collection_id)
        legs = Legs()
        try:
            result = await self._run(legs, collection, request)
        except NotFound:  # the index is not where the catalogue said
            self._catalogue.forget(tenant, request.collection_id)
            raise
        finally:
            if self._meter is not None:
                self._meter.searched(legs.timings, legs.degraded)
        if self._meter is not None:
            self._meter.found(request.mode, len(result.hits))
        return result

    async def _run(self, legs: Legs, collection: Collection, request: SearchRequest) -> SearchResult:
        wave = await self._first_wave(legs, collection, request)
        if wave.dense is None and wave.bm25 is None:
            raise next(legs.failures[part] for part in (Part.DENSE, Part.BM25) if part in legs.failures)
        if request.mode in {SearchMode.DENSE, SearchMode.BM25}:
            found = (wave.dense if request.mode is SearchMode.DENSE else wave.bm25) or []
            hits = explain.single(request.mode, found, _best([hit.chunk for hit in found], request), request.explain)
        else:
            candidates = Candidates(wave.dense, wave.bm25, wave.question)
            if request.mode is SearchMode.HYBRID:
                hits = explain.fused(candidates, _best(candidates.chunks, request), request.explain)
            else:
                hits = await self._joined(legs, collection.index, request, candidates, wave)
        return SearchResult(hits, legs.degraded, tuple(legs.timings))

    # -- the first wave -------------------------------------------------------------------------------------------

    async def _first_wave(self, legs: Legs, collection: Collection, request: SearchRequest) -> _FirstWave:
        seconds = share_of_remaining(FIRST_WAVE_SHARE)
        index, mode = collection.index, request.mode
        question: NDArray[np.float32] | None = None
        limit = max(LEG_LIMIT, request.top_k)

        async def dense() -> tuple[NDArray[np.float32], list[ScoredChunk]]:
            collection.require_model(self._embedder.model_id)
            vector = await legs.timed("embed", self._embedder.embed_query(request.query))
            if vector.shape != (collection.spec.dimension,):
                raise FailedPrecondition(
                    f"the collection holds vectors of {collection.spec.dimension} dimensions, the configured "
                    f"embedding model makes {vector.shape[-1]}; reindex it"
                )
            fetch = self._dense(index, vector, request)
            return vector, await legs.timed("dense", self._enough(fetch, limit, request, hidden_task))

        async def bm25() -> list[ScoredChunk]:
            fetch = self._bm25(index, request)
            return await legs.timed("bm25", self._enough(fetch, limit, request, hidden_task))

        async def named() -> list[Link]:
            return await legs.timed("named", self._graph.about(index, names_in(request.query), MAX_NAMED))

        try:
            async with asyncio.TaskGroup() as group:
                hidden_task = group.create_task(legs.timed("hidden", self._hidden(index)), name="hidden")
                dense_task = bm25_task = named_task = None
                if mode is not SearchMode.BM25:
                    dense_task = group.create_task(legs.attempt(Part.DENSE, seconds, dense()), name="dense")
                if mode is not SearchMode.DENSE:
                    bm25_task = group.create_task(legs.attempt(Part.BM25, seconds, bm25()), name="bm25")
                if mode is SearchMode.GRAPH:
                    named_task = group.create_task(legs.attempt(Part.GRAPH, seconds, named()), name="named")
        except ExceptionGroup as errors:
            raise _first(errors) from errors
        found = dense_task.result() if dense_task else None
        if found is not None:
            question = found[0]
        return _FirstWave(
            hidden_task.result(),
            question,
            found[1] if found is not None else None,
            bm25_task.result() if bm25_task else None,
            named_task.result() if named_task else None,
        )

    async def _hidden(self, index: IndexRef) -> Hidden:
        """What readers must not see, by the live set; by the record when the set was lost or does not answer."""
        try:
            hidden = await bounded("visibility", share_of_remaining(VISIBILITY_SHARE), self._visibility.hidden(index))
        except (Unavailable, DeadlineExceeded):
            hidden = None
        if hidden is not None:
            return hidden
        return await bounded("records", share_of_remaining(HIDDEN_RECORD_SHARE), self._records.hidden_versions(index))

    def _dense(self, index: IndexRef, vector: NDArray[np.float32], request: SearchRequest) -> Fetch:
        return lambda limit: self._vectors.dense(index, vector, limit, where=request.where)

    def _bm25(self, index: IndexRef, request: SearchRequest) -> Fetch:
        vectors = request.mode is not SearchMode.BM25  # for the cosines that the dense leg does not return
        return lambda limit: self._vectors.bm25(index, request.query, limit, where=request.where, with_vectors=vectors)

    async def _enough(
        self, fetch: Fetch, limit: int, request: SearchRequest, hidden: asyncio.Task[Hidden]
    ) -> list[ScoredChunk]:
        """The visible hits among the first `limit`; asked once more, wider, when hidden versions or the quota of a
        document left fewer than are wanted and the store has more."""
        hits = await fetch(limit)
        unseen = await asyncio.shield(hidden)  # the other leg waits for it as well
        visible = _visible(hits, unseen)
        quota = request.max_per_document
        usable = sum(1 for _ in best_of([hit.chunk for hit in visible], request.top_k, quota))
        if usable >= request.top_k or len(hits) < limit or limit >= MAX_LEG_LIMIT:
            return visible
        return _visible(await fetch(min(MAX_LEG_LIMIT, 4 * limit)), unseen)

    # -- links and selection --------------------------------------------------------------------------------------

    async def _joined(
        self, legs: Legs, index: IndexRef, request: SearchRequest, candidates: Candidates, wave: _FirstWave
    ) -> tuple[Hit, ...]:
        links = LinkMap(tuple(link for link in wave.named or () if not is_hidden(link, wave.hidden)))
        own = candidates.own
        if wave.named is not None:  # the graph answered
            seeds = candidates.chunks[: max(SEEDS, request.top_k)]
            seconds = share_of_remaining(GRAPH_SHARE)
            follow = self._follow(legs, index, request, candidates, links, wave.hidden, len(seeds))
            await legs.attempt(Part.GRAPH, seconds, follow)
        measured = coverage.measure(request.query, candidates.chunks, own)
        picks = select(candidates, measured, links, request.top_k, request.max_per_document)
        return explain.chosen(candidates, picks, request.explain)

    async def _follow(
        self,
        legs: Legs,
        index: IndexRef,
        request: SearchRequest,
        candidates: Candidates,
        links: LinkMap,
        hidden: Hidden,
        seeds: int,
    ) -> None:
        """One round: the links of the first `seeds` candidates, then what they and the question point at."""
        sources = candidates.chunks[:seeds]
        ids = [chunk.chunk_id for chunk in sources]
        found = await legs.timed("links", self._graph.links(index, ids, LINKS_PER_CHUNK))
        links.add(sources, found, hidden)
        strength = dict(zip(ids, candidates.fused.tolist(), strict=False))
        wanted = links.targets(strength, MAX_NEIGHBOURS, candidates.position().keys())
        if wanted:
            fetch = self._vectors.fetch(index, wanted, where=request.where, with_vectors=True)
            candidates.join(_visible(await legs.timed("fetch", fetch), hidden))


def _visible(hits: Sequence[ScoredChunk], hidden: Hidden) -> list[ScoredChunk]:
    if not hidden:
        return list(hits)
    return [hit for hit in hits if DocumentVersion(hit.chunk.document_id, hit.chunk.version) not in hidden]


def _best(chunks: Sequence[Chunk], request: SearchRequest) -> list[int]:
    return list(best_of(chunks, request.top_k, request.max_per_document))


def _first(errors: BaseExceptionGroup[Exception]) -> Exception:
    """One error of a group, for callers that know single errors: legs fail alone or for one reason."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
