"""Which kind of public key a certificate holds. Python's ssl does not tell, and gRPC's TLS library (BoringSSL) cannot
use all of those that OpenSSL proves: with Ed25519, P-521 or RSA-PSS every handshake of gRPC fails."""

from __future__ import annotations

from collections.abc import Iterator

_SEQUENCE = 0x30
_VERSION = 0xA0  # [0], absent in version 1

_RSA = bytes.fromhex("06092a864886f70d010101")
_EC = bytes.fromhex("06072a8648ce3d0201")
_CURVES = {
    bytes.fromhex("06082a8648ce3d030107"): "P-256",
    bytes.fromhex("06052b81040022"): "P-384",
}
"""Object identifiers as DER: of RFC 3279 and RFC 5480."""


def usable_key(certificate: bytes) -> str | None:
    """`RSA`, `P-256` or `P-384`, which gRPC can use; None for every other key. certificate: DER, of RFC 5280:
    `Certificate { TBSCertificate { [0] version, serial, signature, issuer, validity, subject, subjectPublicKeyInfo {
    AlgorithmIdentifier { algorithm, parameters }, key }, ... }, ... }`. Raises ValueError for anything else."""
    (_, body), *_ = _elements(certificate)
    (_, signed), *_ = _elements(body)
    fields = [each for each in _elements(signed) if each[0][0] != _VERSION]
    if len(fields) < 6 or fields[5][0][0] != _SEQUENCE:
        raise ValueError("not a certificate")
    (_, algorithm), *_ = _elements(fields[5][1])
    kind, *parameters = (whole for whole, _ in _elements(algorithm))
    if kind == _RSA:
        return "RSA"
    return _CURVES.get(parameters[0]) if kind == _EC and parameters else None


def _elements(der: bytes) -> Iterator[tuple[bytes, bytes]]:
    """What stands one after the other: whole, and its content. Raises ValueError when one is cut off."""
    at = 0
    while at < len(der):
        length, start = int.from_bytes(der[at + 1 : at + 2]), at + 2
        if length & 0x80:  # the long form: so many bytes hold it
            start += length & 0x7F
            length = int.from_bytes(der[at + 2 : start])
        if start + length > len(der):
            raise ValueError("cut off")
        yield der[at : start + length], der[start : start + length]
        at = start + length
