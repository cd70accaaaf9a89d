"""The port of records: collections, documents, versions and what is hidden. What every adapter must do."""

from __future__ import annotations

from collections.abc import AsyncIterator
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
from ragmesh_backends.records.sqlite import RECORDS_SCHEMA, SqliteRecords
from ragmesh_backends.sqlite.database import Database
from ragmesh_servicekit.errors import AlreadyExists, NotFound, Reason
from support.killed_child import run_and_kill

START = datetime(2030, 1, 1, tzinfo=UTC)
HOSTILE = "'; DROP TABLE documents; --/../\u202e%00"
INDEX = IndexRef("acme", "ix1")
COLLECTION = Collection(
    tenant="acme",
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


@pytest.fixture(params=["sqlite"])
async def records(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[SqliteRecords]:
    assert request.param == "sqlite"
    async with await Database.open(tmp_path / "mesh.db", [RECORDS_SCHEMA]) as database:
        yield SqliteRecords(database, clock)


@pytest.fixture
async def docs(records: SqliteRecords) -> SqliteRecords:
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


async def begin(records: SqliteRecords, document_id: str = "d", job: str = "j1") -> int:
    [version] = await records.begin_versions("acme", "docs", [new(document_id, job)])
    return version.version


async def activate(records: SqliteRecords, document_id: str = "d", version: int = 1) -> ActivationOutcome:
    [result] = await records.activate_versions("acme", "docs", [ready(document_id, version)])
    return result.outcome


async def counters(records: SqliteRecords) -> tuple[int, int, int]:
    found = await records.get_collection("acme", "docs")
    return found.documents_ready, found.documents_pending, found.documents_failed


async def hidden(records: SqliteRecords) -> set[tuple[str, int]]:
    return {(v.document_id, v.version) for v in await records.hidden_versions(INDEX)}


# collections


async def test_a_collection_comes_back_as_it_was_made(records: SqliteRecords) -> None:
    assert await records.create_collection(COLLECTION) == COLLECTION
    assert await records.get_collection("acme", "docs") == COLLECTION


async def test_a_collection_id_is_taken_once_for_a_tenant(docs: SqliteRecords) -> None:
    with pytest.raises(AlreadyExists) as caught:
        await docs.create_collection(replace(COLLECTION, index=IndexRef("acme", "ix2")))
    assert caught.value.reason is Reason.COLLECTION_EXISTS
    other = replace(COLLECTION, tenant="other", index=IndexRef("other", "ix1"))
    assert await docs.create_collection(other) == other


async def test_another_tenants_collection_looks_absent(docs: SqliteRecords) -> None:
    await begin(docs)
    await activate(docs)
    calls = [
        docs.get_collection("other", "docs"),
        docs.update_collection("other", "docs", display_name="x"),
        docs.delete_collection("other", "docs"),
        docs.get_document("other", "docs", "d"),
        docs.list_documents("other", "docs", "", 10),
        docs.list_chunks("other", "docs", "d", -1, 10),
        docs.delete_document("other", "docs", "d"),
        docs.begin_versions("other", "docs", [new()]),
        docs.activate_versions("other", "docs", [ready("d", 1)]),
        docs.get_version("other", "docs", "d", 1),
        docs.fail_version("other", "docs", "d", 1, "x"),
        docs.hidden_versions(IndexRef("other", "ix1")),
    ]
    for call in calls:
        with pytest.raises(NotFound) as caught:
            await call
        assert caught.value.reason is Reason.COLLECTION_NOT_FOUND
    assert await docs.list_collections("other", "", 10) == []


async def test_collections_are_listed_by_id_in_pages(records: SqliteRecords) -> None:
    for name in ("c", "a", "b"):
        await records.create_collection(replace(COLLECTION, collection_id=name, index=IndexRef("acme", f"ix-{name}")))
    assert [c.collection_id for c in await records.list_collections("acme", "", 2)] == ["a", "b"]
    assert [c.collection_id for c in await records.list_collections("acme", "b", 2)] == ["c"]


async def test_an_update_changes_what_is_given(docs: SqliteRecords, clock: Clock) -> None:
    clock.advance(5)
    updated = await docs.update_collection("acme", "docs", display_name=HOSTILE)
    assert updated == replace(COLLECTION, display_name=HOSTILE, updated_at=clock.now)
    updated = await docs.update_collection("acme", "docs", labels={})
    assert (updated.display_name, updated.labels) == (HOSTILE, {})


async def test_a_deleted_collection_is_gone_at_once_and_its_index_is_left_to_sweep(
    docs: SqliteRecords, clock: Clock
) -> None:
    await begin(docs)
    await activate(docs)
    await begin(docs, "e", "j2")
    assert (await docs.delete_collection("acme", "docs")).index == INDEX
    for call in (
        docs.get_collection("acme", "docs"),
        docs.get_document("acme", "docs", "d"),
        docs.hidden_versions(INDEX),
        docs.activate_versions("acme", "docs", [ready("e", 1)]),
        docs.delete_collection("acme", "docs"),
    ):
        with pytest.raises(NotFound):
            await call
    clock.advance(10_000)
    assert await docs.retired_versions(0, 10) == []
    assert await docs.pending_versions(0, 10) == []
    assert await docs.list_indexes("", 10) == []
    [dropped] = await docs.list_dropped_indexes()
    assert (dropped.index, dropped.collection_id, dropped.dropped_at) == (INDEX, "docs", START)

    again = replace(COLLECTION, index=IndexRef("acme", "ix2"))
    assert await docs.create_collection(again) == again
    assert await docs.list_indexes("", 10) == [again.index]
    assert await docs.list_indexes(again.index.name, 10) == []
    await docs.forget_dropped_index(again.index)  # in use: nothing happens
    await docs.forget_dropped_index(INDEX)
    await docs.forget_dropped_index(INDEX)
    assert await docs.list_dropped_indexes() == []
    assert await docs.get_collection("acme", "docs") == again


# documents


async def test_a_new_document_is_pending_and_hidden_until_it_is_activated(docs: SqliteRecords) -> None:
    assert await docs.begin_versions("acme", "docs", [new("d", "j1"), new("e", "j1"), new("d", "j2")]) == [
        DocumentVersion("d", 1),
        DocumentVersion("e", 1),
        DocumentVersion("d", 2),
    ]
    document = await docs.get_document("acme", "docs", "d")
    assert (document.state, document.active_version, document.latest_version) == (DocumentState.PENDING, 0, 2)
    assert (document.title, document.metadata) == ("title j2", {"by": "j2"})
    assert await docs.list_chunks("acme", "docs", "d", -1, 10) == []
    assert await counters(docs) == (0, 2, 0)
    assert await hidden(docs) == {("d", 1), ("d", 2), ("e", 1)}


async def test_the_same_job_gets_the_same_version_again(docs: SqliteRecords) -> None:
    assert await begin(docs) == 1
    assert await begin(docs) == 1
    assert await begin(docs, job="j2") == 2


async def test_activation_shows_the_version_and_replaces_the_generation(docs: SqliteRecords) -> None:
    await begin(docs)
    assert await activate(docs) is ActivationOutcome.ACTIVATED
    document = await docs.get_document("acme", "docs", "d")
    assert (document.state, document.active_version, document.chunk_count) == (DocumentState.READY, 1, 3)
    assert (document.title, document.content_sha256) == ("parsed 1", "j1" * 4)
    assert await hidden(docs) == set()
    assert await counters(docs) == (1, 0, 0)
    generation = (await docs.get_collection("acme", "docs")).generation
    assert generation != COLLECTION.generation
    assert len(generation) == 16
    int(generation, 16)
    record = await docs.get_version("acme", "docs", "d", 1)
    assert (record.state, record.blob_key, record.parsed_key) == (VersionState.ACTIVE, "blob/j1", "parsed/1")
    assert (record.index, record.groups, record.principal) == (INDEX, ("staff",), "ann")


async def test_several_versions_are_read_at_once_and_absent_ones_are_left_out(docs: SqliteRecords) -> None:
    begun = await docs.begin_versions("acme", "docs", [new("d"), new("e", "j2"), new("d", "j3")])
    found = await docs.get_versions("acme", "docs", [*begun[1:], DocumentVersion("d", 7), DocumentVersion("x", 1)])
    assert found == {one: await docs.get_version("acme", "docs", one.document_id, one.version) for one in begun[1:]}
    assert await docs.get_versions("other", "docs", begun) == {}
    assert await docs.get_versions("acme", "none", begun) == {}
    assert await docs.get_versions("acme", "docs", []) == {}
    await docs.delete_collection("acme", "docs")
    assert await docs.get_versions("acme", "docs", begun) == {}


async def test_chunks_come_back_in_order_without_their_text(docs: SqliteRecords) -> None:
    await begin(docs)
    await activate(docs)
    expected = list(ready("d", 1).chunks)
    assert await docs.list_chunks("acme", "docs", "d", -1, 10) == expected
    assert await docs.list_chunks("acme", "docs", "d", 0, 1) == expected[1:2]
    assert await docs.list_chunks("acme", "docs", "d", 2, 10) == []


async def test_a_newer_version_retires_the_active_one_and_a_late_older_one_is_superseded(
    docs: SqliteRecords,
) -> None:
    for job in ("j1", "j2", "j3"):
        await begin(docs, job=job)
    await activate(docs, version=1)
    [flip] = await docs.activate_versions("acme", "docs", [ready("d", 3, chunks=1)])
    assert (flip.outcome, flip.retired) == (ActivationOutcome.ACTIVATED, DocumentVersion("d", 1))
    assert await activate(docs, version=2) is ActivationOutcome.SUPERSEDED
    assert await activate(docs, version=3) is ActivationOutcome.UNCHANGED
    assert (await docs.get_document("acme", "docs", "d")).active_version == 3
    assert len(await docs.list_chunks("acme", "docs", "d", -1, 10)) == 1
    assert await hidden(docs) == {("d", 1), ("d", 2)}
    assert await counters(docs) == (1, 0, 0)


async def test_a_list_is_activated_as_a_whole_or_not_at_all(docs: SqliteRecords) -> None:
    await begin(docs, "d")
    await begin(docs, "e")
    broken = ready("e", 1)
    broken = replace(broken, chunks=broken.chunks + broken.chunks)  # the same ordinals twice
    generation = (await docs.get_collection("acme", "docs")).generation
    with pytest.raises(Exception, match="refused"):
        await docs.activate_versions("acme", "docs", [ready("d", 1), broken])
    assert await counters(docs) == (0, 2, 0)
    assert (await docs.get_collection("acme", "docs")).generation == generation


async def test_a_failed_document_says_why_and_a_ready_one_stays_ready(docs: SqliteRecords) -> None:
    await begin(docs)
    await docs.fail_version("acme", "docs", "d", 1, "it is empty")
    document = await docs.get_document("acme", "docs", "d")
    assert (document.state, document.failure) == (DocumentState.FAILED, "it is empty")
    assert await counters(docs) == (0, 0, 1)
    assert await hidden(docs) == {("d", 1)}
    await begin(docs, job="j2")
    assert await counters(docs) == (0, 1, 0)
    await activate(docs, version=2)
    await begin(docs, job="j3")
    await docs.fail_version("acme", "docs", "d", 3, "too long")
    document = await docs.get_document("acme", "docs", "d")
    assert (document.state, document.active_version, document.failure) == (DocumentState.READY, 2, "too long")
    await docs.fail_version("acme", "docs", "d", 2, "never")  # active: nothing happens
    assert (await docs.get_version("acme", "docs", "d", 2)).state is VersionState.ACTIVE
    with pytest.raises(NotFound):
        await docs.fail_version("acme", "docs", "d", 9, "unknown")


async def test_a_failed_version_whose_job_runs_again_can_be_activated(docs: SqliteRecords) -> None:
    await begin(docs)
    await docs.fail_version("acme", "docs", "d", 1, "the model was down")
    assert await begin(docs) == 1
    assert (await docs.get_document("acme", "docs", "d")).state is DocumentState.PENDING
    assert await activate(docs) is ActivationOutcome.ACTIVATED
    assert await counters(docs) == (1, 0, 0)


async def test_documents_are_listed_by_id_in_pages_with_hostile_ids_kept(docs: SqliteRecords) -> None:
    for document_id in ("b", HOSTILE, "a"):
        await begin(docs, document_id)
    ids = sorted(["a", "b", HOSTILE])
    assert [d.document_id for d in await docs.list_documents("acme", "docs", "", 2)] == ids[:2]
    assert [d.document_id for d in await docs.list_documents("acme", "docs", ids[1], 2)] == ids[2:]
    assert (await docs.get_document("acme", "docs", HOSTILE)).document_id == HOSTILE


async def test_a_deleted_document_is_gone_at_once_and_all_its_versions_are_hidden(docs: SqliteRecords) -> None:
    await begin(docs)
    await activate(docs)
    await begin(docs, job="j2")
    before = (await docs.get_collection("acme", "docs")).generation
    assert await docs.delete_document("acme", "docs", "d") == [DocumentVersion("d", 1), DocumentVersion("d", 2)]
    assert (await docs.get_collection("acme", "docs")).generation != before
    for call in (
        docs.get_document("acme", "docs", "d"),
        docs.list_chunks("acme", "docs", "d", -1, 10),
        docs.delete_document("acme", "docs", "d"),
    ):
        with pytest.raises(NotFound) as caught:
            await call
        assert caught.value.reason is Reason.DOCUMENT_NOT_FOUND
    assert await docs.list_documents("acme", "docs", "", 10) == []
    assert await hidden(docs) == {("d", 1), ("d", 2)}
    assert await counters(docs) == (0, 0, 0)
    assert await activate(docs, version=2) is ActivationOutcome.SUPERSEDED
    assert await counters(docs) == (0, 0, 0)


async def test_the_versions_of_a_document_that_comes_back_do_not_start_again(docs: SqliteRecords, clock: Clock) -> None:
    await begin(docs)
    await activate(docs)
    await docs.delete_document("acme", "docs", "d")
    await docs.forget_versions(INDEX, [DocumentVersion("d", 1)])
    clock.advance(60)
    assert await begin(docs, job="j2") == 2
    document = await docs.get_document("acme", "docs", "d")
    assert (document.state, document.created_at) == (DocumentState.PENDING, clock.now)


# visibility and repair


async def test_retired_versions_wait_for_their_time_and_name_their_blobs(docs: SqliteRecords, clock: Clock) -> None:
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
        await docs.get_version("acme", "docs", "d", 1)
    assert (await docs.get_version("acme", "docs", "d", 2)).state is VersionState.ACTIVE


async def test_a_failed_version_is_swept_but_keeps_its_original_until_a_newer_one_is_active(
    docs: SqliteRecords, clock: Clock
) -> None:
    await begin(docs)
    await docs.fail_version("acme", "docs", "d", 1, "no")
    clock.advance(20)
    [failed] = await docs.retired_versions(10, 10)
    assert failed.blob_keys == ()
    await docs.forget_versions(INDEX, [failed.version])
    assert await docs.retired_versions(10, 10) == []
    assert await hidden(docs) == set()
    assert (await docs.get_version("acme", "docs", "d", 1)).state is VersionState.FAILED
    await begin(docs, job="j2")
    await activate(docs, version=2)
    clock.advance(20)
    [retired] = await docs.retired_versions(10, 10)
    assert (retired.version, retired.blob_keys) == (DocumentVersion("d", 1), ("blob/j1",))


async def test_a_version_deleted_under_its_worker_is_swept_once_the_worker_has_reported(
    docs: SqliteRecords, clock: Clock
) -> None:
    await begin(docs)
    await docs.delete_document("acme", "docs", "d")
    clock.advance(60)
    assert await docs.retired_versions(10, 10) == []  # its worker may still write rows
    assert await activate(docs) is ActivationOutcome.SUPERSEDED
    clock.advance(60)
    assert [r.version for r in await docs.retired_versions(10, 10)] == [DocumentVersion("d", 1)]


async def test_a_worker_that_never_reports_does_not_keep_a_deleted_version_for_ever(
    docs: SqliteRecords, clock: Clock
) -> None:
    await begin(docs)
    await docs.delete_document("acme", "docs", "d")
    clock.advance(3_601)
    [retired] = await docs.retired_versions(10, 10)
    await docs.forget_versions(INDEX, [retired.version])
    assert await activate(docs) is ActivationOutcome.SUPERSEDED  # very late: hidden again, swept again
    assert await hidden(docs) == {("d", 1)}


async def test_pending_versions_are_listed_with_all_that_their_job_needs(docs: SqliteRecords, clock: Clock) -> None:
    await begin(docs, "d")
    clock.advance(5)
    await begin(docs, "e", "j2")
    clock.advance(26)
    [old] = await docs.pending_versions(30, 10)
    assert (old.tenant, old.collection_id, old.document_id, old.version) == ("acme", "docs", "d", 1)
    assert (old.job_id, old.batch_id, old.principal, old.groups) == ("j1", "b1", "ann", ("staff",))
    assert (old.blob_key, old.media_type, old.metadata) == ("blob/j1", MediaType.MARKDOWN, {"by": "j1"})
    assert (old.created_at, old.index, old.title) == (START, INDEX, "title j1")
    clock.advance(5)
    assert [v.document_id for v in await docs.pending_versions(30, 1)] == ["d"]
    assert [v.document_id for v in await docs.pending_versions(30, 10)] == ["d", "e"]
    await activate(docs, "d")
    await docs.fail_version("acme", "docs", "e", 1, "no")
    assert await docs.pending_versions(0, 10) == []


_KILLED = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])  # this folder
import test_records_contract as t
from ragmesh_backends.model.document import DocumentVersion
async def main():
    database = await t.Database.open(Path(sys.argv[1]), [t.RECORDS_SCHEMA])
    records = t.SqliteRecords(database)
    await records.create_collection(t.COLLECTION)
    for n in range(1_000_000):
        job = f"j{n}"
        await records.begin_versions("acme", "docs", [t.new(f"d{m}", job) for m in range(10)])
        await records.activate_versions("acme", "docs", [t.ready(f"d{m}", n + 1) for m in range(10)])
        print(n, flush=True)
asyncio.run(main())
"""


async def test_after_kill_9_of_the_writer_every_batch_is_whole_and_the_counters_are_right(
    tmp_path: Path,
) -> None:
    path = tmp_path / "killed.db"
    here = str(Path(__file__).parent)
    acknowledged = await run_and_kill(_KILLED, str(path), here, after_lines=20)
    async with await Database.open(path, [RECORDS_SCHEMA]) as database:
        records = SqliteRecords(database)
        found = await records.list_documents("acme", "docs", "", 100)
        assert len({d.active_version for d in found}) == 1  # never some of a batch
        assert found[0].active_version in {acknowledged, acknowledged + 1}
        assert len({d.latest_version for d in found}) == 1
        assert await counters(records) == (10, 0, 0)
        for document in found:
            assert len(await records.list_chunks("acme", "docs", document.document_id, -1, 9)) == 3
        active = {DocumentVersion(d.document_id, d.active_version) for d in found}
        assert not active & await records.hidden_versions(INDEX)
