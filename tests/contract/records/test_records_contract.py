"""The port of records: collections, documents, versions and what is hidden. What every adapter must do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.document import (
    ActivationOutcome,
    DocumentState,
    DocumentVersion,
    VersionState,
)
from ragmesh_servicekit.errors import AlreadyExists, NotFound, Reason
from support.record_store import (
    ACME,
    COLLECTION,
    HOSTILE,
    INDEX,
    OTHER,
    RUN,
    START,
    Clock,
    Records,
    activate,
    begin,
    counters,
    hidden,
    new,
    ours,
    ready,
)

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
