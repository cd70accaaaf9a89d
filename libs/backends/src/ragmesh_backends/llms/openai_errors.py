"""What the failures of an OpenAI-compatible API mean to a caller of the mesh.

    status or event                        error
    400/413/422 context length, content policy   FailedPrecondition MODEL_REFUSED: another question may pass
    400 and other 4xx, 401, 403, 404       Unavailable MODEL_UNAVAILABLE: this deployment's settings are wrong, and
                                           the asker can do nothing about it; metadata.cause says what to look at
    429                                    Unavailable MODEL_UNAVAILABLE with the provider's Retry-After
    5xx, no connection, reset, cut, stall,
    an error inside the stream, not JSON   Unavailable MODEL_UNAVAILABLE

The provider's own words never pass: they may repeat the prompt or a part of the key.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import openai

from ragmesh_servicekit.errors import FailedPrecondition, MeshError, Reason, Unavailable

MAX_RETRY_AFTER_SECONDS = 3600.0

_TOO_LONG = re.compile(r"context[ _](?:length|window|size)|too many tokens|prompt is too long", re.IGNORECASE)
_POLICY = re.compile(r"content[ _](?:policy|filter|management)|safety", re.IGNORECASE)

_CAUSES = {
    401: ("authentication", "the model refuses the configured key"),
    403: ("permission", "the model refuses the configured key"),
    404: ("not_found", "the configured model or address does not exist"),
    402: ("quota", "the model's account has no credit left"),
    408: ("timeout", "the model took too long"),
}


def unavailable(cause: str, sentence: str, *, retry_after_seconds: float | None = None) -> Unavailable:
    """The model cannot answer now. cause: one constant word for metrics and operators."""
    return Unavailable(
        sentence,
        reason=Reason.MODEL_UNAVAILABLE,
        metadata={"dependency": "model", "cause": cause},
        retry_after_seconds=retry_after_seconds,
    )


def refused(cause: str, sentence: str) -> FailedPrecondition:
    """The model will not answer this request, however often it is asked."""
    return FailedPrecondition(sentence, reason=Reason.MODEL_REFUSED, metadata={"dependency": "model", "cause": cause})


def translated(error: openai.OpenAIError) -> MeshError:
    """The mesh's error for an error of the SDK."""
    if isinstance(error, openai.APIStatusError):
        return _of_status(error)
    if isinstance(error, openai.APITimeoutError):
        return unavailable("timeout", "the model took too long to answer")
    if isinstance(error, openai.APIConnectionError):
        return unavailable("connection", "the connection to the model failed")
    return unavailable("provider_error", "the model reported an error while it answered")


def _of_status(error: openai.APIStatusError) -> MeshError:
    status = error.status_code
    if status in {400, 413, 422}:
        told = f"{error.code} {error.type} {error.message}"
        if status == 413 or _TOO_LONG.search(told):
            return refused("context_length", "the question and its sources are longer than the model can read")
        if _POLICY.search(told):
            return refused("content_policy", "the model's content policy refuses this question")
        return unavailable("bad_request", "the model does not accept the request; its settings need a look")
    if status == 429:
        cause = "quota" if error.code == "insufficient_quota" else "rate_limit"
        wait = retry_after_seconds(error.response.headers.get("retry-after"), now=datetime.now(UTC))
        return unavailable(cause, "the model is at its limit of requests", retry_after_seconds=wait)
    cause, sentence = _CAUSES.get(status, (f"status_{status}", f"the model answered with status {status}"))
    wait = retry_after_seconds(error.response.headers.get("retry-after"), now=datetime.now(UTC))
    return unavailable(cause, sentence, retry_after_seconds=wait if status >= 500 else None)


def retry_after_seconds(header: str | None, *, now: datetime) -> float | None:
    """A Retry-After header (RFC 9110: seconds, or a date) in seconds from `now`, between 0 and an hour; None when
    there is none or it is neither."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            at = parsedate_to_datetime(header)
        except ValueError:
            return None
        seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    return min(max(0.0, seconds), MAX_RETRY_AFTER_SECONDS) if seconds == seconds else None  # NaN is not a number
