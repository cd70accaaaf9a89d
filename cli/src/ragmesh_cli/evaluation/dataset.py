"""Judged retrieval sets in BEIR form: corpus.jsonl, queries.jsonl, qrels/test.tsv."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragmesh_cli.failure import Failure


@dataclass(frozen=True, slots=True)
class Passage:
    passage_id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """qrels: query id -> document id -> relevance, 1 and up. Only queries that have judgements are kept."""

    name: str
    corpus: tuple[Passage, ...]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]


def load(folder: Path) -> Dataset:
    """Read a set, without the passages that have neither title nor text. Raises Failure naming the file and line that
    is wrong."""
    for part in (folder / "corpus.jsonl", folder / "queries.jsonl", folder / "qrels" / "test.tsv"):
        if not part.is_file():
            raise Failure(f"{folder}: is not in BEIR form; {part.relative_to(folder)} is missing")
    passages = (
        Passage(_text(row, "_id", where), str(row.get("title") or ""), _text(row, "text", where))
        for row, where in _jsonl(folder / "corpus.jsonl")
    )
    corpus = tuple(passage for passage in passages if passage.title.strip() or passage.text.strip())
    qrels: dict[str, dict[str, int]] = {}
    path = folder / "qrels" / "test.tsv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file, delimiter="\t"), 2):
                try:
                    score = int(row["score"])
                    if score > 0:
                        qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = score
                except (KeyError, TypeError, ValueError) as error:
                    raise Failure(f"{path}:{number}: must be query-id, corpus-id and a whole score") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Failure(f"{path}: {_why(error)}") from error
    queries = {_text(row, "_id", where): _text(row, "text", where) for row, where in _jsonl(folder / "queries.jsonl")}
    judged = {query_id: text for query_id, text in queries.items() if query_id in qrels}
    if not corpus or not judged:
        raise Failure(f"{folder}: holds no passages or no judged queries")
    return Dataset(folder.resolve().name, corpus, judged, qrels)


def _jsonl(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise Failure(f"{path}:{number}: is not JSON") from error
                if not isinstance(row, dict):
                    raise Failure(f"{path}:{number}: is not a JSON object")
                yield row, f"{path}:{number}"
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path}: {_why(error)}") from error


def _why(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "is not valid UTF-8"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _text(row: dict[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise Failure(f"{where}: {name} must be text")
    return value
