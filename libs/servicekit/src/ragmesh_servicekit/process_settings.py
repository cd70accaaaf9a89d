"""Settings that every process has."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from ragmesh_servicekit.settings import setting


def signing_keys(text: str) -> dict[str, bytes]:
    """Key id -> secret, in order, of `id:secret,id:secret`. Raises ValueError."""
    result: dict[str, bytes] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        key_id, _, secret = part.partition(":")
        try:
            raw = base64.b64decode(secret + "=" * (-len(secret) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if not key_id or len(raw) < 32:
            raise ValueError("each key must be `id:secret` with at least 32 bytes in URL-safe base64")
        if key_id in result:
            raise ValueError(f"the key id {key_id} is there twice")
        result[key_id] = raw
    if not result:
        raise ValueError("must hold at least one key")
    return result


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The gRPC server. grpc_port has no default here: each service has its own."""

    host: str = setting("RAGMESH_HOST", "127.0.0.1", doc="The address that gRPC and REST listen on.")
    max_message_bytes: int = setting(
        "RAGMESH_MAX_MESSAGE_BYTES",
        20 * 1024 * 1024,
        doc="The largest gRPC message in bytes.",
        minimum=1024 * 1024,
        maximum=256 * 1024 * 1024,
    )
    reflection: bool = setting("RAGMESH_REFLECTION", False, doc="Whether gRPC reflection answers.")
    health_port: int = setting(
        "RAGMESH_HEALTH_PORT",
        0,
        doc="A second gRPC port, always without TLS, that answers health checks and nothing else; 0: none.",
        minimum=0,
        maximum=65535,
    )
    drain_seconds: float = setting(
        "RAGMESH_DRAIN_SECONDS",
        0.2,
        doc="After SIGTERM: how long the process goes on taking calls while balancers notice that it is not ready. "
        "Behind a balancer 5 to 10.",
        minimum=0,
        maximum=120,
    )
    grace_seconds: float = setting(
        "RAGMESH_GRACE_SECONDS",
        20.0,
        doc="After that: how long calls in flight may take to finish.",
        minimum=0,
        maximum=3600,
    )
    connection_age_seconds: float = setting(
        "RAGMESH_CONNECTION_AGE_SECONDS",
        300.0,
        doc="How old a connection grows before the client is asked to make a new one, so that new replicas get load.",
        minimum=1,
        maximum=86400,
    )


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """TLS between the services; all three files or none."""

    cert_file: str = setting(
        "RAGMESH_TLS_CERT_FILE",
        "",
        doc="The certificate (PEM) that this process shows inside the mesh; empty: no TLS there. Files may change.",
    )
    key_file: str = setting("RAGMESH_TLS_KEY_FILE", "", doc="Its private key (PEM, no password).")
    ca_file: str = setting(
        "RAGMESH_TLS_CA_FILE",
        "",
        doc="The CAs (PEM) that sign the certificates of the mesh; several while they change.",
    )


@dataclass(frozen=True, slots=True)
class PublicTlsSettings:
    """TLS of the public surfaces; both files or none."""

    cert_file: str = setting(
        "RAGMESH_PUBLIC_TLS_CERT_FILE",
        "",
        doc="The certificate (PEM, with its chain) of the public gRPC and REST ports; empty: no TLS. Files may change.",
    )
    key_file: str = setting("RAGMESH_PUBLIC_TLS_KEY_FILE", "", doc="Its private key (PEM, no password).")


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """Health and metrics over HTTP."""

    host: str = setting("RAGMESH_ADMIN_HOST", "127.0.0.1", doc="The address that health and metrics listen on.")
    port: int = setting("RAGMESH_ADMIN_PORT", 9464, doc="The port of health and metrics.", minimum=0, maximum=65535)


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """Logs and traces."""

    instance: str = setting("RAGMESH_INSTANCE", "", doc="The name of this process in logs and traces.")
    log_level: str = setting(
        "RAGMESH_LOG_LEVEL",
        "INFO",
        doc="The least level that is logged.",
        choices=("DEBUG", "INFO", "WARNING", "ERROR"),
    )
    otlp_endpoint: str = setting(
        "RAGMESH_OTLP_ENDPOINT", "", doc="host:port of an OTLP gRPC receiver; empty sends no traces."
    )
    sample_ratio: float = setting(
        "RAGMESH_TRACE_RATIO",
        1.0,
        doc="The share of traces that is kept when none came with the request.",
        minimum=0,
        maximum=1,
    )


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """The keys that identity tokens inside the mesh are signed with."""

    keys: str = setting(
        "RAGMESH_IDENTITY_KEYS",
        doc="Signing keys as `id:secret`, separated by commas; the first signs, all verify. The same everywhere.",
        secret=True,
        check=signing_keys,
    )

    def parsed(self) -> dict[str, bytes]:
        """Key id -> secret, in order."""
        return signing_keys(self.keys)


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """The breakers of this process's dependencies."""

    failures: int = setting(
        "RAGMESH_BREAKER_FAILURES",
        5,
        doc="Failed calls of a dependency in a row after which it is left alone.",
        minimum=1,
        maximum=1000,
    )
    open_seconds: float = setting(
        "RAGMESH_BREAKER_OPEN_SECONDS",
        30.0,
        doc="How long it is left alone, unless a health check finds it answering before.",
        minimum=0.1,
        maximum=3600,
    )
    successes: int = setting(
        "RAGMESH_BREAKER_SUCCESSES",
        2,
        doc="Calls that must succeed before all calls are let through again.",
        minimum=1,
        maximum=100,
    )


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """All of them, as each service's settings hold them."""

    server: ServerSettings
    admin: AdminSettings
    telemetry: TelemetrySettings
    identity: IdentitySettings
    breaker: BreakerSettings
    tls: TlsSettings = TlsSettings()
