"""The stores of a house behind proxies: started here, harmed there, found by the services through the environment."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ragmesh_cli.stores import redis_server
from support.faults import Fault
from support.milvus import MilvusProcess
from support.proxy import FaultProxy, Harm
from support.redis import RedisProcess

VARIABLES = {
    "redis-state": "RAGMESH_STATE_URL",
    "redis-cache": "RAGMESH_CACHE_URL",
    "milvus": "RAGMESH_VECTORS_URL",
}
START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ProxiedStores:
    """The proxies by the name of their store, and where services find them."""

    proxies: dict[str, FaultProxy]
    environment: dict[str, str]

    async def harm(self, store: str, harm: Harm, seconds: float) -> Fault:
        """Harm a store for so long; the fault's `back` is when it was healed."""
        fault = Fault(store, harm.kind, time.monotonic())
        await self.proxies[store].harm(harm)
        try:
            await asyncio.sleep(seconds)
        finally:
            await self.proxies[store].heal()
        fault.gone = fault.back = time.monotonic()
        return fault


@asynccontextmanager
async def proxied_stores() -> AsyncIterator[ProxiedStores]:
    """Two Redis servers and a Milvus in a home of their own, each behind a proxy on a Unix socket."""
    home = Path(tempfile.mkdtemp(prefix="rs-"))
    state, cache = RedisProcess(home), RedisProcess(home, redis_server.cache_command)
    milvus = MilvusProcess(home)
    try:
        for server in (state, cache):
            await server.start(START_SECONDS)
        milvus.start()
        await milvus.ready(START_SECONDS)
        async with AsyncExitStack() as stack:
            proxies = {}
            for name, address in (("redis-state", state.address), ("redis-cache", cache.address)):
                upstream = "unix:" + address.removeprefix("unix://")
                proxies[name] = await stack.enter_async_context(FaultProxy(f"unix:{home}/{name}.px", upstream))
            proxies["milvus"] = await stack.enter_async_context(FaultProxy(f"unix:{home}/milvus.px", milvus.address))
            environment = {
                VARIABLES["redis-state"]: f"unix://{home}/redis-state.px",
                VARIABLES["redis-cache"]: f"unix://{home}/redis-cache.px",
                VARIABLES["milvus"]: f"unix:{home}/milvus.px",
            }
            yield ProxiedStores(proxies, environment)
    finally:
        for process in (state, cache, milvus):
            process.kill()
        await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
