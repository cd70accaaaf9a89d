"""The port of records: collections, documents, versions and what is hidden. What every adapter must do."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ragmesh_backends.model.collection import Collection, IndexRef, IndexSpec, Language
from ragmesh_backends.model.document import (
    ActivationOutcome,
    Chunk,
    DocumentState,
    DocumentVersion,
    MediaType,
    NewVersion,
    ReadyVersion,
    VersionState,
)
from ragmesh_backends.records.clock import wall_clock
from ragmesh_backends.records.neo4j import Neo4jRecords
from ragmesh_backends.records.neo4j.schema import NEO4J_RECORDS_SCHEMA
from ragmesh_backends.records.sqlite import RECORDS_SCHEMA, SqliteRecords
from ragmesh_backends.sqlite.database import Database
from ragmesh_servicekit.errors import AlreadyExists, NotFound, Reason
from support import neo4j
from support.killed_child import run_and_kill

Records = SqliteRecords | Neo4jRecords

START = datetime(1990, 1, 1, tzinfo=UTC)
"""Long before anything else that a shared server may hold: listings over all tenants begin with what is here."""

RUN = secrets.token_hex(4)
ACME, OTHER = f"acme-{RUN}", f"other-{RUN}"
HOSTILE = "'; DROP TABLE documents; --/../\u202e%00"
INDEX = IndexRef(ACME, f"ix1-{RUN}")
COLLECTION = Collection(
    tenant=ACME,
    collection_id="docs",
    display_name="Docs",
    index=INDEX,
    spec=IndexSpec("mini", 384, Language.GERMAN),
    generation="0" * 16,
    created_at=START,
    updated_at=START,
    labels={"team": "a"},
)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def opened(adapter: str, path: Path, clock: Callable[[], datetime]) -> AsyncIterator[Records]:
    """The adapter on its database. path: of the SQLite file."""
    if adapter == "sqlite":
        async with await Database.open(path, [RECORDS_SCHEMA]) as database:
            yield SqliteRecords(database, clock)
    else:
        async with neo4j.opened(NEO4J_RECORDS_SCHEMA) as client:
            yield Neo4jRecords(client, clock)


@asynccontextmanager
async def emptied(adapter: str) -> AsyncIterator[None]:
    """Nothing is left of this run's tenants on a shared server."""
    if adapter == "sqlite":
        yield
        return
    try:
        yield
    finally:
        await neo4j.forget_tenants(ACME, OTHER)


