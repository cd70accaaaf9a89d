"""One transaction, and the one way to run a statement in it."""

from __future__ import annotations

from typing import Any

from neo4j import AsyncTransaction

Transaction = AsyncTransaction


async def rows(transaction: Transaction, cypher: str, /, **parameters: Any) -> list[dict[str, Any]]:
    """Run one statement and read all of its rows. The text is a constant; values travel as parameters only."""
    result = await transaction.run(cypher, parameters)
    return [dict(record) async for record in result]
