"""By what the command line knows the certificate of a gateway whose public ports have TLS."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from ragmesh_cli.failure import Failure
from ragmesh_servicekit.tls.certificate import CertificateFiles, CertificateRejected, load

CA_VARIABLE = "RAGMESH_CA_FILE"
SCHEME = "https://"
"""Before the address of a mesh elsewhere: it is called with TLS."""


@dataclass(frozen=True, slots=True)
class Trust:
    """authorities: PEM of whom is trusted; None: those that gRPC brings along. name: which the certificate must have;
    empty: the host of the address."""

    authorities: bytes | None
    name: str = ""

    def credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.authorities)

    def context(self) -> ssl.SSLContext:
        """Of HTTP, for the mesh of the home only: the name is not looked at, since just its certificate is trusted."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=(self.authorities or b"").decode("ascii", "ignore"))
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context


def given() -> Trust:
    """For a mesh elsewhere. Raises Failure for a file that cannot be read."""
    path = os.environ.get(CA_VARIABLE)
    if not path:
        return Trust(None)
    try:
        return Trust(Path(path).read_bytes())
    except OSError as error:
        raise Failure(f"{CA_VARIABLE}: {path} cannot be read: {error.strerror}") from error


def of_home(state: Mapping[str, Any]) -> Trust | None:
    """For the mesh that runs in the home, by its own files; None: it has no TLS. Raises Failure."""
    files = state.get("public_tls")
    return None if not files else of_files(Path(files[0]), Path(files[1]))


def of_files(certificate: Path, key: Path) -> Trust:
    """Trusts what is in the files, and calls it by its first name. Raises Failure."""
    try:
        found = load(CertificateFiles(certificate, key, None), "server")
    except CertificateRejected as error:
        raise Failure(str(error)) from error
    return Trust(found.chain, next(iter(found.names), ""))


def public_files(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Of the gateways that `ragmesh up` starts: absolute paths of certificate and key; None: no TLS."""
    files = [environ.get(f"RAGMESH_PUBLIC_TLS_{name}_FILE", "").strip() for name in ("CERT", "KEY")]
    return (str(Path(files[0]).absolute()), str(Path(files[1]).absolute())) if all(files) else None
