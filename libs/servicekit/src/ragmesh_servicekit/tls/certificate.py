"""A certificate with its key, read from files and proved before it is used.

What would be refused by every peer is refused here first, with a sentence that names the file: a key that is another
certificate's, a certificate that has expired or that no CA of the mesh has signed. The proof is a handshake in memory,
in which the certificate plays its part against somebody who trusts these CAs only, so it is OpenSSL that judges.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Part = Literal["server", "client"]
Stamp = tuple[tuple[int, int, int] | None, ...]

_IGNORE_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python has no name for: the certificate of an expired one is wanted too,
for its date."""

_EXPIRED, _NOT_YET_VALID, _WRONG_PURPOSE = 10, 9, 26  # X509_V_ERR_... of OpenSSL
_HANDSHAKE_TURNS = 8  # TLS 1.3 takes three


class CertificateRejected(Exception):
    """The files hold nothing that can be used; the message says what is wrong with which. not_after: Unix time, where
    the certificate could be read."""

    def __init__(self, message: str, not_after: float | None = None) -> None:
        super().__init__(message)
        self.not_after = not_after


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where they are: the certificate (and what leads from it to the CA), its key, and the CAs that are trusted; all
    PEM. Without CAs nobody's certificate is asked for, and whoever has signed this one is not our matter."""

    certificate: Path
    key: Path
    authorities: Path | None

    def stamp(self) -> Stamp:
        """What tells that a file is another one: inode, size and time, of what links lead to. None: it is not there."""
        return tuple(_stat(path) for path in (self.certificate, self.key, self.authorities) if path is not None)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A proved one. chain, key and authorities: PEM. not_after: Unix time. context: a REST server's, that shows it."""

    chain: bytes
    key: bytes = field(repr=False)
    authorities: bytes | None
    not_after: float
    context: ssl.SSLContext = field(repr=False, compare=False)


def load(files: CertificateFiles, part: Part) -> Certificate:
    """Read and prove what the files hold, as what `part` shows to its peers. Blocks. Raises CertificateRejected."""
    before = files.stamp()
    chain, key = _read(files.certificate), _read(files.key)
    authorities = _read(files.authorities) if files.authorities is not None else None
    _require_certificates(files.certificate, chain)
    if files.authorities is not None and authorities is not None:
        _require_certificates(files.authorities, authorities)
    context = _context(ssl.PROTOCOL_TLS_SERVER, files)
    context.set_alpn_protocols(["http/1.1"])  # it is REST's
    trusted = chain if authorities is None else authorities
    flags = ssl.VERIFY_X509_PARTIAL_CHAIN if authorities is None else 0  # then its own file is what it leads to
    not_after = _prove(files, part, trusted, flags)
    if files.stamp() != before:
        raise CertificateRejected(f"{files.certificate} or a file beside it changed while it was read")
    return Certificate(chain, key, authorities, not_after, context)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateRejected(f"{path} cannot be read: {error.strerror}") from error


def _require_certificates(path: Path, text: bytes) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:  # ValueError: not ASCII, or empty
        raise CertificateRejected(f"{path} holds no whole certificate in PEM") from error


def _context(protocol: int, files: CertificateFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    try:
        context.load_cert_chain(files.certificate, files.key, password="")  # never asks a terminal
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            why = f"the key in {files.key} is not that of the certificate in {files.certificate}"
        else:
            why = f"{files.key} holds no whole private key in PEM without a password"
        raise CertificateRejected(why) from error
    except OSError as error:
        raise CertificateRejected(f"{files.certificate} or {files.key} cannot be read: {error.strerror}") from error
    return context


def _prove(files: CertificateFiles, part: Part, trusted: bytes, flags: int) -> float:
    """When it ends. Raises CertificateRejected for one that a peer would refuse."""
    not_after: float | None = None
    try:
        not_after = ssl.cert_time_to_seconds(_seen_by_a_peer(files, part, trusted, flags | _IGNORE_TIME)["notAfter"])
        _seen_by_a_peer(files, part, trusted, flags)
    except ssl.SSLCertVerificationError as error:
        why = {
            _EXPIRED: "has expired, or its CA has",
            _NOT_YET_VALID: "is not valid yet, or its CA is not",
            _WRONG_PURPOSE: f"is not made for a {part} (its extended key usage)",
        }.get(error.verify_code, f"is not signed by a CA in {files.authorities}: {error.verify_message}")
        raise CertificateRejected(f"the certificate in {files.certificate} {why}", not_after) from error
    except ssl.SSLError as error:
        raise CertificateRejected(f"the certificate in {files.certificate} cannot be used: {error.reason}") from error
    return not_after


def _seen_by_a_peer(files: CertificateFiles, part: Part, trusted: bytes, flags: int) -> dict[str, Any]:
    """What a peer that trusts these CAs reads in the certificate. Raises ssl.SSLError."""
    server = _context(ssl.PROTOCOL_TLS_SERVER, files)
    client = _context(ssl.PROTOCOL_TLS_CLIENT, files)
    client.check_hostname = False  # by which name it is called differs from peer to peer
    server.verify_mode = client.verify_mode = ssl.CERT_NONE
    peer = client if part == "server" else server
    peer.verify_mode = ssl.CERT_REQUIRED
    peer.load_verify_locations(cadata=trusted.decode("ascii"))
    peer.verify_flags |= flags
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)]
    judge = sides[0] if part == "server" else sides[1]
    for _ in range(_HANDSHAKE_TURNS):
        for side in list(sides):
            try:
                side.do_handshake()
                sides.remove(side)
            except ssl.SSLWantReadError:
                continue
    return judge.getpeercert() or {}
