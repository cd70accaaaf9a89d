"""TLS of gRPC between the services: both sides show a certificate, and both must be signed by the mesh's CA."""

from __future__ import annotations

import ipaddress
import ssl
from typing import Any

import grpc

from ragmesh_servicekit.tls.certificate import Certificate
from ragmesh_servicekit.tls.rotation import Rotation


def server_credentials(rotation: Rotation) -> grpc.ServerCredentials:
    """Of a port that asks before each handshake for the certificate of now. With CAs among its files, clients must show
    a certificate of theirs; without, none is asked for."""
    shown = rotation.current

    def newer() -> grpc.ServerCertificateConfiguration | None:
        # In a thread of grpc's core, which holds a connection up meanwhile: nothing is read here.
        nonlocal shown
        if rotation.current is shown:
            return None
        shown = rotation.current
        return _configuration(shown)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(shown),
        newer,  # type: ignore[arg-type]  # None is "no change" by grpc's documentation, which its stubs leave out
        require_client_authentication=shown.authorities is not None,
    )


def _configuration(certificate: Certificate) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(certificate.key, certificate.chain)], certificate.authorities)


def channel_credentials(certificate: Certificate) -> grpc.ChannelCredentials:
    """Of a channel that shows this certificate and trusts its CAs."""
    return grpc.ssl_channel_credentials(certificate.authorities, certificate.key, certificate.chain)


def name_options(target: str, role: str, *, elsewhere: bool = False) -> list[tuple[str, Any]]:
    """The name that the peer's certificate must have. Of `dns:///retriever.mesh.svc:9091` it is the host, which nothing
    needs to say; an address, or a list of them, has no name, so it is the role: `retriever`. elsewhere: the channel
    goes another way than to the target, and to the same name."""
    host = _host(target)
    if _is_address(host):
        return [("grpc.ssl_target_name_override", role)]
    return [("grpc.ssl_target_name_override", host.rpartition(":")[0] or host)] if elsewhere else []


def _host(target: str) -> str:
    """With its port, if it has one."""
    path = target.startswith("unix:")
    return target.rpartition("/")[2] if "//" in target and not path else target.removeprefix("dns:")


def _is_address(host: str) -> bool:
    if host.startswith(("ipv4:", "ipv6:", "unix:")):
        return True
    name = host.rpartition(":")[0] or host
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def web_context(rotation: Rotation) -> ssl.SSLContext:
    """The context of an HTTP server that shows the certificate of now in each handshake."""

    def newest(connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        connection.context = rotation.current.context

    context = rotation.current.context
    context.sni_callback = newest  # is called for clients that send no name, too
    return context
