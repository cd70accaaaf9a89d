"""The TLS files that the environment names: whether a process would take them, and when the certificates expire."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from ragmesh_cli.doctor.finding import Finding, Situation, error, ok, warning
from ragmesh_servicekit.tls.certificate import CertificateFiles, CertificateRejected, Part, load

WARN_SECONDS = 14 * 24 * 3600.0
"""cert-manager renews 90-day certificates 30 days before their end; what is later than this is renewed by nobody."""

SURFACES: Mapping[str, tuple[tuple[str, ...], tuple[Part, ...]]] = {
    "RAGMESH_TLS": (("CERT", "KEY", "CA"), ("server", "client")),
    "RAGMESH_PUBLIC_TLS": (("CERT", "KEY"), ("server",)),
}
"""By the prefix of their variables: which files there are, and what the certificate must be good for. `ragmesh up`
gives the same one to servers and to the gateway that calls them."""


def certificates(situation: Situation) -> list[Finding]:
    """One finding for each certificate; none without TLS."""
    return [
        _look(prefix, [situation.environ.get(f"{prefix}_{name}_FILE", "").strip() for name in names], names, parts)
        for prefix, (names, parts) in SURFACES.items()
        if any(situation.environ.get(f"{prefix}_{name}_FILE", "").strip() for name in names)
    ]


def _look(prefix: str, files: list[str], names: tuple[str, ...], parts: tuple[Part, ...]) -> Finding:
    for name, file in zip(names, files, strict=True):
        if not file:
            return error("tls", f"{prefix}_{name}_FILE is not set, and others of {prefix} are", "set all, or none")
    certificate, key, *authorities = map(Path, files)
    try:
        found = [load(CertificateFiles(certificate, key, next(iter(authorities), None)), part) for part in parts]
    except CertificateRejected as failure:
        return error(
            "tls", str(failure), f"renew it, or mend {prefix}_*; a process that runs keeps the one from before"
        )
    left = found[0].not_after - time.time()
    ends = f"{datetime.fromtimestamp(found[0].not_after, UTC):%Y-%m-%d %H:%M} UTC"
    if left < WARN_SECONDS:
        return warning("tls", f"{certificate} expires in {left / 86400:.0f} days, at {ends}", "renew it")
    return ok("tls", f"{certificate} fits its key{' and CA' if authorities else ''}, until {ends}")
