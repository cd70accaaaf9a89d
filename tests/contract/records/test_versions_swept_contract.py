"""The port of records: what waits to be swept, and what still waits for its job. What every adapter must do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.document import (
    ActivationOutcome,
    DocumentVersion,
    MediaType,
    VersionState,
)
from ragmesh_servicekit.errors import NotFound
from support.record_store import (
    ACME,
    COLLECTION,
    HOSTILE,
    INDEX,
    RUN,
    START,
    Clock,
    Records,
    activate,
    begin,
    hidden,
    new,
)


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
