"""Judged sets in BEIR form: what is read, and what is refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragmesh_cli.evaluation.dataset import load
from ragmesh_cli.failure import Failure

CORPUS = '{"_id": "a", "title": "T", "text": "x"}\n'
QUERIES = '{"_id": "q", "text": "?"}\n'
QRELS = "query-id\tcorpus-id\tscore\nq\ta\t1\n"


def write(folder: Path, *, corpus: str = CORPUS, queries: str = QUERIES, qrels: str = QRELS) -> Path:
    (folder / "qrels").mkdir()
    (folder / "corpus.jsonl").write_text(corpus)
    (folder / "queries.jsonl").write_text(queries)
    (folder / "qrels" / "test.tsv").write_text(qrels)
    return folder


def test_passages_without_title_and_text_are_left_out_and_a_missing_title_is_empty(tmp_path: Path) -> None:
    rows = ('{"_id": "a", "text": "x"}', "", '{"_id": "b", "title": "B", "text": ""}', '{"_id": "c", "text": " "}')
    dataset = load(write(tmp_path, corpus="\n".join(rows)))
    assert [(p.passage_id, p.title, p.text) for p in dataset.corpus] == [("a", "", "x"), ("b", "B", "")]


def test_judgements_of_zero_and_queries_without_any_do_not_count(tmp_path: Path) -> None:
    queries = QUERIES + '{"_id": "unjudged", "text": "?"}\n{"_id": "zero", "text": "?"}\n'
    dataset = load(write(tmp_path, queries=queries, qrels=QRELS + "zero\ta\t0\n"))
    assert dict(dataset.queries) == {"q": "?"}
    assert dataset.qrels == {"q": {"a": 1}}


def test_a_folder_that_is_no_judged_set_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"not in BEIR form; corpus\.jsonl is missing"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"corpus": "[1]\n"}, r"corpus\.jsonl:1: is not a JSON object"),
        ({"corpus": CORPUS + "x\n"}, r"corpus\.jsonl:2: is not JSON"),
        ({"corpus": '{"_id": 1, "text": "x"}\n'}, r"corpus\.jsonl:1: _id must be text"),
        ({"queries": '{"_id": "q"}\n'}, r"queries\.jsonl:1: text must be text"),
        ({"qrels": "query-id\tcorpus-id\tscore\nq\ta\thigh\n"}, r"test\.tsv:2: must be query-id"),
        ({"qrels": "q 0 a 1\nq 0 a 1\n"}, r"test\.tsv:2: must be query-id"),
        ({"qrels": "query-id\tcorpus-id\tscore\n"}, "no judged queries"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, files: dict[str, str], sentence: str) -> None:
    with pytest.raises(Failure, match=sentence):
        load(write(tmp_path, **files))


def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "corpus.jsonl").write_bytes(b'{"_id": "a", "text": "caf\xe9"}\n')
    with pytest.raises(Failure, match=r"corpus\.jsonl: is not valid UTF-8"):
        load(folder)
