"""A service of the mesh in the test's own process: a real server with the whole interceptor chain on 127.0.0.1, and
channels to it.

Its methods move bytes, so no contract of its own is needed. What a method does is a function of the test:

    async with mesh_server(Handlers(unary=work)) as mesh:
        await mesh.unary(b"request")
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from ragmesh_servicekit.channel import MeshChannel
from ragmesh_servicekit.channel_options import service_config
from ragmesh_servicekit.connections import Connections
from ragmesh_servicekit.interceptors.registry import HandlerRegistry
from ragmesh_servicekit.interceptors.server import DEFAULT_SECONDS, MeshServerInterceptor
from ragmesh_servicekit.tokens import TokenMinter, TokenVerifier

KEYS = {"k1": b"0123456789abcdef0123456789abcdef"}
SERVICE = "ragmesh.test.v1.TestService"

Unary = Callable[[Any, Any], Awaitable[bytes]]
Stream = Callable[[Any, Any], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Handlers:
    """What the four methods do; those without a handler are UNIMPLEMENTED."""

    unary: Unary | None = None
    many: Stream | None = None
    upload: Unary | None = None
    chat: Stream | None = None

    def add_to(self, server: grpc.aio.Server) -> None:
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        if self.unary is not None:
            methods["Unary"] = grpc.unary_unary_rpc_method_handler(self.unary)
        if self.many is not None:
            methods["Many"] = grpc.unary_stream_rpc_method_handler(self.many)
        if self.upload is not None:
            methods["Upload"] = grpc.stream_unary_rpc_method_handler(self.upload)
        if self.chat is not None:
            methods["Chat"] = grpc.stream_stream_rpc_method_handler(self.chat)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))


class Mesh:
    """A running server and channels to it. `unary`, `many`, `upload` and `chat` call its methods through `channel`."""

    def __init__(self, port: int, registry: HandlerRegistry, channel: MeshChannel, server: grpc.aio.Server) -> None:
        self.port = port
        self.registry = registry
        self.channel = channel
        self.server = server
        self.unary = channel.unary_unary(f"/{SERVICE}/Unary")
        self.many = channel.unary_stream(f"/{SERVICE}/Many")
        self.upload = channel.stream_unary(f"/{SERVICE}/Upload")
        self.chat = channel.stream_stream(f"/{SERVICE}/Chat")


@asynccontextmanager
async def mesh_server(
    handlers: Handlers,
    *,
    role: str = "test",
    audience: str = "",
    keys: dict[str, bytes] | None = None,
    default_seconds: float = DEFAULT_SECONDS,
    repeatable: Sequence[str] = (),
) -> AsyncIterator[Mesh]:
    """Serve `handlers` as `role`. The channel mints tokens for `audience` (the role by default) with `keys` and repeats
    the methods of `repeatable`."""
    registry = HandlerRegistry()
    interceptor = MeshServerInterceptor(registry, TokenVerifier(KEYS, role), default_seconds, default_seconds)
    server = grpc.aio.server(interceptors=[interceptor])
    handlers.add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    config = service_config([{"service": SERVICE, "method": method} for method in repeatable])
    options = [("grpc.service_config", config), ("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    ways = Connections(grpc.aio.insecure_channel(f"127.0.0.1:{port}", options), audience or role)
    channel = MeshChannel(ways, audience or role, TokenMinter(keys or KEYS))
    try:
        yield Mesh(port, registry, channel, server)
    finally:
        await channel.close()
        await server.stop(None)
        await registry.wait(1)
