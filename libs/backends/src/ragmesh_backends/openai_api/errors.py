"""What the failures of an OpenAI-compatible API mean to a caller of the mesh.

    status or event                        error
    400/413/422 context length, content policy   FailedPrecondition MODEL_REFUSED: another text may pass
    400 and other 4xx, 401, 403, 404       Unavailable MODEL_UNAVAILABLE: this deployment's settings are wrong, and
                                           the asker can do nothing about it; metadata.cause says what to look at
    429                                    Unavailable MODEL_UNAVAILABLE with the provider's Retry-After
    5xx, no connection, reset, cut, stall,
    an error inside the stream, not JSON   Unavailable MODEL_UNAVAILABLE

The provider's own words never pass: they may repeat the prompt or a part of the key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import openai

from ragmesh_servicekit.errors import FailedPrecondition, MeshError, Reason, Unavailable

MAX_RETRY_AFTER_SECONDS = 3600.0

BAD_REQUEST = "bad_request"
"""metadata.cause of a 400, 413 or 422 that names neither length nor policy."""

_TOO_LONG = re.compile(
    r"context[ _](?:length|window|size)|too many tokens|(?:prompt|input) is too (?:long|large)|less than \d+ tokens",
    re.IGNORECASE,
)
_POLICY = re.compile(r"content[ _](?:policy|filter|management)|safety", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ApiErrors:
    """The errors of one use of the API. dependency: its role. subject: how sentences call it (`the model`).
    too_long, against_policy: the sentences of the two refusals."""

    dependency: str
    subject: str
    too_long: str
    against_policy: str

    def unavailable(self, cause: str, sentence: str, *, retry_after_seconds: float | None = None) -> Unavailable:
        """It cannot answer now. cause: one constant word for metrics and operators. sentence: goes on from the
        subject."""
        return Unavailable(
            f"{self.subject} {sentence}",
            reason=Reason.MODEL_UNAVAILABLE,
            metadata={"dependency": self.dependency, "cause": cause},
            retry_after_seconds=retry_after_seconds,
        )

    def refused(self, cause: str, sentence: str) -> FailedPrecondition:
        """It will not answer this request, however often it is asked."""
        return FailedPrecondition(
            sentence, reason=Reason.MODEL_REFUSED, metadata={"dependency": self.dependency, "cause": cause}
        )

    def translated(self, error: openai.OpenAIError) -> MeshError:
        """The mesh's error for an error of the SDK."""
        if isinstance(error, openai.APIStatusError):
            return self._of_status(error)
        if isinstance(error, openai.APITimeoutError):
            return self.unavailable("timeout", "took too long to answer")
        if isinstance(error, openai.APIConnectionError):
            return self.unavailable("connection", "cannot be reached, or its connection failed")
        return self.unavailable("provider_error", "reported an error while it answered")

    def _of_status(self, error: openai.APIStatusError) -> MeshError:
        status = error.status_code
        if status in {400, 413, 422}:
            told = f"{error.code} {error.type} {error.message}"
            if status == 413 or _TOO_LONG.search(told):
                return self.refused("context_length", self.too_long)
            if _POLICY.search(told):
                return self.refused("content_policy", self.against_policy)
            return self.unavailable(BAD_REQUEST, "does not accept the request; its settings need a look")
        wait = retry_after_seconds(error.response.headers.get("retry-after"), now=datetime.now(UTC))
        if status == 429:
            cause = "quota" if error.code == "insufficient_quota" else "rate_limit"
            return self.unavailable(cause, "is at its limit of requests", retry_after_seconds=wait)
        cause, sentence = _CAUSES.get(status, (f"status_{status}", f"answered with status {status}"))
        return self.unavailable(cause, sentence, retry_after_seconds=wait if status >= 500 else None)


_CAUSES = {
    401: ("authentication", "refuses the configured key"),
    403: ("permission", "refuses the configured key"),
    404: ("not_found", "does not exist under the configured name and address"),
    402: ("quota", "has no credit left in its account"),
    408: ("timeout", "took too long"),
}


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
