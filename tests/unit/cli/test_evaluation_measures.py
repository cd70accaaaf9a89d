"""Recall and nDCG against values worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from ragmesh_cli.evaluation.dataset import load
from ragmesh_cli.evaluation.measures import ndcg, percentile, recall
from ragmesh_cli.failure import Failure

RELEVANT = {"a": 1, "b": 1, "c": 2}


def test_recall_is_the_share_of_the_relevant_that_was_found() -> None:
    assert recall(["x", "a", "c"], RELEVANT, 2) == pytest.approx(1 / 3)
    assert recall(["x", "a", "c"], RELEVANT, 3) == pytest.approx(2 / 3)


def test_ndcg_weighs_relevance_by_rank_and_is_one_for_the_ideal_order() -> None:
    assert ndcg(["c", "a", "b"], RELEVANT, 10) == pytest.approx(1.0)
    gained = 1 / math.log2(3) + 2 / math.log2(4)
    ideal = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(["x", "a", "c"], RELEVANT, 10) == pytest.approx(gained / ideal)
    assert ndcg([], RELEVANT, 10) == 0.0


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentile([4, 1, 3, 2], 0.5) == 2
    assert percentile([4, 1, 3, 2], 0.95) == 4


def write_set(folder: Path, qrels: str) -> Path:
    (folder / "qrels").mkdir()
    (folder / "corpus.jsonl").write_text('{"_id": "a", "title": "T", "text": "x"}\n')
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "?"}\n{"_id": "unjudged", "text": "?"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + qrels)
    return folder


def test_a_set_keeps_the_queries_that_are_judged(tmp_path: Path) -> None:
    dataset = load(write_set(tmp_path, "q\ta\t1\nq\tb\t0\n"))
    assert dict(dataset.queries) == {"q": "?"}
    assert dict(dataset.qrels) == {"q": {"a": 1}}


def test_a_wrong_line_is_named_by_file_and_number(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"test\.tsv:2"):
        load(write_set(tmp_path, "q\ta\tmuch\n"))


def test_a_folder_that_is_no_set_is_refused_by_the_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"corpus\.jsonl"):
        load(tmp_path)
