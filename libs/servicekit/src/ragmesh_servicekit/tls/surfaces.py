"""Which port of a process shows which certificate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc

from ragmesh_servicekit.process_settings import PublicTlsSettings, TlsSettings
from ragmesh_servicekit.settings import SettingsError
from ragmesh_servicekit.tls.certificate import CertificateFiles, CertificateRejected, Part
from ragmesh_servicekit.tls.peers import server_credentials
from ragmesh_servicekit.tls.rotation import Rotation


@dataclass(frozen=True, slots=True)
class Surfaces:
    """mesh: what this process shows to other services, as a server, or as the gateway that calls them. public: what it
    shows to everybody. None: no TLS there. The admin port never has any."""

    mesh: Rotation | None
    public: Rotation | None
    calls_only: bool

    @classmethod
    def read(cls, mesh: TlsSettings, public: PublicTlsSettings | None) -> Surfaces:
        """By the settings; public: of a process whose ports are for everybody. Raises SettingsError."""
        part: Part = "server" if public is None else "client"
        return cls(
            _rotation("mesh", "RAGMESH_TLS", part, mesh.cert_file, mesh.key_file, mesh.ca_file),
            _rotation("public", "RAGMESH_PUBLIC_TLS", "server", public.cert_file, public.key_file) if public else None,
            public is not None,
        )

    def rotations(self) -> list[tuple[str, Rotation]]:
        """Name and rotation, of those there are."""
        both = (("mesh", self.mesh), ("public", self.public))
        return [(name, rotation) for name, rotation in both if rotation is not None]

    def credentials(self) -> grpc.ServerCredentials | None:
        """Of the gRPC port."""
        rotation = self.public if self.calls_only else self.mesh
        return None if rotation is None else server_credentials(rotation)


def _rotation(use: str, prefix: str, part: Part, *files: str) -> Rotation | None:
    names = [f"{prefix}_{each}_FILE" for each in ("CERT", "KEY", "CA")]
    given = dict(zip(names, files, strict=False))
    if not any(given.values()):
        return None
    missing = [name for name, file in given.items() if not file]
    if missing:
        there = [name for name, file in given.items() if file]
        why = f"since {' and '.join(there)} {'is' if len(there) == 1 else 'are'}"
        raise SettingsError([f"{name}: must be set, {why}" for name in missing])
    certificate, key, *authorities = (Path(file) for file in files)
    try:
        return Rotation(use, CertificateFiles(certificate, key, authorities[0] if authorities else None), part)
    except CertificateRejected as error:
        name = next((name for name, file in given.items() if Path(file) == error.file), names[0])
        raise SettingsError([f"{name}: {error}"]) from error
