"""A certificate with its key, read from files and proved before it is used.

What would be refused by every peer is refused here first, with a sentence that names the file: a key that is another
certificate's, a certificate that has expired or that no CA of the mesh has signed, a kind of key that gRPC cannot use.
The proof is a handshake in memory, in which the certificate plays its part against somebody who trusts these CAs only,
so it is OpenSSL that judges.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from ragmesh_servicekit.tls.key_kind import usable_key

Part = Literal["server", "client"]
Stamp = tuple[tuple[int, int, int] | None, ...]

_IGNORE_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python has no name for: the certificate of an expired one is wanted too,
for its date."""

_EXPIRED, _NOT_YET_VALID, _WRONG_PURPOSE = 10, 9, 26  # X509_V_ERR_... of OpenSSL
_HANDSHAKE_TURNS = 8  # TLS 1.3 takes three


class Cause(StrEnum):
    """Why files cannot be used, as the metric says it."""

    UNREADABLE = "unreadable"
    INCOMPLETE = "incomplete"
    """Not PEM, or only a part of it: half-written, perhaps."""
    OTHER_KEY = "other_key"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    OTHER_AUTHORITY = "other_authority"
    OTHER_PURPOSE = "other_purpose"
    OTHER_NAMES = "other_names"
    """Peers may call this process by a name that it has not, and the one in use has."""
    CHANGING = "changing"
    UNUSABLE = "unusable"
    """OpenSSL or gRPC refuses it for another reason: a key too short or of another kind, a name that is not UTF-8."""


class CertificateRejected(Exception):
    """The files hold nothing that can be used; the message says what is wrong with which, and `file` is that one.
    not_after: Unix time, where the certificate could be read."""

    def __init__(self, message: str, cause: Cause, file: Path, not_after: float | None = None) -> None:
        super().__init__(message)
        self.cause, self.file, self.not_after = cause, file, not_after


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
    """A proved one. chain, key and authorities: PEM. not_after: Unix time. names: of hosts, that it may be called by.
    context: a REST server's, that shows it."""

    chain: bytes
    key: bytes = field(repr=False)
    authorities: bytes | None
    not_after: float
    names: tuple[str, ...]
    context: ssl.SSLContext = field(repr=False, compare=False)

    def lacks(self, before: Certificate) -> list[str]:
        """Names of the other one that peers of this one would not accept. A wildcard stands for one label."""
        own = set(self.names)
        return [name for name in before.names if not own & {name, f"*.{name.partition('.')[2]}"}]


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
    try:
        not_after, names = _prove(files, part, trusted)
    except CertificateRejected:
        raise
    except Exception as error:  # whatever Python's decoder makes of a strange one must not end the process
        words = f"the certificate in {files.certificate} cannot be decoded: {error}"
        raise CertificateRejected(words, Cause.UNUSABLE, files.certificate) from error
    if files.stamp() != before:
        words = f"{files.certificate} or a file beside it changed while it was read"
        raise CertificateRejected(words, Cause.CHANGING, files.certificate)
    return Certificate(chain, key, authorities, not_after, names, context)


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
        raise CertificateRejected(f"{path} cannot be read: {error.strerror}", Cause.UNREADABLE, path) from error


def _require_certificates(path: Path, text: bytes) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=_ascii(text))
    except (ssl.SSLError, ValueError) as error:  # ValueError: empty
        words = f"{path} holds no whole certificate in PEM"
        raise CertificateRejected(words, Cause.INCOMPLETE, path) from error


def _ascii(text: bytes) -> str:
    """As OpenSSL wants it; what is not ASCII can only stand between the certificates, where bundles have names."""
    return text.decode("ascii", "ignore")


def _context(protocol: int, files: CertificateFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    try:
        context.load_cert_chain(files.certificate, files.key, password="")  # never asks a terminal
    except ssl.SSLError as error:
        if error.reason in {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"}:
            why, cause = (
                f"the key in {files.key} is not that of the certificate in {files.certificate}",
                Cause.OTHER_KEY,
            )
        elif (error.reason or "").endswith(("_TOO_SMALL", "_TOO_WEAK")):
            words = f"the certificate in {files.certificate} cannot be used: {error.reason}"
            raise CertificateRejected(words, Cause.UNUSABLE, files.certificate) from error
        else:
            why, cause = f"{files.key} holds no whole private key in PEM without a password", Cause.INCOMPLETE
        raise CertificateRejected(why, cause, files.key) from error
    except OSError as error:  # it went away since it was read
        why = f"{files.certificate} or {files.key} cannot be read: {error.strerror}"
        raise CertificateRejected(why, Cause.UNREADABLE, files.key) from error
    return context


def _prove(files: CertificateFiles, part: Part, trusted: bytes) -> tuple[float, tuple[str, ...]]:
    """When it ends, and its names. Raises CertificateRejected for one that a peer would refuse."""
    not_after: float | None = None
    try:
        seen, der = _seen_by_a_peer(files, part, trusted, _IGNORE_TIME)
        not_after = ssl.cert_time_to_seconds(seen["notAfter"])
        _seen_by_a_peer(files, part, trusted, 0)
    except ssl.SSLCertVerificationError as error:
        why, cause = {
            _EXPIRED: ("has expired, or its CA has", Cause.EXPIRED),
            _NOT_YET_VALID: ("is not valid yet, or its CA is not", Cause.NOT_YET_VALID),
            _WRONG_PURPOSE: (f"is not made for a {part} (its extended key usage)", Cause.OTHER_PURPOSE),
        }.get(
            error.verify_code,
            (f"is not signed by a CA in {files.authorities}: {error.verify_message}", Cause.OTHER_AUTHORITY),
        )
        words = f"the certificate in {files.certificate} {why}"
        raise CertificateRejected(words, cause, files.certificate, not_after) from error
    except ssl.SSLError as error:
        words = f"the certificate in {files.certificate} cannot be used: {error.reason}"
        raise CertificateRejected(words, Cause.UNUSABLE, files.certificate, not_after) from error
    if usable_key(der) is None:
        words = f"the key of the certificate in {files.certificate} is not RSA, P-256 or P-384; gRPC can use no other"
        raise CertificateRejected(words, Cause.UNUSABLE, files.certificate, not_after)
    return not_after, tuple(name for kind, name in seen.get("subjectAltName", ()) if kind == "DNS")


def _seen_by_a_peer(files: CertificateFiles, part: Part, trusted: bytes, flags: int) -> tuple[dict[str, Any], bytes]:
    """What a peer that trusts these CAs reads in the certificate, and its DER. Raises ssl.SSLError."""
    server = _context(ssl.PROTOCOL_TLS_SERVER, files)
    client = _context(ssl.PROTOCOL_TLS_CLIENT, files)
    client.check_hostname = False  # by which name it is called differs from peer to peer
    server.verify_mode = client.verify_mode = ssl.CERT_NONE
    peer = client if part == "server" else server
    peer.verify_mode = ssl.CERT_REQUIRED
    peer.load_verify_locations(cadata=_ascii(trusted))
    peer.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | flags  # gRPC, too, trusts a CA that another one has signed
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
    return judge.getpeercert() or {}, judge.getpeercert(True) or b""
