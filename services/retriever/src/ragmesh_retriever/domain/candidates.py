"""The passages that one search chooses from, with what each leg says of them, as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ragmesh_backends.model.document import Chunk, ScoredChunk
from ragmesh_retriever.domain.fusion import FloatArray, fuse, normalise_bm25, normalise_dense
from ragmesh_retriever.domain.results import Scores


class Candidates:
    """The union of the legs' hits, best fused score first (ties by chunk id), then neighbours that joined.

    cosine, bm25: raw (n,), NaN where unknown; dense_share, bm25_share: normalised (n,); fused: (n,). A leg that
    failed is given as None; a cosine that the dense leg did not return is computed from the chunk's vector. The
    highest score of each leg is fixed by the hits, so that a neighbour changes no one's score.
    """

    def __init__(
        self,
        dense: Sequence[ScoredChunk] | None,
        bm25: Sequence[ScoredChunk] | None,
        question: NDArray[np.float32] | None,
    ) -> None:
        self._question = question if dense is not None else None
        self._dense_ran = dense is not None
        self._bm25_ran = bm25 is not None
        found = {hit.chunk.chunk_id: hit for hit in (*(bm25 or ()), *(dense or ()))}
        cosines = {hit.chunk.chunk_id: hit.score for hit in dense or ()}
        words = {hit.chunk.chunk_id: hit.score for hit in bm25 or ()}
        self._dense_top = max(cosines.values(), default=0.0)
        self._bm25_top = max(words.values(), default=0.0)
        self.dense_rank = {chunk_id: rank for rank, chunk_id in enumerate(cosines, 1)}
        self.bm25_rank = {chunk_id: rank for rank, chunk_id in enumerate(words, 1)}
        for hit in bm25 or ():
            if hit.chunk.chunk_id not in cosines and (cosine := self._cosine(hit)) is not None:
                cosines[hit.chunk.chunk_id] = cosine
        ids = list(found)
        self.chunks: list[Chunk] = [found[i].chunk for i in ids]
        self.cosine = _column(ids, cosines)
        self.bm25 = _column(ids, words)
        self._score()
        order = sorted(range(len(ids)), key=lambda at: (-self.fused[at], ids[at]))
        self.chunks = [self.chunks[at] for at in order]
        self.cosine, self.bm25 = self.cosine[order], self.bm25[order]
        self._score()
        self.own = len(ids)

    def _cosine(self, hit: ScoredChunk) -> float | None:
        if self._question is None or hit.vector is None:
            return None
        return float(hit.vector @ self._question)

    def _score(self) -> None:
        self.dense_share = normalise_dense(np.nan_to_num(self.cosine, nan=-1.0), self._dense_top)
        self.bm25_share = normalise_bm25(np.nan_to_num(self.bm25, nan=0.0), self._bm25_top)
        self.fused: FloatArray = fuse(
            self.dense_share if self._dense_ran else None, self.bm25_share if self._bm25_ran else None
        )

    def join(self, neighbours: Sequence[ScoredChunk]) -> None:
        """Add chunks that links brought, by chunk id; those that are here already are passed over. The `own` first
        candidates stay in place."""
        known = self.position()
        new = sorted((n for n in neighbours if n.chunk.chunk_id not in known), key=lambda n: n.chunk.chunk_id)
        if not new:
            return
        cosines = [self._cosine(n) for n in new]
        self.chunks.extend(n.chunk for n in new)
        self.cosine = np.append(self.cosine, [np.nan if c is None else c for c in cosines])
        self.bm25 = np.append(self.bm25, np.full(len(new), np.nan))
        self._score()

    def position(self) -> dict[str, int]:
        return {chunk.chunk_id: at for at, chunk in enumerate(self.chunks)}

    def scores(self, at: int, graph: float | None = None) -> Scores:
        return Scores(_known(self.cosine[at]), _known(self.bm25[at]), graph, float(self.fused[at]))


def _column(ids: Sequence[str], values: Mapping[str, float]) -> FloatArray:
    return np.array([values.get(i, np.nan) for i in ids], dtype=np.float64)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
