"""The port of records: many writers at once, and one that is killed. What every adapter must do."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.document import (
    ActivationOutcome,
    DocumentVersion,
)
from ragmesh_backends.records.clock import wall_clock
from ragmesh_servicekit.errors import AlreadyExists
from support.killed_child import run_and_kill
from support.record_store import (
    ACME,
    COLLECTION,
    INDEX,
    RUN,
    Records,
    activate,
    begin,
    counters,
    emptied,
    hidden,
    new,
    opened,
)


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
from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.records.clock import wall_clock
from support import record_store as t
async def main():
    async with t.opened(adapter, Path(path), wall_clock) as records:
        await records.create_collection(replace(t.COLLECTION, tenant=tenant, index=IndexRef(tenant, index)))
        for n in range(1_000_000):
            job = f"j{n}"
            await records.begin_versions(IndexRef(tenant, index), [t.new(f"d{m}", job) for m in range(10)])
            await records.activate_versions(IndexRef(tenant, index), [t.ready(f"d{m}", n + 1) for m in range(10)])
            print(n, flush=True)
asyncio.run(main())
"""


async def test_after_kill_9_of_the_writer_every_batch_is_whole_and_the_counters_are_right(
    adapter: str, tmp_path: Path
) -> None:
    path = tmp_path / "killed.db"
    here = str(Path(__file__).parents[2])
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
