"""The gateway's settings; the environment is read here, once."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ragmesh_backends.store_settings import RecordsSettings
from ragmesh_servicekit.process_settings import ProcessSettings, PublicTlsSettings
from ragmesh_servicekit.settings import load, setting


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """Where the inner services answer."""

    retriever: str = setting(
        "RAGMESH_RETRIEVER_TARGET", "ipv4:127.0.0.1:9091", doc="The retrievers: `dns:///name:port` or `ipv4:a:p,b:p`."
    )
    generator: str = setting("RAGMESH_GENERATOR_TARGET", "ipv4:127.0.0.1:9092", doc="The generators.")
    ingestor: str = setting("RAGMESH_INGESTOR_TARGET", "ipv4:127.0.0.1:9093", doc="The ingestors.")
    retriever_fallback: str = setting(
        "RAGMESH_RETRIEVER_FALLBACK_TARGET",
        "",
        doc="A second way to the retrievers, taken while nobody whom the first one names can be reached. With TLS the "
        "certificate there has the name of the first.",
    )
    generator_fallback: str = setting(
        "RAGMESH_GENERATOR_FALLBACK_TARGET", "", doc="A second way to the generators, for the same."
    )
    ingestor_fallback: str = setting(
        "RAGMESH_INGESTOR_FALLBACK_TARGET", "", doc="A second way to the ingestors, for the same."
    )


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """How long public calls may take when the client names no deadline."""

    unary_seconds: float = setting(
        "RAGMESH_REQUEST_SECONDS", 30.0, doc="The longest a request may take.", minimum=1, maximum=3600
    )
    stream_seconds: float = setting(
        "RAGMESH_STREAM_SECONDS", 300.0, doc="The longest a stream or an answer may take.", minimum=1, maximum=86400
    )


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Everything that the gateway reads."""

    process: ProcessSettings
    records: RecordsSettings
    peers: PeerSettings
    limits: LimitSettings
    public_tls: PublicTlsSettings
    grpc_port: int = setting("RAGMESH_GRPC_PORT", 9090, doc="The gRPC port.", minimum=0, maximum=65535)
    rest_port: int = setting("RAGMESH_REST_PORT", 8080, doc="The REST port.", minimum=0, maximum=65535)
    bootstrap_key: str = setting(
        "RAGMESH_BOOTSTRAP_KEY", "", doc="A key that exists from the start, with every scope.", secret=True
    )
    bootstrap_tenant: str = setting("RAGMESH_BOOTSTRAP_TENANT", "default", doc="The tenant of that key.")


def from_environment() -> GatewaySettings:
    """The settings of this process. Raises SettingsError naming every variable that is wrong."""
    return load(GatewaySettings, os.environ)
