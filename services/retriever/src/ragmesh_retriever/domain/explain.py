"""From choices to hits: every leg's score, a score that falls with the rank, and, when asked, the reasons."""

from __future__ import annotations

from collections.abc import Sequence

from ragmesh_backends.model.document import ScoredChunk
from ragmesh_retriever.domain.candidates import Candidates
from ragmesh_retriever.domain.results import Factor, Hit, Reason, Scores, SearchMode
from ragmesh_retriever.domain.selection import Pick

_STEP = 1.0 - 1e-6


def single(mode: SearchMode, found: Sequence[ScoredChunk], places: Sequence[int], explain: bool) -> tuple[Hit, ...]:
    """Hits of one leg alone; the score is the leg's own."""
    dense = mode is SearchMode.DENSE
    factor = Factor.DENSE_RANK if dense else Factor.BM25_RANK
    return tuple(
        Hit(
            found[at].chunk,
            found[at].score,
            Scores(dense=found[at].score) if dense else Scores(bm25=found[at].score),
            (Reason(factor, float(at + 1)),) if explain else (),
        )
        for at in places
    )


def fused(candidates: Candidates, places: Sequence[int], explain: bool) -> tuple[Hit, ...]:
    """Hits by their fused score."""
    return tuple(
        Hit(
            candidates.chunks[at],
            float(candidates.fused[at]),
            candidates.scores(at),
            _legs(candidates, at) if explain else (),
        )
        for at in places
    )


def chosen(candidates: Candidates, picks: Sequence[Pick], explain: bool) -> tuple[Hit, ...]:
    """Hits in the order in which they were chosen. A passage may gain by those before it (a link) or lose (its words
    are covered), so its score when chosen is held below that of the one before: the order is the verdict."""
    hits: list[Hit] = []
    ceiling = float("inf")
    for pick in picks:
        score = min(pick.score, ceiling)
        ceiling = score * _STEP
        hits.append(
            Hit(
                candidates.chunks[pick.at],
                score,
                candidates.scores(pick.at, graph=pick.link),
                (*_legs(candidates, pick.at), *_choice(pick)) if explain else (),
            )
        )
    return tuple(hits)


def _legs(candidates: Candidates, at: int) -> tuple[Reason, ...]:
    chunk_id = candidates.chunks[at].chunk_id
    reasons = []
    if rank := candidates.dense_rank.get(chunk_id):
        reasons.append(Reason(Factor.DENSE_RANK, float(rank)))
    if rank := candidates.bm25_rank.get(chunk_id):
        reasons.append(Reason(Factor.BM25_RANK, float(rank)))
    reasons.append(Reason(Factor.DENSE_NORMALISED, float(candidates.dense_share[at])))
    reasons.append(Reason(Factor.BM25_NORMALISED, float(candidates.bm25_share[at])))
    return tuple(reasons)


def _choice(pick: Pick) -> tuple[Reason, ...]:
    reasons = []
    if pick.via is not None and pick.via.source_chunk_id:
        reasons.append(Reason(Factor.LINKED_FROM, pick.link, pick.via.source_chunk_id))
    elif pick.via is not None:
        reasons.append(Reason(Factor.NAMED_BY_QUESTION, pick.link, pick.via.entity))
    if pick.coverage > 0.0:
        reasons.append(Reason(Factor.COVERAGE, pick.coverage))
    if pick.title > 0.0:
        reasons.append(Reason(Factor.TITLE, pick.title))
    return tuple(reasons)