@pytest.fixture(params=["sqlite", pytest.param("neo4j", marks=neo4j.needed)])
def adapter(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "neo4j":
        neo4j.require()
    return name


@pytest.fixture
async def records(adapter: str, tmp_path: Path, clock: Clock) -> AsyncIterator[Records]:
    async with emptied(adapter), opened(adapter, tmp_path / "mesh.db", clock) as store:
        yield store


@pytest.fixture
async def docs(records: Records) -> Records:
    await records.create_collection(COLLECTION)
    return records


def new(document_id: str = "d", job: str = "j1") -> NewVersion:
    return NewVersion(
        document_id=document_id,
        title=f"title {job}",
        media_type=MediaType.MARKDOWN,
        size_bytes=len(job),
        content_sha256=job * 4,
        blob_key=f"blob/{job}",
        job_id=job,
        principal="ann",
        groups=("staff",),
        batch_id="b1",
        metadata={"by": job},
    )


def ready(document_id: str, version: int, chunks: int = 3) -> ReadyVersion:
    return ReadyVersion(
        document_id=document_id,
        version=version,
        title=f"parsed {version}",
        chunks=tuple(
            Chunk(
                chunk_id=f"{document_id}:{version}:{n}",
                document_id=document_id,
                version=version,
                ordinal=n,
                text="",
                title=f"parsed {version}" if n else "Preface",
                heading_path=("A", f"B{n}"),
                start=10 * n,
                end=10 * n + 9,
                page=n or None,
            )
            for n in range(chunks)
        ),
        parsed_key=f"parsed/{version}",
    )


async def begin(records: Records, document_id: str = "d", job: str = "j1") -> int:
    [version] = await records.begin_versions(INDEX, [new(document_id, job)])
    return version.version


async def activate(records: Records, document_id: str = "d", version: int = 1) -> ActivationOutcome:
    [result] = await records.activate_versions(INDEX, [ready(document_id, version)])
    return result.outcome


async def counters(records: Records) -> tuple[int, int, int]:
    found = await records.get_collection(ACME, "docs")
    return found.documents_ready, found.documents_pending, found.documents_failed


def ours(indexes: Iterable[IndexRef]) -> list[IndexRef]:
    """Without those of others on a shared server."""
    return [index for index in indexes if index.tenant == ACME]


async def hidden(records: Records) -> set[tuple[str, int]]:
    return {(v.document_id, v.version) for v in await records.hidden_versions(INDEX)}


# collections


async def test_a_collection_comes_back_as_it_was_made(records: Records) -> None:
    assert await records.create_collection(COLLECTION) == COLLECTION
    assert await records.get_collection(ACME, "docs") == COLLECTION


async def test_a_collection_id_is_taken_once_for_a_tenant(docs: Records) -> None:
    with pytest.raises(AlreadyExists) as caught:
        await docs.create_collection(replace(COLLECTION, index=IndexRef(ACME, f"ix2-{RUN}")))
    assert caught.value.reason is Reason.COLLECTION_EXISTS
    other = replace(COLLECTION, tenant=OTHER, index=IndexRef(OTHER, INDEX.name))
    assert await docs.create_collection(other) == other


async def test_another_tenants_collection_looks_absent(docs: Records) -> None:
    await begin(docs)
    await activate(docs)
    calls = [
        docs.get_collection(OTHER, "docs"),
        docs.update_collection(OTHER, "docs", display_name="x"),
        docs.delete_collection(OTHER, "docs"),
        docs.get_document(OTHER, "docs", "d"),
        docs.list_documents(OTHER, "docs", "", 10),
        docs.list_chunks(OTHER, "docs", "d", -1, 10),
        docs.delete_document(OTHER, "docs", "d"),
        docs.begin_versions(IndexRef(OTHER, INDEX.name), [new()]),
        docs.activate_versions(IndexRef(OTHER, INDEX.name), [ready("d", 1)]),
        docs.get_version(OTHER, "docs", "d", 1),
        docs.fail_version(IndexRef(OTHER, INDEX.name), "d", 1, "x"),
        docs.hidden_versions(IndexRef(OTHER, INDEX.name)),
    ]
    for call in calls:
        with pytest.raises(NotFound) as caught:
            await call
        assert caught.value.reason is Reason.COLLECTION_NOT_FOUND
    assert await docs.list_collections(OTHER, "", 10) == []


async def test_what_was_begun_for_one_index_touches_no_other_collection_of_the_same_id(docs: Records) -> None:
    await begin(docs)
    await docs.delete_collection(ACME, "docs")
    again = IndexRef(ACME, f"ix2-{RUN}")
    await docs.create_collection(replace(COLLECTION, index=again))
    [version] = await docs.begin_versions(again, [new("d", "j2")])
    before = await docs.get_collection(ACME, "docs")
    for call in (
        docs.begin_versions(INDEX, [new("d", "j3")]),
        docs.activate_versions(INDEX, [ready("d", 1)]),  # its rows are in the index that was dropped
        docs.fail_version(INDEX, "d", 1, "it is empty"),
    ):
        with pytest.raises(NotFound) as caught:
            await call
        assert caught.value.reason is Reason.COLLECTION_NOT_FOUND
        assert INDEX.name not in caught.value.message
    assert version == DocumentVersion("d", 1)
    assert (await docs.get_version(ACME, "docs", "d", 1)).state is VersionState.PENDING
    assert await docs.get_collection(ACME, "docs") == before
    [result] = await docs.activate_versions(again, [ready("d", 1)])
    assert result.outcome is ActivationOutcome.ACTIVATED


async def test_collections_are_listed_by_id_in_pages(records: Records) -> None:
    for name in ("c", "a", "b"):
        await records.create_collection(
            replace(COLLECTION, collection_id=name, index=IndexRef(ACME, f"ix-{name}-{RUN}"))
        )
    assert [c.collection_id for c in await records.list_collections(ACME, "", 2)] == ["a", "b"]
    assert [c.collection_id for c in await records.list_collections(ACME, "b", 2)] == ["c"]


async def test_an_update_changes_what_is_given(docs: Records, clock: Clock) -> None:
    clock.advance(5)
    updated = await docs.update_collection(ACME, "docs", display_name=HOSTILE)
    assert updated == replace(COLLECTION, display_name=HOSTILE, updated_at=clock.now)
    updated = await docs.update_collection(ACME, "docs", labels={})
    assert (updated.display_name, updated.labels) == (HOSTILE, {})


async def test_a_deleted_collection_is_gone_at_once_and_its_index_is_left_to_sweep(docs: Records, clock: Clock) -> None:
    await begin(docs)
    await activate(docs)
    await begin(docs, "e", "j2")
    assert (await docs.delete_collection(ACME, "docs")).index == INDEX
    for call in (
        docs.get_collection(ACME, "docs"),
        docs.get_document(ACME, "docs", "d"),
        docs.hidden_versions(INDEX),
        docs.activate_versions(INDEX, [ready("e", 1)]),
        docs.delete_collection(ACME, "docs"),
    ):
        with pytest.raises(NotFound):
            await call
    clock.advance(10_000)
    assert await docs.retired_versions(0, 10) == []
    assert await docs.pending_versions(0, 10) == []
    assert ours(await docs.list_indexes("", 10_000)) == []
    [dropped] = [one for one in await docs.list_dropped_indexes() if one.index.tenant == ACME]
    assert (dropped.index, dropped.collection_id, dropped.dropped_at) == (INDEX, "docs", START)

    again = replace(COLLECTION, index=IndexRef(ACME, f"ix2-{RUN}"))
    assert await docs.create_collection(again) == again
    assert ours(await docs.list_indexes("", 10_000)) == [again.index]
    assert ours(await docs.list_indexes(again.index.name, 10_000)) == []
    await docs.forget_dropped_index(again.index)  # in use: nothing happens
    await docs.forget_dropped_index(INDEX)
    await docs.forget_dropped_index(INDEX)
    assert ours(one.index for one in await docs.list_dropped_indexes()) == []
    assert await docs.get_collection(ACME, "docs") == again


# documents


async def test_a_new_document_is_pending_and_hidden_until_it_is_activated(docs: Records) -> None:
    assert await docs.begin_versions(INDEX, [new("d", "j1"), new("e", "j1"), new("d", "j2")]) == [
        DocumentVersion("d", 1),
        DocumentVersion("e", 1),
        DocumentVersion("d", 2),
    ]
    document = await docs.get_document(ACME, "docs", "d")
    assert (document.state, document.active_version, document.latest_version) == (DocumentState.PENDING, 0, 2)
    assert (document.title, document.metadata) == ("title j2", {"by": "j2"})
    assert await docs.list_chunks(ACME, "docs", "d", -1, 10) == []
    assert await counters(docs) == (0, 2, 0)
    assert await hidden(docs) == {("d", 1), ("d", 2), ("e", 1)}


async def test_the_same_job_gets_the_same_version_again(docs: Records) -> None:
    assert await begin(docs) == 1
    assert await begin(docs) == 1
    assert await begin(docs, job="j2") == 2


async def test_activation_shows_the_version_and_replaces_the_generation(docs: Records) -> None:
    await begin(docs)
    assert await activate(docs) is ActivationOutcome.ACTIVATED
    document = await docs.get_document(ACME, "docs", "d")
    assert (document.state, document.active_version, document.chunk_count) == (DocumentState.READY, 1, 3)
    assert (document.title, document.content_sha256) == ("parsed 1", "j1" * 4)
    assert await hidden(docs) == set()
    assert await counters(docs) == (1, 0, 0)
    generation = (await docs.get_collection(ACME, "docs")).generation
    assert generation != COLLECTION.generation
    assert len(generation) == 16
    int(generation, 16)
    record = await docs.get_version(ACME, "docs", "d", 1)
    assert (record.state, record.blob_key, record.parsed_key) == (VersionState.ACTIVE, "blob/j1", "parsed/1")
    assert (record.index, record.groups, record.principal) == (INDEX, ("staff",), "ann")


async def test_several_versions_are_read_at_once_and_absent_ones_are_left_out(docs: Records) -> None:
    begun = await docs.begin_versions(INDEX, [new("d"), new("e", "j2"), new("d", "j3")])
    found = await docs.get_versions(ACME, "docs", [*begun[1:], DocumentVersion("d", 7), DocumentVersion("x", 1)])
    assert found == {one: await docs.get_version(ACME, "docs", one.document_id, one.version) for one in begun[1:]}
    assert await docs.get_versions(OTHER, "docs", begun) == {}
    assert await docs.get_versions(ACME, "none", begun) == {}
    assert await docs.get_versions(ACME, "docs", []) == {}
    await docs.delete_collection(ACME, "docs")
    assert await docs.get_versions(ACME, "docs", begun) == {}


async def test_chunks_come_back_in_order_without_their_text(docs: Records) -> None:
    await begin(docs)
    await activate(docs)
    expected = list(ready("d", 1).chunks)
    assert await docs.list_chunks(ACME, "docs", "d", -1, 10) == expected
    assert await docs.list_chunks(ACME, "docs", "d", 0, 1) == expected[1:2]
    assert await docs.list_chunks(ACME, "docs", "d", 2, 10) == []


async def test_a_newer_version_retires_the_active_one_and_a_late_older_one_is_superseded(
    docs: Records,
) -> None:
    for job in ("j1", "j2", "j3"):
        await begin(docs, job=job)
    await activate(docs, version=1)
    [flip] = await docs.activate_versions(INDEX, [ready("d", 3, chunks=1)])
    assert (flip.outcome, flip.retired) == (ActivationOutcome.ACTIVATED, DocumentVersion("d", 1))
    assert await activate(docs, version=2) is ActivationOutcome.SUPERSEDED
    assert await activate(docs, version=3) is ActivationOutcome.UNCHANGED
    assert (await docs.get_document(ACME, "docs", "d")).active_version == 3
    assert len(await docs.list_chunks(ACME, "docs", "d", -1, 10)) == 1
    assert await hidden(docs) == {("d", 1), ("d", 2)}
    assert await counters(docs) == (1, 0, 0)


async def test_a_list_is_activated_as_a_whole_or_not_at_all(docs: Records) -> None:
    await begin(docs, "d")
    await begin(docs, "e")
    broken = ready("e", 1)
    broken = replace(broken, chunks=broken.chunks + broken.chunks)  # the same ordinals twice
    generation = (await docs.get_collection(ACME, "docs")).generation
    with pytest.raises(Exception, match="refused"):
        await docs.activate_versions(INDEX, [ready("d", 1), broken])
    assert await counters(docs) == (0, 2, 0)
    assert (await docs.get_collection(ACME, "docs")).generation == generation


async def test_a_failed_document_says_why_and_a_ready_one_stays_ready(docs: Records) -> None:
    await begin(docs)
    await docs.fail_version(INDEX, "d", 1, "it is empty")
    document = await docs.get_document(ACME, "docs", "d")
    assert (document.state, document.failure) == (DocumentState.FAILED, "it is empty")
    assert await counters(docs) == (0, 0, 1)
    assert await hidden(docs) == {("d", 1)}
    await begin(docs, job="j2")
    assert await counters(docs) == (0, 1, 0)
    await activate(docs, version=2)
    await begin(docs, job="j3")
    await docs.fail_version(INDEX, "d", 3, "too long")
    document = await docs.get_document(ACME, "docs", "d")
    assert (document.state, document.active_version, document.failure) == (DocumentState.READY, 2, "too long")
    await docs.fail_version(INDEX, "d", 2, "never")  # active: nothing happens
    assert (await docs.get_version(ACME, "docs", "d", 2)).state is VersionState.ACTIVE
    with pytest.raises(NotFound):
        await docs.fail_version(INDEX, "d", 9, "unknown")


async def test_a_failed_version_whose_job_runs_again_can_be_activated(docs: Records) -> None:
    await begin(docs)
    await docs.fail_version(INDEX, "d", 1, "the model was down")
    assert await begin(docs) == 1
    assert (await docs.get_document(ACME, "docs", "d")).state is DocumentState.PENDING
    assert await activate(docs) is ActivationOutcome.ACTIVATED
    assert await counters(docs) == (1, 0, 0)


async def test_documents_are_listed_by_id_in_pages_with_hostile_ids_kept(docs: Records) -> None:
    for document_id in ("b", HOSTILE, "a"):
        await begin(docs, document_id)
    ids = sorted(["a", "b", HOSTILE])
    assert [d.document_id for d in await docs.list_documents(ACME, "docs", "", 2)] == ids[:2]
    assert [d.document_id for d in await docs.list_documents(ACME, "docs", ids[1], 2)] == ids[2:]
    assert (await docs.get_document(ACME, "docs", HOSTILE)).document_id == HOSTILE


async def test_documents_are_listed_in_the_order_of_code_points(docs: Records) -> None:
    """Not of UTF-16 units, in which U+1F600 comes before U+E000; pages must neither skip nor repeat."""
    ids = [
        "\ud7ff",
        "\ud7ffx",
        "\ue000",
        "\uf900",
        "\uffee",
        "\uffeea",
        "\U00010000",
        "\U0001f600",
        "\U0010ffff",
        "z",
        "é",
    ]
    await docs.begin_versions(INDEX, [new(document_id) for document_id in ids])
    listed: list[str] = []
    while page := await docs.list_documents(ACME, "docs", listed[-1] if listed else "", 2):
        listed.extend(document.document_id for document in page)
    assert listed == sorted(ids)
    for document_id in ids:
        assert (await docs.get_document(ACME, "docs", document_id)).document_id == document_id


async def test_a_deleted_document_is_gone_at_once_and_all_its_versions_are_hidden(docs: Records) -> None:
    await begin(docs)
    await activate(docs)
    await begin(docs, job="j2")
    before = (await docs.get_collection(ACME, "docs")).generation
    assert await docs.delete_document(ACME, "docs", "d") == [DocumentVersion("d", 1), DocumentVersion("d", 2)]
    assert (await docs.get_collection(ACME, "docs")).generation != before
    for call in (
        docs.get_document(ACME, "docs", "d"),
        docs.list_chunks(ACME, "docs", "d", -1, 10),
        docs.delete_document(ACME, "docs", "d"),
    ):
        with pytest.raises(NotFound) as caught:
            await call
        assert caught.value.reason is Reason.DOCUMENT_NOT_FOUND
    assert await docs.list_documents(ACME, "docs", "", 10) == []
    assert await hidden(docs) == {("d", 1), ("d", 2)}
    assert await counters(docs) == (0, 0, 0)
    assert await activate(docs, version=2) is ActivationOutcome.SUPERSEDED
    assert await counters(docs) == (0, 0, 0)


async def test_the_versions_of_a_document_that_comes_back_do_not_start_again(docs: Records, clock: Clock) -> None:
    await begin(docs)
    await activate(docs)
    await docs.delete_document(ACME, "docs", "d")
    await docs.forget_versions(INDEX, [DocumentVersion("d", 1)])
    clock.advance(60)
    assert await begin(docs, job="j2") == 2
    document = await docs.get_document(ACME, "docs", "d")
    assert (document.state, document.created_at) == (DocumentState.PENDING, clock.now)


# visibility and repair


async def test_retired_versions_wait_for_their_time_and_name_their_blobs(docs: Records, clock: Clock) -> None:
    await begin(docs)
    await activate(docs)
    await begin(docs, job="j2")
    await activate(docs, version=2)
    clock.advance(9)
    assert await docs.retired_versions(10, 10) == []
    clock.advance(1)
    [retired] = await docs.retired_versions(10, 10)
    assert (retired.index, retired.version, retired.job_id) == (INDEX, DocumentVersion("d", 1), "j1")
    assert retired.blob_keys == ("blob/j1", "parsed/1")
    await docs.forget_versions(INDEX, [retired.version, DocumentVersion("d", 2), DocumentVersion("x", 1)])
    assert await hidden(docs) == set()
    with pytest.raises(NotFound):
        await docs.get_version(ACME, "docs", "d", 1)
    assert (await docs.get_version(ACME, "docs", "d", 2)).state is VersionState.ACTIVE


async def test_a_failed_version_is_swept_but_keeps_its_original_until_a_newer_one_is_active(
    docs: Records, clock: Clock
) -> None:
    await begin(docs)
    await docs.fail_version(INDEX, "d", 1, "no")
    clock.advance(20)
    [failed] = await docs.retired_versions(10, 10)
    assert failed.blob_keys == ()
    await docs.forget_versions(INDEX, [failed.version])
    assert await docs.retired_versions(10, 10) == []
    assert await hidden(docs) == set()
    assert (await docs.get_version(ACME, "docs", "d", 1)).state is VersionState.FAILED
    await begin(docs, job="j2")
    await activate(docs, version=2)
    clock.advance(20)
    [retired] = await docs.retired_versions(10, 10)
    assert (retired.version, retired.blob_keys) == (DocumentVersion("d", 1), ("blob/j1",))


async def test_a_version_deleted_under_its_worker_is_swept_once_the_worker_has_reported(
    docs: Records, clock: Clock
) -> None:
    await begin(docs)
    await docs.delete_document(ACME, "docs", "d")
    clock.advance(60)
    assert await docs.retired_versions(10, 10) == []  # its worker may still write rows
    assert await activate(docs) is ActivationOutcome.SUPERSEDED
    clock.advance(60)
    assert [r.version for r in await docs.retired_versions(10, 10)] == [DocumentVersion("d", 1)]


async def test_a_worker_that_never_reports_does_not_keep_a_deleted_version_for_ever(
    docs: Records, clock: Clock
) -> None:
    await begin(docs)
    await docs.delete_document(ACME, "docs", "d")
    clock.advance(3_601)
    [retired] = await docs.retired_versions(10, 10)
    await docs.forget_versions(INDEX, [retired.version])
    assert await activate(docs) is ActivationOutcome.SUPERSEDED  # very late: hidden again, swept again
    assert await hidden(docs) == {("d", 1)}


async def test_pending_versions_are_listed_with_all_that_their_job_needs(docs: Records, clock: Clock) -> None:
    await begin(docs, "d")
    clock.advance(5)
    await begin(docs, "e", "j2")
    clock.advance(26)
    [old] = await docs.pending_versions(30, 10)
    assert (old.tenant, old.collection_id, old.document_id, old.version) == (ACME, "docs", "d", 1)
    assert (old.job_id, old.batch_id, old.principal, old.groups) == ("j1", "b1", "ann", ("staff",))
    assert (old.blob_key, old.media_type, old.metadata) == ("blob/j1", MediaType.MARKDOWN, {"by": "j1"})
    assert (old.created_at, old.index, old.title) == (START, INDEX, "title j1")
    clock.advance(5)
    assert [v.document_id for v in await docs.pending_versions(30, 1)] == ["d"]
    assert [v.document_id for v in await docs.pending_versions(30, 10)] == ["d", "e"]
    await activate(docs, "d")
    await docs.fail_version(INDEX, "e", 1, "no")
    assert await docs.pending_versions(0, 10) == []


async def test_pending_versions_are_listed_in_pages_whatever_began_together(docs: Records, clock: Clock) -> None:
    second = IndexRef(ACME, f"ix0-{RUN}")
    await docs.create_collection(replace(COLLECTION, collection_id="more", index=second))
    await docs.begin_versions(INDEX, [new(f"d{n}", f"j{n}") for n in (3, 1, 2)] + [new("d1", "j9")])
    await docs.begin_versions(second, [new(HOSTILE, "j4"), new("d1", "j5")])
    clock.advance(1)
    await docs.begin_versions(second, [new("a", "j6")])
    clock.advance(30)
    all_of_them = await docs.pending_versions(30, 1000)
    assert {one.job_id for one in all_of_them} == {"j1", "j2", "j3", "j4", "j5", "j6", "j9"}
    assert all_of_them[-1].job_id == "j6"
    for limit in (1, 2, 3):
        pages, after = list[list[str]](), None
        while page := await docs.pending_versions(30, limit, after):
            pages.append([one.job_id for one in page])
            after = page[-1]
        assert [job for page in pages for job in page] == [one.job_id for one in all_of_them]
    last = all_of_them[2]
    await docs.fail_version(last.index, last.document_id, last.version, "no")  # what is done meanwhile moves no page
    assert await docs.pending_versions(30, 1000, last) == all_of_them[3:]


# writers at the same time


async def test_of_twenty_jobs_that_begin_at_once_each_gets_a_number_of_its_own(docs: Records) -> None:
    calls = [docs.begin_versions(INDEX, [new("d", f"j{n}"), new(f"e{n}", f"j{n}")]) for n in range(20)]
    begun = await asyncio.gather(*calls)
    assert sorted(versions[0].version for versions in begun) == list(range(1, 21))
    assert await counters(docs) == (0, 21, 0)
    again = await asyncio.gather(*(begin(docs, "d", f"j{n}") for n in range(20)))
    assert again == [versions[0].version for versions in begun]
    assert len(await hidden(docs)) == 40


async def test_one_job_that_begins_twenty_times_at_once_gets_one_number(docs: Records) -> None:
    assert await asyncio.gather(*(begin(docs) for _ in range(20))) == [1] * 20
    assert (await docs.get_document(ACME, "docs", "d")).latest_version == 1


async def test_of_twenty_versions_that_are_activated_at_once_the_newest_wins(docs: Records) -> None:
    for n in range(20):
        await begin(docs, job=f"j{n}")
    order = [7, 20, *range(1, 7), *range(8, 20)]
    outcomes = await asyncio.gather(*(activate(docs, version=version) for version in order))
    assert outcomes[order.index(20)] is ActivationOutcome.ACTIVATED
    assert (await docs.get_document(ACME, "docs", "d")).active_version == 20
    assert await hidden(docs) == {("d", n) for n in range(1, 20)}
    assert await counters(docs) == (1, 0, 0)


async def test_one_version_that_is_activated_twenty_times_at_once_is_activated_once(docs: Records) -> None:
    await begin(docs)
    outcomes = await asyncio.gather(*(activate(docs) for _ in range(20)))
    assert sorted(outcomes) == [ActivationOutcome.ACTIVATED] + [ActivationOutcome.UNCHANGED] * 19
    assert len(await docs.list_chunks(ACME, "docs", "d", -1, 10)) == 3


async def test_of_two_that_make_one_collection_one_does(records: Records) -> None:
    made = await asyncio.gather(
        *(
            records.create_collection(replace(COLLECTION, index=IndexRef(ACME, f"ix{n}-{RUN}"), generation=f"{n:016}"))
            for n in range(8)
        ),
        return_exceptions=True,
    )
    kept = [one for one in made if not isinstance(one, BaseException)]
    assert [type(one) for one in made if isinstance(one, BaseException)] == [AlreadyExists] * 7
    assert kept == [await records.get_collection(ACME, "docs")]


async def test_a_document_deleted_while_it_is_activated_is_gone_or_ready_and_never_both(docs: Records) -> None:
    await begin(docs)
    outcome, _ = await asyncio.gather(activate(docs), docs.delete_document(ACME, "docs", "d"))
    assert outcome in {ActivationOutcome.ACTIVATED, ActivationOutcome.SUPERSEDED}
    assert await counters(docs) == (0, 0, 0)
    assert await hidden(docs) == {("d", 1)}


_KILLED = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
adapter, path, here, tenant, index = sys.argv[1:]
sys.path.insert(0, here)
import test_records_contract as t
async def main():
    async with t.opened(adapter, Path(path), t.wall_clock) as records:
        await records.create_collection(replace(t.COLLECTION, tenant=tenant, index=t.IndexRef(tenant, index)))
        for n in range(1_000_000):
            job = f"j{n}"
            await records.begin_versions(t.IndexRef(tenant, index), [t.new(f"d{m}", job) for m in range(10)])
            await records.activate_versions(t.IndexRef(tenant, index), [t.ready(f"d{m}", n + 1) for m in range(10)])
            print(n, flush=True)
asyncio.run(main())
"""


async def test_after_kill_9_of_the_writer_every_batch_is_whole_and_the_counters_are_right(
    adapter: str, tmp_path: Path
) -> None:
    path = tmp_path / "killed.db"
    here = str(Path(__file__).parent)
    async with emptied(adapter):
        acknowledged = await run_and_kill(_KILLED, adapter, str(path), here, *_named(INDEX), after_lines=20)
        async with opened(adapter, path, wall_clock) as records:
            # The version after the last must wait for what the killed writer had begun: a server may still commit it.
            following = await records.begin_versions(INDEX, [new(f"d{m}", "last") for m in range(10)])
            found = await records.list_documents(ACME, "docs", "", 100)
            assert len({d.active_version for d in found}) == 1  # never some of a batch
            assert found[0].active_version in {acknowledged, acknowledged + 1}
            assert {d.latest_version for d in found} == {version.version for version in following}
            assert len({version.version for version in following}) == 1
            assert await counters(records) == (10, 0, 0)
            for document in found:
                assert len(await records.list_chunks(ACME, "docs", document.document_id, -1, 9)) == 3
            active = {DocumentVersion(d.document_id, d.active_version) for d in found}
            assert not active & await records.hidden_versions(INDEX)


def _named(index: IndexRef) -> tuple[str, str]:
    return index.tenant, index.name
