"""Every statement of the record store on Neo4j finds its nodes by an index, whatever else the server holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from ragmesh_backends.neo4j.client import Transaction
from ragmesh_backends.records.neo4j import collections, copies, documents, keys, ledger, versions
from ragmesh_backends.records.neo4j.schema import NEO4J_KEYS_SCHEMA, NEO4J_RECORDS_SCHEMA
from support import neo4j

pytestmark = neo4j.needed

NUMBERS = {"limit", "now", "old", "abandoned", "after_us", "after_ordinal", "version"}
LISTS = {"names": [{}], "nodes": [{}], "document_keys": [""], "document_ids": [""], "node": {}}


def statements() -> Iterator[tuple[str, str]]:
    """Each whole statement with where it stands; what is only a part of others ends without a result or a change."""
    for module in (collections, copies, documents, keys, ledger, versions):
        for name, value in vars(module).items():
            for number, text in enumerate(value if isinstance(value, tuple) else (value,)):
                whole = isinstance(text, str) and re.search(r"\b(RETURN|SET|REMOVE|DELETE)\b", text)
                if whole and re.match(r"\s*(MATCH|UNWIND|MERGE)\b", text) and name != "_LIVE":
                    yield f"{module.__name__.rsplit('.', 1)[1]}.{name}[{number}]", text


STATEMENTS = dict(statements())


def operators(plan: dict[str, Any]) -> set[str]:
    name = plan["operatorType"].partition("@")[0]
    return {name}.union(*(operators(child) for child in plan.get("children", [])))


def test_the_statements_are_found() -> None:
    assert len(STATEMENTS) > 25


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_statement_scans_no_label(name: str) -> None:
    neo4j.require()
    text = STATEMENTS[name]
    parameters = {each: LISTS.get(each, 1 if each in NUMBERS else "") for each in re.findall(r"\$(\w+)", text)}

    async def explain(transaction: Transaction) -> set[str]:
        result = await transaction.run(f"EXPLAIN {text}", parameters)  # type: ignore[arg-type]  # a constant's text
        summary = await result.consume()
        assert summary.plan is not None
        return operators(summary.plan)

    async with neo4j.opened(NEO4J_RECORDS_SCHEMA, NEO4J_KEYS_SCHEMA) as client:
        used = await client.read(explain)
    assert not used & {"AllNodesScan", "NodeByLabelScan", "PartitionedNodeByLabelScan", "CartesianProduct"}, used
