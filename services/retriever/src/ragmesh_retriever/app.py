"""The composition root of the retriever: every object and task of the process is made here."""

from __future__ import annotations

from functools import partial

from ragmesh.retriever.v1 import retriever_pb2, retriever_pb2_grpc
from ragmesh_backends.caches.redis_cache import RedisCache
from ragmesh_backends.embeddings.cached import CachedQueries
from ragmesh_backends.embeddings.open import open_embedder
from ragmesh_backends.records.open import open_records
from ragmesh_backends.redis.client import connect, require_login
from ragmesh_backends.redis.layout import look_at_state
from ragmesh_backends.store_settings import CACHE_LOGIN, RECORDS_LOGIN, STATE_LOGIN, VECTORS_LOGIN
from ragmesh_backends.vectors.milvus import MilvusVectors
from ragmesh_backends.visibility.redis_visibility import RedisVisibility
from ragmesh_retriever.adapters.search_meter import PrometheusMeter
from ragmesh_retriever.domain.catalogue import Catalogue
from ragmesh_retriever.domain.search import Search
from ragmesh_retriever.server.servicer import RetrieverServicer
from ragmesh_retriever.settings import RetrieverSettings, from_environment
from ragmesh_servicekit.process import Process

SERVICE = retriever_pb2.DESCRIPTOR.services_by_name["RetrieverService"].full_name
QUERY_CACHE_SECONDS = 3600
CACHE_OPEN_SECONDS = 5.0


async def main() -> None:
    """Read the settings and serve until the first signal."""
    await serve(from_environment())


async def serve(settings: RetrieverSettings) -> None:
    """Serve retriever.v1."""
    async with Process("retriever", settings.process, grpc_port=settings.grpc_port, services=(SERVICE,)) as process:
        guards = [process.guard(role, settings.records.url, slow_share=0.2) for role in ("records", "graph")]
        store = await process.enter(await open_records(settings.records, guards, awaited=False))
        process.opens("records", store.look, *guards)
        records, graph = store.records, store.graph
        embedder = await open_embedder(settings.embedding, process.guard("embeddings", settings.embedding.url))
        process.closing(embedder, embedder.close)
        await embedder.warm()
        vectors = MilvusVectors(
            settings.vectors.url,
            timeout_seconds=settings.vectors.timeout_seconds,
            max_loaded=settings.vectors.max_loaded,
            token=settings.vectors.token,
            guard=process.guard("vectors", settings.vectors.url),
        )
        process.closing(vectors, vectors.close)
        state = connect(settings.state.url)
        process.closing(state, state.aclose)
        state_guard = process.guard("state", settings.state.url, slow_share=0.2)
        process.opens("state", partial(look_at_state, state, durable=False), state_guard)
        cache = connect(settings.cache.url, decode_responses=False)
        process.closing(cache, cache.aclose)
        # No health check ends its waiting, so that is short.
        cache_guard = process.guard("cache", settings.cache.url, open_seconds=CACHE_OPEN_SECONDS)
        await require_login(cache, cache_guard, CACHE_LOGIN)
        visibility = RedisVisibility(state, guard=state_guard)
        search = Search(
            vectors=vectors,
            graph=graph,
            embedder=CachedQueries(embedder, RedisCache(cache, "query", QUERY_CACHE_SECONDS, guard=cache_guard)),
            records=records,
            visibility=visibility,
            catalogue=Catalogue(records, fresh_seconds=settings.catalogue_seconds),
            meter=PrometheusMeter(),
        )
        retriever_pb2_grpc.add_RetrieverServiceServicer_to_server(RetrieverServicer(search), process.server)
        process.check("vectors", vectors.ping, VECTORS_LOGIN)
        process.check("records", store.ping, RECORDS_LOGIN)
        process.check("state", visibility.ping, STATE_LOGIN)
        await process.serve()
