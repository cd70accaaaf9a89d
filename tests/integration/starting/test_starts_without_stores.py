"""A service starts while its stores are away, says so, and uses them once they come; a newer store still ends it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from ragmesh_backends.redis import layout
from ragmesh_backends.redis.client import connect
from ragmesh_cli.stores import redis_server
from ragmesh_servicekit.api_key import new_key
from support import neo4j
from support.proxy import FaultProxy, Harm
from support.redis import RedisProcess
from support.service_process import NOBODY, ServiceProcess, service

GATEWAY, RETRIEVER, INGESTOR = "ragmesh_gateway.app", "ragmesh_retriever.app", "ragmesh_ingestor.app"


async def keys_of(gateway: ServiceProcess, key: str) -> int:
    """The status of a call that needs the record store alone."""
    reply = await gateway.get(f"{gateway.rest}/v1/keys", authorization=f"Bearer {key}")
    assert reply is not None
    return reply.status_code


@pytest.mark.parametrize("module", [GATEWAY, RETRIEVER, INGESTOR])
async def test_a_service_starts_with_every_store_down_and_stops_as_always(module: str, tmp_path: Path) -> None:
    async with service(module, wait_seconds=1, RAGMESH_BLOBS_URL=f"file:{tmp_path}") as process:
        await process.ready()
        checks = await process.checks()
        assert {checks.pop(name) for name in set(checks) - {"blobs"}} == {"down"}
        assert await process.stop() == 0, process.err


async def test_a_gateway_starts_with_a_record_store_that_accepts_and_never_answers() -> None:
    key = new_key()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stores = {"RAGMESH_RECORDS_URL": f"bolt://127.0.0.1:{silent.getsockname()[1]}", "RAGMESH_BOOTSTRAP_KEY": key}
        async with service(GATEWAY, wait_seconds=1, **stores) as gateway:
            await gateway.ready()
            assert await gateway.checks() == {"records": "down"}
            assert await keys_of(gateway, key) == 503
            assert await gateway.stop() == 0, gateway.err


@neo4j.needed
@pytest.mark.parametrize("kind", ["down", "timeout"])
async def test_a_record_store_that_comes_later_is_made_ready_and_has_the_bootstrap_key(kind: str) -> None:
    neo4j.require()
    key, tenant = new_key(), f"starting-{kind}"
    try:
        async with FaultProxy("127.0.0.1:0", neo4j.URI.partition("://")[2]) as proxy:
            await proxy.harm(Harm(kind))
            async with service(
                GATEWAY,
                wait_seconds=1,
                RAGMESH_RECORDS_URL=f"bolt://{proxy.address}",
                RAGMESH_RECORDS_USER=neo4j.USER,
                RAGMESH_RECORDS_PASSWORD=neo4j.PASSWORD,
                RAGMESH_BOOTSTRAP_KEY=key,
                RAGMESH_BOOTSTRAP_TENANT=tenant,
            ) as gateway:
                await gateway.ready()
                assert await keys_of(gateway, key) == 503
                await proxy.heal()
                await gateway.turns(records="ok")
                async with asyncio.timeout(20):
                    while await keys_of(gateway, key) != 200:  # noqa: ASYNC110  # another process
                        await asyncio.sleep(0.05)
                assert await gateway.stop() == 0, gateway.err
    finally:
        await neo4j.forget_tenants(tenant)


@pytest.mark.parametrize("module", [RETRIEVER, INGESTOR])
async def test_a_redis_for_state_that_comes_later_is_opened(module: str, tmp_path: Path) -> None:
    redis = RedisProcess(tmp_path / "home")
    stores = {"RAGMESH_STATE_URL": redis.address, "RAGMESH_BLOBS_URL": f"file:{tmp_path / 'blobs'}"}
    try:
        async with service(module, wait_seconds=1, **stores) as process:
            await process.ready()
            assert (await process.checks())["state"] == "down"
            await redis.start()
            await process.turns(state="ok")
            client = connect(redis.address)
            assert await client.get(layout.KEY) == "1"
            await client.aclose()
            assert await process.stop() == 0, process.err
    finally:
        redis.kill()


async def test_a_redis_for_state_that_comes_later_and_is_newer_ends_the_process(tmp_path: Path) -> None:
    redis = RedisProcess(tmp_path)
    await redis.start()
    client = connect(redis.address)
    await client.set(layout.KEY, "9")
    await client.aclose()
    redis.kill()
    try:
        async with service(RETRIEVER, wait_seconds=1, RAGMESH_STATE_URL=redis.address) as retriever:
            await retriever.ready()
            await redis.start()
            assert await retriever.end() == 2
        assert retriever.said.startswith("the Redis for state (ragmesh:schema) has layout 9")
    finally:
        redis.kill()


async def test_a_redis_that_would_lose_jobs_keeps_the_ingestor_from_starting(tmp_path: Path) -> None:
    redis = RedisProcess(tmp_path / "home", redis_server.state_command, "--appendonly", "no")
    stores = {"RAGMESH_STATE_URL": redis.address, "RAGMESH_BLOBS_URL": f"file:{tmp_path / 'blobs'}"}
    await redis.start()
    try:
        async with service(INGESTOR, **stores) as ingestor:
            assert await ingestor.end() == 2
        assert "set `appendonly yes`" in ingestor.said
        assert '"event": "serving"' not in ingestor.err
    finally:
        redis.kill()


async def test_a_signal_ends_a_start_that_waits_for_stores_and_has_served_nobody() -> None:
    async with service(GATEWAY, RAGMESH_RECORDS_URL=f"bolt://{NOBODY}") as gateway:
        async with asyncio.timeout(30):
            while await gateway.get(f"{gateway.admin}/livez") is None:  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.05)
        assert not await gateway.is_ready()
        assert await gateway.get(f"{gateway.rest}/livez") is None
        assert await gateway.stop() == 0, gateway.err
