"""What answers at Redis's address, but not as Redis does."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragmesh_backends.redis.client import bounded, connect
from ragmesh_servicekit.errors import Unavailable
from ragmesh_servicekit.resilience.guard import Guard
from support.proxy import FaultProxy, Harm
from support.redis import RedisProcess


async def test_rubbish_is_a_store_that_does_not_answer_and_the_next_call_has_a_connection_of_its_own(
    tmp_path: Path,
) -> None:
    server = RedisProcess(tmp_path)
    await server.start()
    upstream = "unix:" + server.address.removeprefix("unix://")
    async with FaultProxy(f"unix:{tmp_path}/px", upstream) as proxy:
        client = connect(f"unix://{tmp_path}/px")
        guard = Guard("state")
        try:
            await client.set("key", "value")
            await proxy.harm(Harm("rubbish"))
            for _ in range(20):
                with pytest.raises(Unavailable) as raised:
                    async with bounded(guard, "queue", 2.0):
                        await client.get("key")
                assert raised.value.metadata["dependency"] == "queue"
            await proxy.heal()
            async with bounded(guard, "queue", 2.0):
                assert await client.get("key") == "value"
        finally:
            await client.aclose()
            server.kill()
