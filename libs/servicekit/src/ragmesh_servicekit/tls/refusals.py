"""What grpc's words for a failed connection tell of certificates."""

from __future__ import annotations

_UNCONNECTED = ("failed to connect to all addresses", "connections to all backends failing")


def refusal(details: str | None) -> str:
    """Why a peer's certificate was not accepted, when that is what grpc's words for a failed connection tell; else
    nothing."""
    for told in ("CERTIFICATE_VERIFY_FAILED: ", "Hostname Verification Check failed"):
        if details and told in details:
            why = details.partition(told)[2].partition(":")[0].strip(" .")
            return why or "it has another name"
    return ""


def suspicion(details: str | None) -> str:
    """What may be wrong with TLS when a peer closes connections as soon as they are made; else nothing. A peer that
    does not accept our certificate does so, without a word that would reach us; its grpc says why on its stderr."""
    if not details or not any(words in details for words in _UNCONNECTED):
        return ""
    if "WRONG_VERSION_NUMBER" in details:
        return "it has no TLS, and this process has"
    if "Socket closed" in details or "Connection reset" in details:
        return "it closes connections at once: it does not accept this process's certificate, or only one side has TLS"
    return ""
