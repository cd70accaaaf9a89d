"""The port of the entity graph: what every adapter must do."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from ragmesh_backends.graphs.neo4j import NEO4J_GRAPH_SCHEMA, Neo4jGraph
from ragmesh_backends.graphs.sqlite import GRAPH_SCHEMA, SqliteGraph
from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.document import DocumentVersion
from ragmesh_backends.model.graph import ChunkEntities, Link
from ragmesh_backends.model.tokens import words
from ragmesh_backends.sqlite.database import Database
from ragmesh_servicekit.errors import InvalidArgument
from support import neo4j
from support.killed_child import run_and_kill

INDEX = IndexRef(f"acme-{uuid4().hex}", "ix1")
OTHER_TENANT = f"other-{uuid4().hex}"
"""Of this process alone: a Neo4j server may be shared."""

HUB = 12
"""Set low, so that a few chunks make a hub."""


Graph = SqliteGraph | Neo4jGraph


@pytest.fixture(params=["sqlite", pytest.param("neo4j", marks=neo4j.needed)])
async def graph(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Graph]:
    if request.param == "sqlite":
        async with await Database.open(tmp_path / "mesh.db", [GRAPH_SCHEMA]) as database:
            yield SqliteGraph(database, hub_occurrences=HUB, targets_per_entity=4)
        return
    async with neo4j.opened(NEO4J_GRAPH_SCHEMA) as client:
        yield Neo4jGraph(client, hub_occurrences=HUB, targets_per_entity=4)
    await neo4j.forget_tenants(INDEX.tenant, OTHER_TENANT)


def chunk(name: str, about: Iterable[str], text: str, version: int = 1, ordinal: int = 0) -> ChunkEntities:
    return ChunkEntities(f"{name}:{version}:{ordinal}", name, version, ordinal, tuple(about), words(text))


async def mentions(graph: Graph, name: str, index: IndexRef = INDEX) -> set[str]:
    return {link.entity for link in await graph.links(index, [f"{name}:1:0"])}


NEW_YORK = chunk("ny", ["new york"], "a state of many towns")
NEW_YORK_CITY = chunk("nyc", ["new york city"], "the city lies in New York, called New York City")


@pytest.mark.parametrize("mentioning_first", [True, False])
async def test_a_mention_is_found_whichever_chunk_comes_first(graph: Graph, mentioning_first: bool) -> None:
    source = chunk("s", ["ann"], "Ann moved to New York in 1990")
    for one in [source, NEW_YORK] if mentioning_first else [NEW_YORK, source]:
        await graph.write(INDEX, [one])
    assert await graph.links(INDEX, ["s:1:0", "ny:1:0", "unknown"]) == [
        Link("s:1:0", "new york", "ny:1:0", "ny", 1, out_degree=1, in_degree=1)
    ]


async def test_a_longer_name_covers_the_shorter_inside_it_only(graph: Graph) -> None:
    covered = chunk("a", [], "He lives in New York City.")
    both = chunk("b", [], "New York City is in New York")
    await graph.write(INDEX, [covered, both, NEW_YORK, NEW_YORK_CITY])
    assert await mentions(graph, "a") == {"new york city"}
    assert await mentions(graph, "b") == {"new york city", "new york"}


async def test_names_that_overlap_both_count(graph: Graph) -> None:
    await graph.write(
        INDEX,
        [
            chunk("x", ["bank of new york"], "x"),
            chunk("y", ["new york mellon"], "y"),
            chunk("s", [], "the Bank of New York Mellon"),
        ],
    )
    assert await mentions(graph, "s") == {"bank of new york", "new york mellon"}


async def test_a_chunk_does_not_mention_what_it_is_about(graph: Graph) -> None:
    await graph.write(INDEX, [NEW_YORK, NEW_YORK_CITY])
    assert await mentions(graph, "nyc") == {"new york"}  # its own name covers one of the two places


async def test_words_match_whole_and_in_every_script(graph: Graph) -> None:
    names = ["Élan vital", "東京", "Ὀδυσσεύς", "Straße", "𞤀𞤁𞤂", "ſtar x", "e4"]
    await graph.write(INDEX, [chunk(f"t{n}", [" ".join(words(name))], "-") for n, name in enumerate(names)])
    await graph.write(INDEX, [chunk(f"s{n}", [], f"so ELAN {name}, or") for n, name in enumerate(names)])
    await graph.write(INDEX, [chunk("no", [], "elan vitals, 東京都 strassen elanvital e 4")])
    for n, name in enumerate(names):
        assert await mentions(graph, f"s{n}") == {" ".join(words(name))}
    assert await mentions(graph, "no") == set()


async def test_indexes_and_tenants_do_not_see_each_other(graph: Graph) -> None:
    source = chunk("s", [], "in New York")
    others = [IndexRef(INDEX.tenant, "ix2"), IndexRef(OTHER_TENANT, "ix1")]
    for other in others:
        await graph.write(other, [NEW_YORK])
    await graph.write(INDEX, [source])
    assert await mentions(graph, "s") == set()
    assert await graph.about(INDEX, ["new york"], 10) == []
    for other in others:
        assert await graph.links(other, ["s:1:0"]) == []
        await graph.write(other, [source])
        [link] = await graph.links(other, ["s:1:0"])
        assert link.in_degree == 1


async def test_a_repeated_write_changes_nothing_and_a_changed_chunk_is_replaced(graph: Graph) -> None:
    source = chunk("s", ["ann"], "New York")
    await graph.write(INDEX, [source, NEW_YORK])
    before = await graph.links(INDEX, ["s:1:0"])
    await graph.write(INDEX, [source, NEW_YORK])
    await graph.write(INDEX, [NEW_YORK])
    assert await graph.links(INDEX, ["s:1:0"]) == before
    await graph.write(INDEX, [chunk("s", ["bob"], "nowhere")])
    assert await graph.links(INDEX, ["s:1:0"]) == []
    assert await graph.about(INDEX, ["ann"], 10) == []
    assert len(await graph.about(INDEX, ["bob"], 10)) == 1
    assert (await graph.about(INDEX, ["new york"], 10))[0].in_degree == 0


async def test_targets_of_two_versions_are_there_until_one_is_deleted(graph: Graph) -> None:
    await graph.write(INDEX, [chunk("s", [], "New York"), NEW_YORK, chunk("ny", ["new york"], "x", version=2)])
    assert [link.target_version for link in await graph.links(INDEX, ["s:1:0"])] == [1, 2]
    await graph.delete_versions(INDEX, [DocumentVersion("ny", 1), DocumentVersion("ny", 7), DocumentVersion("ny", 1)])
    assert [link.target_version for link in await graph.links(INDEX, ["s:1:0"])] == [2]
    await graph.delete_versions(INDEX, [DocumentVersion("ny", 2)])
    assert await graph.links(INDEX, ["s:1:0"]) == []


async def test_a_name_that_disappears_uncovers_the_shorter_ones(graph: Graph) -> None:
    await graph.write(INDEX, [chunk("s", [], "New York City"), NEW_YORK, NEW_YORK_CITY])
    assert await mentions(graph, "s") == {"new york city"}
    await graph.delete_versions(INDEX, [DocumentVersion("nyc", 1)])
    assert await mentions(graph, "s") == {"new york"}


async def test_links_are_ordered_by_rarity_and_bounded(graph: Graph) -> None:
    await graph.write(INDEX, [chunk(f"t{n}", ["common"], "-", ordinal=0) for n in range(6)])
    await graph.write(INDEX, [chunk("r", ["rare"], "-"), chunk("other", [], "common")])
    await graph.write(INDEX, [chunk("s", [], "common and rare")])
    links = await graph.links(INDEX, ["s:1:0"])
    assert [(link.entity, link.target_document_id) for link in links] == [
        ("rare", "r"),
        *(("common", f"t{n}") for n in range(4)),  # targets_per_entity
    ]
    assert {(link.out_degree, link.in_degree) for link in links} == {(2, 1), (2, 2)}
    assert await graph.links(INDEX, ["s:1:0"], limit_per_chunk=2) == links[:2]
    assert await graph.links(INDEX, ["s:1:0", "s:1:0"]) == links


async def test_a_question_names_entities_without_a_source(graph: Graph) -> None:
    await graph.write(INDEX, [NEW_YORK, NEW_YORK_CITY])
    links = await graph.about(INDEX, ["new york city", "new york", "nothing"], 10)
    assert links == [
        Link("", "new york city", "nyc:1:0", "nyc", 1, out_degree=2, in_degree=0),
        Link("", "new york", "ny:1:0", "ny", 1, out_degree=2, in_degree=1),
    ]
    assert await graph.about(INDEX, ["new york city", "new york"], 1) == links[:1]


async def test_a_hub_is_not_linked_until_it_is_rare_again(graph: Graph) -> None:
    holders = [chunk(f"h{n}", [], f"water {n}") for n in range(HUB)]
    await graph.write(INDEX, [*holders, chunk("w", ["water"], "-"), chunk("c", ["water 3"], "-")])
    assert await mentions(graph, "h3") == {"water 3"}
    assert await mentions(graph, "h4") == {"water"}
    await graph.write(INDEX, [chunk("one", [], "more water")])
    for name in ("h4", "one"):
        assert await mentions(graph, name) == set()
    assert len(await graph.about(INDEX, ["water"], 10)) == 1
    await graph.delete_versions(INDEX, [DocumentVersion("h0", 1)])
    for name in ("h4", "one"):
        assert await mentions(graph, name) == {"water"}


async def test_tokens_that_no_tokenizer_of_ours_makes_are_refused(graph: Graph) -> None:
    for bad in (
        ChunkEntities("a", "a", 1, 0, ('x" OR y',), ()),
        ChunkEntities("a", "a", 1, 0, ("new  york",), ()),
        ChunkEntities("a", "a", 1, 0, (), ("new york",)),
    ):
        with pytest.raises(InvalidArgument):
            await graph.write(INDEX, [bad])


async def test_a_dropped_index_is_empty_and_can_be_dropped_again(graph: Graph) -> None:
    other = IndexRef(INDEX.tenant, "ix2")
    many = [chunk(f"d{n}", [f"name{n}"], f"name{n + 1}") for n in range(450)]
    await graph.write(INDEX, many)
    await graph.write(other, many[:2])
    await graph.drop_index(INDEX)
    await graph.drop_index(INDEX)
    assert await graph.links(INDEX, ["d0:1:0"]) == []
    assert await graph.about(INDEX, ["name1"], 10) == []
    assert await mentions(graph, "d0", other) == {"name1"}
    await graph.write(INDEX, many[:2])
    assert await mentions(graph, "d0") == {"name1"}
    await graph.ping()


def naive_links(chunks: Sequence[ChunkEntities]) -> dict[str, set[tuple[str, str, int, int]]]:
    """The rule of `ragmesh_backends.graphs.mentions`, written down a second time in the plainest way."""
    names = {name for one in chunks for name in one.about}
    runs = {
        one.chunk_id: [
            (i, j)
            for i in range(len(one.tokens))
            for j in range(i + 1, min(i + 9, len(one.tokens) + 1))
            if " ".join(one.tokens[i:j]) in names
        ]
        for one in chunks
    }

    def name(one: ChunkEntities, run: tuple[int, int]) -> str:
        return " ".join(one.tokens[slice(*run)])

    holders: dict[str, int] = defaultdict(int)
    for one in chunks:
        for held in {name(one, run) for run in runs[one.chunk_id]}:
            holders[held] += 1
    edges: dict[str, set[str]] = {}
    for one in chunks:
        kept = [run for run in runs[one.chunk_id] if holders[name(one, run)] <= HUB]
        edges[one.chunk_id] = {
            name(one, run) for run in kept if not any(o != run and o[0] <= run[0] and run[1] <= o[1] for o in kept)
        } - set(one.about)
    degree: dict[str, int] = defaultdict(int)
    for found in edges.values():
        for entity in found:
            degree[entity] += 1
    return {key: {(e, key, len(found), degree[e]) for e in found} for key, found in edges.items()}


async def stored_links(graph: Graph, index: IndexRef, chunks: Sequence[ChunkEntities]) -> object:
    links = await graph.links(index, [one.chunk_id for one in chunks], limit_per_chunk=1_000)
    found: dict[str, set[tuple[str, str, int, int]]] = {one.chunk_id: set() for one in chunks}
    for link in links:
        found[link.source_chunk_id].add((link.entity, link.source_chunk_id, link.out_degree, link.in_degree))
    return found


@pytest.mark.parametrize("seed", range(6))
async def test_the_links_do_not_depend_on_the_order_of_writes_and_deletes(graph: Graph, seed: int) -> None:
    rng = random.Random(seed)
    letters = "abcdefg"

    def run(least: int, most: int) -> str:
        return " ".join(rng.choice(letters) for _ in range(rng.randint(least, most)))

    chunks = [chunk(f"d{n}", {run(1, 4) for _ in range(rng.randint(0, 2))}, run(0, 14)) for n in range(40)]
    passing = [chunk(f"p{n}", [run(1, 3)], run(0, 10)) for n in range(15)]
    expected = naive_links(chunks)
    for order in range(3):
        index = IndexRef(INDEX.tenant, f"order{order}")
        todo: list[ChunkEntities] = [*chunks, *passing]
        rng.shuffle(todo)
        while todo:
            batch = [todo.pop() for _ in range(min(len(todo), rng.randint(1, 9)))]
            await graph.write(index, batch)
        doomed = [DocumentVersion(one.document_id, 1) for one in passing]
        rng.shuffle(doomed)
        await graph.delete_versions(index, doomed[:7])
        await graph.delete_versions(index, doomed[7:])
        assert await stored_links(graph, index, chunks) == expected


KILLED = IndexRef("acme", "ix1")  # the child has a tenant of its own in INDEX
_KILLED = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])  # this folder
import test_graphs_contract as t
async def main():
    graph = t.SqliteGraph(await t.Database.open(Path(sys.argv[1]), [t.GRAPH_SCHEMA]), hub_occurrences=t.HUB)
    for n in range(0, 1_000_000, 8):
        await graph.write(t.KILLED, [t.chain(m) for m in range(n, n + 8)])
        print(n, flush=True)
asyncio.run(main())
"""


