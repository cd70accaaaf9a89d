"""What grpc's words for a failed connection tell of certificates."""

from __future__ import annotations


def refusal(details: str | None) -> str:
    """Why a peer's certificate was not accepted, when that is what grpc's words for a failed connection tell; else
    nothing. A peer that does not accept ours closes the connection without a word that would reach us."""
    for told in ("CERTIFICATE_VERIFY_FAILED: ", "Hostname Verification Check failed"):
        if details and told in details:
            why = details.partition(told)[2].partition(":")[0].strip(" .")
            return why or "it has another name"
    return ""
