"""One transaction, and the one way to run a statement in it."""

from __future__ import annotations

import struct
from typing import Any

from neo4j import AsyncTransaction
from neo4j.exceptions import ServiceUnavailable

Transaction = AsyncTransaction

_UNREADABLE = (struct.error, LookupError, UnicodeDecodeError, AssertionError)
"""What the driver's decoder raises when the peer talks rubbish inside a conversation that began well."""


async def rows(transaction: Transaction, cypher: str, /, **parameters: Any) -> list[dict[str, Any]]:
    """Run one statement and read all of its rows. The text is a constant; values travel as parameters only."""
    try:
        result = await transaction.run(cypher, parameters)
        return [dict(record) async for record in result]
    except _UNREADABLE as error:
        raise ServiceUnavailable("the reply cannot be read") from error
