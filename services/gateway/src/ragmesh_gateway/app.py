"""The composition root of the gateway: every object and task of the process is made here."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version

from ragmesh.common.v1 import search_pb2
from ragmesh.generator.v1 import generator_pb2
from ragmesh.ingestor.v1 import ingestor_pb2
from ragmesh.retriever.v1 import retriever_pb2
from ragmesh_backends.records.open import open_keys
from ragmesh_backends.store_settings import RECORDS_LOGIN
from ragmesh_gateway.adapters.generator import GeneratorClient
from ragmesh_gateway.adapters.retriever import RetrieverClient
from ragmesh_gateway.domain.ask import Ask
from ragmesh_gateway.domain.keys import KeyRing, Keys
from ragmesh_gateway.rest.api import RestApi
from ragmesh_gateway.rest.pages import pages
from ragmesh_gateway.server.contract import public_methods
from ragmesh_gateway.server.endpoints import Endpoints, Limits
from ragmesh_gateway.server.forwarding import IngestorForwarder
from ragmesh_gateway.server.grpc_api import add_public_api
from ragmesh_gateway.server.handlers import AskHandlers, KeyHandlers
from ragmesh_gateway.settings import GatewaySettings, from_environment
from ragmesh_servicekit.channel import open_channel
from ragmesh_servicekit.paging import PageTokens
from ragmesh_servicekit.process import Process
from ragmesh_servicekit.tokens import TokenMinter

PAGE_TOKENS = b"gateway"


async def main() -> None:
    """Read the settings and serve until the first signal."""
    await serve(from_environment())


async def serve(settings: GatewaySettings) -> None:
    """Serve the public API on gRPC and REST."""
    methods = public_methods()
    services = tuple(dict.fromkeys(method.service for method in methods))
    async with Process(
        "gateway",
        settings.process,
        grpc_port=settings.grpc_port,
        verify_identity=False,
        services=services,
        # The endpoints bound each method by its own limit, so the surface only states the largest.
        call_seconds=settings.limits.stream_seconds,
        stream_seconds=settings.limits.stream_seconds,
        public_tls=settings.public_tls,
    ) as process:
        signing = settings.process.identity.parsed()
        minter, pages_of = TokenMinter(signing), PageTokens(next(iter(signing.values())))
        guard = process.guard("records", settings.records.url)
        store = await process.enter(await open_keys(settings.records, [guard], awaited=False))
        process.opens("records", store.look, guard)
        peers, connect = settings.peers, partial(open_channel, tls=process.tls.mesh)
        to_retriever = connect(
            peers.retriever,
            "retriever",
            minter,
            retriever_pb2.DESCRIPTOR.services_by_name["RetrieverService"],
            fallback=peers.retriever_fallback,
        )
        to_generator = connect(
            peers.generator,
            "generator",
            minter,
            generator_pb2.DESCRIPTOR.services_by_name["GeneratorService"],
            fallback=peers.generator_fallback,
        )
        to_ingestor = connect(
            peers.ingestor,
            "ingestor",
            minter,
            ingestor_pb2.DESCRIPTOR.services_by_name["IngestorService"],
            fallback=peers.ingestor_fallback,
        )
        for channel in (to_retriever, to_generator, to_ingestor):
            process.closing(channel, channel.close)
        ring = KeyRing(store.keys)
        keys = Keys(store.keys, ring)
        if settings.bootstrap_key:
            install = partial(keys.install, settings.bootstrap_key, settings.bootstrap_tenant, "bootstrap")
            process.opens("bootstrap-key", install)  # once the records are: until then it is Unavailable as they are
        retriever = RetrieverClient(to_retriever)
        ask: Ask[search_pb2.Hit] = Ask(retriever, GeneratorClient(to_generator))
        endpoints = Endpoints(
            methods,
            {
                **AskHandlers(ask, retriever).handlers(),
                **KeyHandlers(keys, pages_of).handlers(),
                **IngestorForwarder(to_ingestor, methods).handlers(),
            },
            ring,
            Limits(settings.limits.unary_seconds, settings.limits.stream_seconds),
        )
        add_public_api(process.server, endpoints)
        process.check("records", store.ping, RECORDS_LOGIN)
        rest = RestApi(endpoints, pages(process), version("ragmesh-gateway"))
        process.serve_http(rest, settings.process.server.host, settings.rest_port, "RAGMESH_REST_PORT")
        await process.serve()
