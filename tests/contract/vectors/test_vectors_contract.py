"""What every vector store promises: the port of the ingestor (writes, counts, deletes) and the retriever (reads)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ragmesh_backends.model.collection import IndexRef, IndexSpec, Language
from ragmesh_backends.model.document import ChunkRow, DocumentVersion, ScoredChunk
from ragmesh_backends.model.search import SearchFilter
from ragmesh_backends.vectors import MilvusVectors
from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import DeadlineExceeded, InvalidArgument, NotFound, Reason
from support.chunks import DIMENSION, row, unit

SPEC = IndexSpec("test", DIMENSION)
ALL = SearchFilter()


@pytest.fixture
async def index(vectors: MilvusVectors, new_ref: Callable[[], IndexRef]) -> IndexRef:
    ref = new_ref()
    await vectors.create_index(ref, SPEC)
    return ref


def documents(hits: list[ScoredChunk]) -> list[str]:
    return [hit.chunk.document_id for hit in hits]


async def test_a_store_that_is_up_answers_a_ping(vectors: MilvusVectors) -> None:
    await vectors.ping()


async def test_an_index_is_made_and_dropped_any_number_of_times(
    vectors: MilvusVectors, new_ref: Callable[[], IndexRef]
) -> None:
    ref = new_ref()
    assert not await vectors.has_index(ref)
    await vectors.create_index(ref, SPEC)
    await vectors.insert(ref, [row()])
    await vectors.create_index(ref, SPEC)
    assert await vectors.has_index(ref)
    assert await vectors.count_version(ref, DocumentVersion("doc", 1)) == 1
    await vectors.drop_index(ref)
    await vectors.drop_index(ref)
    assert not await vectors.has_index(ref)


async def test_an_index_that_is_not_there_is_not_found(vectors: MilvusVectors, new_ref: Callable[[], IndexRef]) -> None:
    ref = new_ref()
    calls = [
        vectors.dense(ref, unit(1), 5, where=ALL),
        vectors.bm25(ref, "words", 5, where=ALL),
        vectors.fetch(ref, ["a"], where=ALL),
        vectors.insert(ref, [row()]),
        vectors.count_version(ref, DocumentVersion("doc", 1)),
        vectors.delete_versions(ref, [DocumentVersion("doc", 1)]),
    ]
    for call in calls:
        with pytest.raises(NotFound) as caught:
            await call
        assert caught.value.reason is Reason.COLLECTION_NOT_FOUND


async def test_an_index_that_was_dropped_is_not_found(vectors: MilvusVectors, index: IndexRef) -> None:
    await vectors.insert(index, [row()])
    await vectors.drop_index(index)
    with pytest.raises(NotFound):
        await vectors.dense(index, unit(1), 5, where=ALL)


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "x' or 1 = 1 --", "ä", "a\n", "a" * 256])
async def test_a_name_that_is_no_identifier_is_refused(vectors: MilvusVectors, name: str) -> None:
    ref = IndexRef("acme", name)
    for call in (vectors.create_index(ref, SPEC), vectors.drop_index(ref), vectors.bm25(ref, "a", 1, where=ALL)):
        with pytest.raises(InvalidArgument):
            await call


async def test_an_empty_index_has_no_hits(vectors: MilvusVectors, index: IndexRef) -> None:
    assert await vectors.dense(index, unit(1), 5, where=ALL) == []
    assert await vectors.bm25(index, "words", 5, where=ALL) == []
    assert await vectors.fetch(index, ["absent"], where=ALL) == []
    await vectors.insert(index, [])
    await vectors.insert(index, [row()])
    await vectors.delete_versions(index, [DocumentVersion("doc", 1)])
    assert await vectors.dense(index, unit(1), 5, where=ALL) == []
    assert await vectors.bm25(index, "words", 5, where=ALL) == []


async def test_a_hit_holds_the_whole_chunk(vectors: MilvusVectors, index: IndexRef) -> None:
    told = row(
        "a/b.md", "the text\nof it", title="A title", heading_path=("Top", "Ünter"), page=3, version=7, ordinal=2
    )
    untold = row("z", "bare words", vector=unit(0, 1))
    await vectors.insert(index, [told, untold])
    [dense] = await vectors.dense(index, unit(1), 1, where=ALL)
    assert dense.chunk == told.chunk
    assert dense.score == pytest.approx(1.0, abs=1e-5)
    assert dense.vector is None
    [bm25] = await vectors.bm25(index, "bare", 5, where=ALL, with_vectors=True)
    assert bm25.chunk == untold.chunk
    assert bm25.vector is not None
    np.testing.assert_allclose(bm25.vector, untold.vector, atol=1e-6)


async def test_dense_hits_come_best_first_with_their_cosine(vectors: MilvusVectors, index: IndexRef) -> None:
    await vectors.insert(
        index,
        [row("far", vector=unit(0, 1)), row("opposite", vector=unit(-1)), row("near", vector=unit(1, 0.1))],
    )
    hits = await vectors.dense(index, unit(1), 3, where=ALL, with_vectors=True)
    assert documents(hits) == ["near", "far", "opposite"]
    for hit in hits:
        assert hit.vector is not None
        assert hit.score == pytest.approx(float(hit.vector @ unit(1)), abs=1e-5)
    assert documents(await vectors.dense(index, unit(1), 1, where=ALL)) == ["near"]
    assert await vectors.dense(index, unit(1), 0, where=ALL) == []


async def test_bm25_hits_come_best_first_and_words_are_stemmed(vectors: MilvusVectors, index: IndexRef) -> None:
    await vectors.insert(
        index,
        [
            row("twice", "the horses and the horse"),
            row("once", "one horse in a stable with many other animals"),
            row("never", "cats sleep"),
        ],
    )
    hits = await vectors.bm25(index, "HORSES", 5, where=ALL)
    assert documents(hits) == ["twice", "once"]
    assert hits[0].score > hits[1].score > 0


async def test_bm25_finds_words_of_title_and_headings_and_returns_the_text_alone(
    vectors: MilvusVectors, index: IndexRef
) -> None:
    wanted = row("a", "It was built in 1889.", title="Eiffel Tower", heading_path=("Eiffel Tower", "History"))
    await vectors.insert(index, [wanted, row("b", "Something else.")])
    for question in ("eiffel", "history", "built"):
        [hit] = await vectors.bm25(index, question, 5, where=ALL)
        assert hit.chunk == wanted.chunk


async def test_equal_scores_are_ordered_by_chunk_id(vectors: MilvusVectors, index: IndexRef) -> None:
    rows = [row(f"d{i}", "same words") for i in range(20)]
    await vectors.insert(index, rows)
    wanted = sorted(r.chunk.chunk_id for r in rows)
    assert [h.chunk.chunk_id for h in await vectors.dense(index, unit(1), 20, where=ALL)] == wanted
    assert [h.chunk.chunk_id for h in await vectors.bm25(index, "same", 20, where=ALL)] == wanted


@pytest.mark.parametrize(
    "text",
    ["", "   ", "\n\t", "the of and", "\x00\u200b\ufeff", "\udc80", "''", '"', "\\", "%", "🦄🦄", "absent"],
)
async def test_a_question_without_known_words_has_no_hits(vectors: MilvusVectors, index: IndexRef, text: str) -> None:
    await vectors.insert(index, [row()])
    assert await vectors.bm25(index, text, 5, where=ALL) == []


@pytest.mark.parametrize(
    "text",
    ["\"words\" 'x' (and or) not in [1] == \\ {", "words\nor\r\nlines\t", "\u200bwords", "words " * 400, "a\x00 words"],
)
async def test_a_question_may_hold_anything(vectors: MilvusVectors, index: IndexRef, text: str) -> None:
    await vectors.insert(index, [row()])
    assert documents(await vectors.bm25(index, text, 5, where=ALL)) == ["doc"]


HIDDEN = ["a'b", 'a"b', "a\\", "a\nb", "a\r\tb", "a\u200b", "a\x00b", "ä漢🦄", "%", "a' or '1'='1", "x" * 3000, "{a}"]


async def test_ids_groups_and_texts_may_hold_any_character(vectors: MilvusVectors, index: IndexRef) -> None:
    rows = [
        row(text, f"words {text} end", title=text, heading_path=(text, f"{text}2"), access=(text,), ordinal=i)
        for i, text in enumerate(HIDDEN)
    ]
    await vectors.insert(index, rows)
    for wanted, text in zip(rows, HIDDEN, strict=True):
        where = SearchFilter(groups=(text,), document_ids=(text,))
        chunk = replace(wanted.chunk, text=wanted.chunk.text.replace("\x00", " "))  # the one change that is allowed
        assert [h.chunk for h in await vectors.dense(index, unit(1), 50, where=where)] == [chunk]
        assert [h.chunk for h in await vectors.bm25(index, "end", 50, where=where)] == [chunk]
        version = DocumentVersion(text, 1)
        assert await vectors.count_version(index, version) == 1
        await vectors.delete_versions(index, [version])
        assert await vectors.count_version(index, version) == 0


async def test_rows_are_visible_as_soon_as_insert_returns(vectors: MilvusVectors, index: IndexRef) -> None:
    for i in range(10):
        new = row(f"d{i}", f"word{i}", vector=unit(1, i))
        await vectors.insert(index, [new])
        assert documents(await vectors.bm25(index, f"word{i}", 5, where=ALL)) == [f"d{i}"]
        assert documents(await vectors.dense(index, unit(1, i), 1, where=ALL)) == [f"d{i}"]


async def test_inserting_a_row_again_replaces_it(vectors: MilvusVectors, index: IndexRef) -> None:
    await vectors.insert(index, [row(text="old words")])
    await vectors.insert(index, [row(text="dropped"), row(text="new words")])
    assert await vectors.count_version(index, DocumentVersion("doc", 1)) == 1
    assert await vectors.bm25(index, "old dropped", 5, where=ALL) == []
    [hit] = await vectors.bm25(index, "new", 5, where=ALL)
    assert hit.chunk.text == "new words"


async def test_large_inserts_are_cut_into_messages(vectors: MilvusVectors, index: IndexRef) -> None:
    await vectors.insert(index, [row("big", "x " * 30_000, ordinal=i) for i in range(100)])
    await vectors.insert(index, [row("many", f"w{i}", ordinal=i) for i in range(1100)])
    counts = await vectors.count_versions(
        index, [DocumentVersion("big", 1), DocumentVersion("many", 1), DocumentVersion("none", 1)]
    )
    assert list(counts.values()) == [100, 1100, 0]


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (row(text="x" * 65_536), "text"),
        (row(text="漢" * 30_000), "text"),
        (row(title="x" * 70_000), "title"),
        (row("x" * 70_000), "document_id"),
        (row(text="\ud800"), "text"),
        (row(access=tuple(map(str, range(300)))), "access"),
        (ChunkRow(row().chunk, np.ones((2, 4), dtype=np.float32)), "vector"),
    ],
)
async def test_what_the_store_cannot_hold_is_refused_by_field(
    vectors: MilvusVectors, index: IndexRef, bad: ChunkRow, field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await vectors.insert(index, [bad])
    assert field in caught.value.message


async def test_deleted_versions_are_never_found_and_others_stay(vectors: MilvusVectors, index: IndexRef) -> None:
    rows = [row(d, f"words {d}", version=v, ordinal=o) for d in ("a", "b", "c") for v in (1, 2, 11) for o in range(3)]
    await vectors.insert(index, rows)
    gone = [DocumentVersion("a", 1), DocumentVersion("b", 2), DocumentVersion("absent", 1)]
    for _ in range(2):
        await vectors.delete_versions(index, gone)
    left = {(d, v) for d in "abc" for v in (1, 2, 11)} - {("a", 1), ("b", 2)}
    for hits in (
        await vectors.bm25(index, "words", 50, where=ALL),
        await vectors.dense(index, unit(1), 50, where=ALL),
        await vectors.fetch(index, [r.chunk.chunk_id for r in rows], where=ALL),
    ):
        assert len(hits) == 21
        assert {(h.chunk.document_id, h.chunk.version) for h in hits} == left
    assert list((await vectors.count_versions(index, [*gone, DocumentVersion("a", 11)])).values()) == [0, 0, 0, 3]
    await vectors.delete_versions(index, [])


async def test_a_chunk_with_an_access_list_is_seen_by_its_groups_only(vectors: MilvusVectors, index: IndexRef) -> None:
    rows = [row("open"), row("hr", access=("hr",)), row("both", access=("hr", "it")), row("odd", access=("everyone",))]
    await vectors.insert(index, rows)
    ids = [r.chunk.chunk_id for r in rows]
    for groups, seen in {
        (): {"open"},
        ("hr",): {"open", "hr", "both"},
        ("it", "x"): {"open", "both"},
        ("everyone",): {"open", "odd"},
        ("HR",): {"open"},
    }.items():
        where = SearchFilter(groups=groups)
        assert set(documents(await vectors.dense(index, unit(1), 9, where=where))) == seen
        assert set(documents(await vectors.bm25(index, "words", 9, where=where))) == seen
        assert set(documents(await vectors.fetch(index, ids, where=where))) == seen


async def test_a_search_can_be_narrowed_to_documents(vectors: MilvusVectors, index: IndexRef) -> None:
    await vectors.insert(index, [row(d) for d in "abc"])
    where = SearchFilter(document_ids=("a", "c", "absent"))
    assert set(documents(await vectors.dense(index, unit(1), 9, where=where))) == {"a", "c"}
    assert set(documents(await vectors.bm25(index, "words", 9, where=where))) == {"a", "c"}
    assert await vectors.bm25(index, "words", 9, where=SearchFilter(document_ids=("absent",))) == []


async def test_fetch_returns_what_is_there_in_the_order_asked(vectors: MilvusVectors, index: IndexRef) -> None:
    a, b = row("a"), row("b", vector=unit(0, 1))
    await vectors.insert(index, [a, b])
    ids = [b.chunk.chunk_id, "absent", "' or 1", a.chunk.chunk_id, b.chunk.chunk_id]
    hits = await vectors.fetch(index, ids, where=ALL)
    assert [h.chunk for h in hits] == [b.chunk, a.chunk]
    assert [h.score for h in hits] == [0.0, 0.0]
    assert hits[0].vector is not None
    np.testing.assert_allclose(hits[0].vector, b.vector, atol=1e-6)
    assert (await vectors.fetch(index, ids, where=ALL, with_vectors=False))[0].vector is None


async def test_ingesting_into_one_index_changes_no_score_of_another(
    vectors: MilvusVectors, index: IndexRef, new_ref: Callable[[], IndexRef]
) -> None:
    await vectors.insert(index, [row(f"d{i}", f"alpha beta {'gamma ' * i}", vector=unit(1, i)) for i in range(10)])

    async def scores() -> list[tuple[str, float]]:
        hits = await vectors.bm25(index, "alpha gamma", 20, where=ALL)
        hits += await vectors.dense(index, unit(1), 20, where=ALL)
        return [(hit.chunk.chunk_id, hit.score) for hit in hits]

    before = await scores()
    other = new_ref()
    await vectors.create_index(other, SPEC)
    await vectors.insert(other, [row(f"o{i}", "alpha gamma delta", vector=unit(1)) for i in range(500)])
    assert len(before) > 10
    assert await scores() == before


@pytest.mark.parametrize(
    ("language", "text", "question"),
    [
        (Language.ENGLISH, "the cafés of São Paulo", "sao"),
        (Language.GERMAN, "Die Häuser der Stadt", "Haus"),
        (Language.FRENCH, "les chevaux courent", "cheval"),
        (Language.FRENCH, "les élèves courent", "eleve"),
        (Language.SPANISH, "las casas grandes", "grande"),
        (Language.ITALIAN, "le città e i gatti", "gatto"),
        (Language.PORTUGUESE, "as casas brancas", "casa"),
        (Language.DUTCH, "de katten slapen", "kat"),
        (Language.NONE, "Plain Words", "plain"),
    ],
)
async def test_each_language_stems_its_own_words_and_folds_accents(
    vectors: MilvusVectors, new_ref: Callable[[], IndexRef], language: Language, text: str, question: str
) -> None:
    ref = new_ref()
    await vectors.create_index(ref, IndexSpec("test", DIMENSION, language))
    await vectors.insert(ref, [row("wanted", text), row("other", "xyz")])
    assert documents(await vectors.bm25(ref, question, 5, where=ALL)) == ["wanted"]
    await vectors.drop_index(ref)


async def test_sixteen_searches_at_once_answer_as_one_does(vectors: MilvusVectors, index: IndexRef) -> None:
    await vectors.insert(index, [row(f"d{i}", f"word{i % 16} common", vector=unit(1, i)) for i in range(160)])

    async def both(i: int) -> tuple[list[ScoredChunk], list[ScoredChunk]]:
        return (
            await vectors.bm25(index, f"word{i}", 20, where=ALL),
            await vectors.dense(index, unit(1, i), 5, where=ALL),
        )

    alone = [await both(i) for i in range(16)]
    assert await asyncio.gather(*(both(i) for i in range(16))) == alone
    assert all(len(found) == 10 for found, _ in alone)


async def test_a_request_out_of_time_is_told_so(vectors: MilvusVectors, index: IndexRef) -> None:
    with deadline.scope(0.0), pytest.raises(DeadlineExceeded):
        await vectors.dense(index, unit(1), 5, where=ALL)


async def test_cancellation_passes_through_and_spoils_nothing(vectors: MilvusVectors, index: IndexRef) -> None:
    await vectors.insert(index, [row()])
    for _ in range(20):
        task = asyncio.create_task(vectors.bm25(index, "words", 5, where=ALL))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert documents(await vectors.bm25(index, "words", 5, where=ALL)) == ["doc"]


async def test_stored_rows_are_returned_whoever_may_see_them_and_can_be_written_back(
    vectors: MilvusVectors, index: IndexRef, new_ref: Callable[[], IndexRef]
) -> None:
    rows = [row("a", vector=unit(1, 2)), row("b", page=3, heading_path=("H",), access=("staff", "ops"))]
    await vectors.insert(index, rows)
    stored = {one.chunk.chunk_id: one for one in await vectors.stored_rows(index, [r.chunk.chunk_id for r in rows])}
    copy = new_ref()
    await vectors.create_index(copy, SPEC)
    await vectors.insert(copy, list(stored.values()), keyed=True)
    for each in rows:
        found = stored[each.chunk.chunk_id]
        assert found.chunk == each.chunk
        assert np.array_equal(found.vector, each.vector)
    for where in (ALL, SearchFilter(groups=("ops",))):
        for hits in (
            [await vectors.dense(ref, unit(1), 5, where=where, with_vectors=True) for ref in (index, copy)],
            [await vectors.bm25(ref, "words", 5, where=where) for ref in (index, copy)],
        ):
            assert hits[0] == hits[1]
    assert len(await vectors.dense(copy, unit(1), 5, where=ALL)) == 1
    for unknown in (["absent", "no identifier"], ["no identifier"], []):
        assert await vectors.stored_rows(index, unknown) == []
