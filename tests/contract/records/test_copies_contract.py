"""The port through which backups read and restore the record: what every adapter must do."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ragmesh_backends.model.collection import Collection, IndexRef, IndexSpec
from ragmesh_backends.model.copies import DELETED, DocumentCopy, Published
from ragmesh_backends.model.document import Chunk, DocumentVersion, MediaType, NewVersion, ReadyVersion
from ragmesh_backends.model.key import KeyRecord
from ragmesh_backends.records.keys import KEYS_SCHEMA, SqliteKeys
from ragmesh_backends.records.neo4j import Neo4jKeys, Neo4jRecords
from ragmesh_backends.records.neo4j.copies import Neo4jCopies
from ragmesh_backends.records.neo4j.schema import NEO4J_KEYS_SCHEMA, NEO4J_RECORDS_SCHEMA
from ragmesh_backends.records.sqlite import RECORDS_SCHEMA, SqliteRecords
from ragmesh_backends.records.sqlite.copies import SqliteCopies
from ragmesh_backends.sqlite.database import Database
from ragmesh_servicekit.errors import Aborted, AlreadyExists, NotFound
from support import neo4j

RUN = secrets.token_hex(4)
ACME, OTHER = f"acme-{RUN}", f"other-{RUN}"
NOW = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
FROM = IndexRef(ACME, f"from-{RUN}")
KEY = KeyRecord(f"k1-{RUN}", ACME, "key:k1", "laptop", frozenset({"search"}), ("staff",), "ab" * 32, NOW)
HOSTILE = "'; DROP TABLE documents; --/\U0001f600\u202e"


@dataclass
class Store:
    records: SqliteRecords | Neo4jRecords
    copies: SqliteCopies | Neo4jCopies
    keys: SqliteKeys | Neo4jKeys


@pytest.fixture(params=["sqlite", pytest.param("neo4j", marks=neo4j.needed)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "sqlite":
        async with await Database.open(tmp_path / "mesh.db", [RECORDS_SCHEMA, KEYS_SCHEMA]) as database:
            yield Store(SqliteRecords(database), SqliteCopies(database), SqliteKeys(database))
        return
    async with neo4j.opened(NEO4J_RECORDS_SCHEMA, NEO4J_KEYS_SCHEMA) as client:
        yield Store(Neo4jRecords(client), Neo4jCopies(client), Neo4jKeys(client))
    await neo4j.forget_tenants(ACME, OTHER)


def collection(index: str, collection_id: str = "docs", tenant: str = ACME) -> Collection:
    ref = IndexRef(tenant, f"{index}-{RUN}")
    return Collection(tenant, collection_id, "Docs", ref, IndexSpec("mini", 4), "0" * 16, NOW, NOW, labels={"a": "b"})


async def put(store: Store, document_id: str, job: str, *, active: bool = True, index: IndexRef = FROM) -> None:
    new = NewVersion(document_id, job, MediaType.HTML, 7, "ab", f"x/{job}", job, "ann", ("staff",), "b1", {"by": job})
    [begun] = await store.records.begin_versions(index, [new])
    chunks = tuple(
        Chunk(f"{job}{n}", document_id, begun.version, n, "", ("T", "other")[n], ("H", "I"), n, n + 1, page=n or None)
        for n in range(2)
    )
    if active:
        ready = ReadyVersion(document_id, begun.version, "T", chunks, f"x/{job}.parsed")
        await store.records.activate_versions(index, [ready])


@pytest.fixture
async def filled(store: Store) -> Store:
    await store.records.create_collection(collection("from"))
    await put(store, HOSTILE, "j1")
    await put(store, HOSTILE, "j2")
    await put(store, HOSTILE, "j3", active=False)
    await put(store, "waits", "j4", active=False)
    await put(store, "bad", "j5", active=False)
    await store.records.fail_version(FROM, "bad", 1, "it is no text")
    await put(store, "gone", "j6")
    await store.records.delete_document(ACME, "docs", "gone")
    return store


async def read(store: Store, index: IndexRef) -> list[DocumentCopy]:
    return await store.copies.copies(index, [mark.document_id for mark in await store.copies.marks(index)])


def on(index: IndexRef, copies: list[DocumentCopy]) -> list[DocumentCopy]:
    """The same documents on another index."""
    return [
        replace(copy, versions=tuple(replace(version, index=index) for version in copy.versions)) for copy in copies
    ]


async def test_copies_are_whole_and_bear_the_marks_of_the_listing(filled: Store) -> None:
    index = collection("from").index
    marks = await filled.copies.marks(index)
    copies = await read(filled, index)
    assert [mark.document_id for mark in marks] == sorted([HOSTILE, "waits", "bad", "gone"])
    assert [copy.mark for copy in copies] == marks
    assert all(copy.is_whole() for copy in copies)
    found = {copy.mark.document_id: copy for copy in copies}
    assert [version.version for version in found[HOSTILE].versions] == [2, 3]
    assert found[HOSTILE].active is not None
    assert [chunk.title for chunk in found[HOSTILE].chunks] == ["T", "other"]
    assert found["gone"].document is None
    assert (found["gone"].mark.state, found["gone"].mark.latest_version) == (DELETED, 1)
    assert await filled.copies.copies(index, ["nobody"]) == []


async def test_every_change_of_a_document_gives_it_another_mark(filled: Store) -> None:
    index = collection("from").index
    before = {mark.document_id: mark for mark in await filled.copies.marks(index)}
    await put(filled, HOSTILE, "j7", active=False)
    await put(filled, "waits", "j8")
    await filled.records.delete_document(ACME, "docs", "bad")
    after = {mark.document_id: mark for mark in await filled.copies.marks(index)}
    assert [name for name in sorted(before) if before[name] != after[name]] == sorted([HOSTILE, "waits", "bad"])


async def test_what_was_staged_is_seen_only_when_it_is_published_and_is_what_was_read(filled: Store) -> None:
    copies = await read(filled, collection("from").index)
    await filled.records.delete_collection(ACME, "docs")
    to = collection("to")
    for _ in range(2):  # bears repetition
        await filled.copies.stage(to)
        await filled.copies.add(to.index, on(to.index, copies))
    assert await filled.copies.staged(ACME) == [to.index]
    with pytest.raises(NotFound):
        await filled.records.get_collection(ACME, "docs")
    with pytest.raises(NotFound):
        await filled.copies.marks(to.index)
    assert await filled.copies.collections(ACME) == []
    waiting = await filled.records.pending_versions(-60, 1000)
    assert not any(one.tenant == ACME for one in waiting)
    for again in (False, True):
        published = await filled.copies.publish([to.index], [], replace=False)
        assert published == Published(None if again else (), ())
    assert await read(filled, to.index) == on(to.index, copies)
    shown = await filled.records.get_collection(ACME, "docs")
    assert (shown.index, shown.labels, shown.spec) == (to.index, to.labels, to.spec)
    assert (shown.documents_ready, shown.documents_pending, shown.documents_failed) == (1, 1, 1)
    assert shown.generation != to.generation
    hidden = await filled.records.hidden_versions(to.index)
    assert hidden == {DocumentVersion(HOSTILE, 3), DocumentVersion("waits", 1)}
    waiting = [one for one in await filled.records.pending_versions(-60, 1000) if one.tenant == ACME]
    assert {(one.document_id, one.job_id) for one in waiting} == {(HOSTILE, "j3"), ("waits", "j4")}
    with pytest.raises(NotFound):  # of a job that began before the restore: its rows are elsewhere
        await filled.records.activate_versions(FROM, [ReadyVersion("waits", 1, "T", (), "x")])
    await put(filled, "gone", "j9", index=to.index)
    assert (await filled.records.get_document(ACME, "docs", "gone")).active_version == 2


async def test_collections_that_are_replaced_go_in_the_moment_in_which_the_others_come(filled: Store) -> None:
    await filled.records.create_collection(collection("more", "more"))
    await filled.records.create_collection(collection("theirs", tenant=OTHER))
    to = collection("to")
    await filled.copies.stage(to)
    with pytest.raises(AlreadyExists):
        await filled.copies.publish([to.index], [KEY], replace=False)
    assert (await filled.records.get_collection(ACME, "docs")).index == collection("from").index
    with pytest.raises(NotFound):  # a key comes with the collections or not at all
        await filled.keys.get(KEY.key_id)
    gone = await filled.copies.publish([to.index], [KEY], replace=True)
    assert gone.replaced is not None
    assert [one.collection_id for one in gone.replaced] == ["docs", "more"]
    assert (gone.kept_keys, await filled.keys.get(KEY.key_id)) == ((), KEY)
    await filled.keys.revoke(ACME, KEY.key_id)
    await filled.records.create_collection(collection("since", "since"))
    again = await filled.copies.publish([to.index], [KEY], replace=True)  # of a call whose reply was lost
    assert again == Published(None, (KEY.key_id,))
    assert (await filled.keys.get(KEY.key_id)).revoked_at is not None
    await filled.records.delete_collection(ACME, "since")
    assert [one.index for one in await filled.copies.collections(ACME)] == [to.index]
    assert [one.collection_id for one in await filled.copies.collections(OTHER)] == ["docs"]
    everyone = {one.index for one in await filled.copies.collections("")}
    assert everyone >= {to.index, collection("theirs", tenant=OTHER).index}


async def test_what_was_abandoned_is_the_sweepers_and_cannot_be_published(filled: Store) -> None:
    to = collection("to")
    await filled.copies.stage(to)
    dropped = {one.index: one.dropped_at for one in await filled.records.list_dropped_indexes(10_000)}
    assert dropped[to.index] > datetime.now(UTC)
    await filled.copies.abandon([to.index, collection("from").index])
    assert await filled.copies.staged(ACME) == []
    with pytest.raises(Aborted):
        await filled.copies.add(to.index, [])
    with pytest.raises(Aborted):
        await filled.copies.publish([to.index], [KEY], replace=True)
    dropped = {one.index: one.dropped_at for one in await filled.records.list_dropped_indexes(10_000)}
    assert dropped[to.index] <= datetime.now(UTC)
    assert (await filled.records.get_collection(ACME, "docs")).documents_ready == 1
