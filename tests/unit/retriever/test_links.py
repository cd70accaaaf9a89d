"""What passages and questions point at."""

from __future__ import annotations

import pytest

from ragmesh_backends.model.document import DocumentVersion
from ragmesh_backends.model.graph import Link
from ragmesh_retriever.domain.links import LinkMap, names_in, worth
from support.small_stores import passage


def link(source: str, target: str, *, entity: str = "entity", out_degree: int = 1, version: int = 1) -> Link:
    return Link(source, entity, f"{target}:{version}:0", target, version, out_degree, 1)


def test_names_are_runs_of_up_to_eight_words() -> None:
    names = names_in("Who wrote The Tin Drum?")
    assert "the tin drum" in names
    assert "who wrote the tin drum" in names
    assert len(names_in("one two three four five six seven eight nine")) == 8 * 2 + sum(range(1, 8))


def test_numbers_and_single_letters_name_nothing() -> None:
    assert names_in("a 1984 7") == ("a 1984", "a 1984 7")


def test_a_question_of_five_thousand_characters_asks_for_a_bounded_number_of_names() -> None:
    assert len(names_in(" ".join(f"word{i}" for i in range(800)))) <= 8 * 64


def test_a_list_of_everything_recommends_less_than_a_passage() -> None:
    assert worth(link("a", "b", out_degree=0)) == worth(link("a", "b", out_degree=10)) == 1.0
    assert worth(link("a", "b", out_degree=1000)) == pytest.approx(0.1)


def test_a_document_recommends_neither_itself_nor_others_of_its_title() -> None:
    source = passage("a", "Mercury (planet)", "text").chunk
    links = LinkMap()
    links.add(
        [source],
        [
            link(source.chunk_id, "a", entity="venus"),
            link(source.chunk_id, "b", entity="mercury"),
            link(source.chunk_id, "c", entity="venus"),
        ],
        frozenset(),
    )
    assert [found.target_document_id for found in links.outgoing[source.chunk_id]] == ["c"]


def test_links_to_hidden_versions_and_of_unasked_sources_are_dropped() -> None:
    source = passage("a", "A", "text").chunk
    links = LinkMap()
    found = [
        link(source.chunk_id, "b", version=2),
        link(source.chunk_id, "b", version=1),
        link("stranger:1:0", "c"),
    ]
    links.add([source], found, frozenset({DocumentVersion("b", 2)}))
    assert links.outgoing == {source.chunk_id: (found[1],)}


def test_targets_are_bounded_and_the_most_promising_come_first() -> None:
    links = LinkMap(named=(link("", "named"),))
    links.outgoing = {
        "weak": (link("weak", "w1"), link("weak", "known")),
        "strong": (link("strong", "s2"), link("strong", "s1"), link("strong", "list", out_degree=1000)),
    }
    wanted = links.targets({"weak": 0.4, "strong": 0.9}, 4, {"known:1:0"})
    assert wanted == ("named:1:0", "s1:1:0", "s2:1:0", "w1:1:0")
