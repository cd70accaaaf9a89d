"""A gRPC port for those who cannot show a certificate: a kubelet probes without TLS, and needs health only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2_grpc

from ragmesh_servicekit.health import Health
from ragmesh_servicekit.ports import PortTaken, describe_taken, refuse_taken

VARIABLE = "RAGMESH_HEALTH_PORT"
_STREAMS, _MESSAGE_BYTES = 100, 4096


@asynccontextmanager
async def health_port(health: Health, host: str, port: int) -> AsyncIterator[None]:
    """Answer grpc.health.v1 on `port`, and nothing else, until the context ends. 0: do nothing. Raises PortTaken."""
    if not port:
        yield
        return
    refuse_taken(VARIABLE, host, port)
    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_concurrent_streams", _STREAMS),
            ("grpc.max_receive_message_length", _MESSAGE_BYTES),
        ]
    )
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    try:
        server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except RuntimeError as error:
        raise PortTaken(describe_taken(VARIABLE, host, port)) from error
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)