def chain(n: int) -> ChunkEntities:
    return chunk(f"d{n}", [f"name{n}"], f"name{n - 1} name{n + 1}")


async def test_after_kill_9_of_the_writer_the_graph_is_that_of_whole_batches(tmp_path: Path) -> None:
    path = tmp_path / "killed.db"
    here = str(Path(__file__).parent)
    acknowledged = 8 * await run_and_kill(_KILLED, str(path), here, after_lines=20)
    async with await Database.open(path, [GRAPH_SCHEMA]) as database:
        graph = SqliteGraph(database, hub_occurrences=HUB)
        after = [f"name{n}" for n in range(acknowledged, acknowledged + 8)]
        extra = len(await graph.about(KILLED, after, 100))
        assert extra in {0, 8}
        chunks = [chain(n) for n in range(acknowledged + extra)]
        assert await stored_links(graph, KILLED, chunks) == naive_links(chunks)
        more = [chain(n) for n in range(acknowledged + extra + 8)]
        await graph.write(KILLED, more[-8:])
        assert await stored_links(graph, KILLED, more) == naive_links(more)


async def test_chunks_are_returned_as_they_were_written(graph: Graph) -> None:
    await graph.write(INDEX, [NEW_YORK, NEW_YORK_CITY, chunk("bare", ["b", "a"], "")])
    found = {one.document_id: one for one in await graph.chunks(INDEX, ["ny:1:0", "bare:1:0", "unknown"])}
    assert found == {"ny": NEW_YORK, "bare": chunk("bare", ["a", "b"], "")}
    assert await graph.chunks(IndexRef(OTHER_TENANT, INDEX.name), ["ny:1:0"]) == []
