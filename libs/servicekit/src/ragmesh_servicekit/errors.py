"""The error tree of the mesh.

Every error that a caller may see is a `MeshError`: a status code, a reason (an entry of the contract's
`ErrorReason`) and one sentence that names the field or dependency and the limit. It exists so that the domain
can refuse something without knowing gRPC, and so that both surfaces say the same: `status.py` turns a
MeshError into google.rpc.Status and back, and nothing else does.

    MeshError
    |- InvalidArgument      the request is wrong whatever the state; carries field violations
    |- Unauthenticated      no key, a wrong key, a wrong token
    |- PermissionDenied     the key is right, its scopes are not
    |- NotFound             absent, or not yours: the two look alike
    |- AlreadyExists
    |- FailedPrecondition   the state forbids it; a retry without a change will not help
    |- Aborted              lost a race, or another payload under the same request id
    |- ResourceExhausted    a quota of the caller
    |- Unavailable          a dependency is down, or the process is overloaded or draining; may be retried
    |- DeadlineExceeded
    `- Internal             our fault; its sentence says nothing about the inside

asyncio.CancelledError is not in the tree: cancellation is not an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """The status codes in use, by their gRPC names."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    INTERNAL = "INTERNAL"


class Reason(StrEnum):
    """Why, by the names of `ragmesh.common.v1.ErrorReason` (a test compares the two)."""

    FIELD_INVALID = "FIELD_INVALID"
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    MALFORMED_REQUEST = "MALFORMED_REQUEST"
    CONTENT_TYPE_MISMATCH = "CONTENT_TYPE_MISMATCH"
    CONTENT_INVALID = "CONTENT_INVALID"
    CONTENT_TOO_LARGE = "CONTENT_TOO_LARGE"
    KEY_MISSING = "KEY_MISSING"
    KEY_INVALID = "KEY_INVALID"
    IDENTITY_MISSING = "IDENTITY_MISSING"
    IDENTITY_INVALID = "IDENTITY_INVALID"
    SCOPE_MISSING = "SCOPE_MISSING"
    COLLECTION_NOT_FOUND = "COLLECTION_NOT_FOUND"
    DOCUMENT_NOT_FOUND = "DOCUMENT_NOT_FOUND"
    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    KEY_NOT_FOUND = "KEY_NOT_FOUND"
    ROUTE_NOT_FOUND = "ROUTE_NOT_FOUND"
    COLLECTION_EXISTS = "COLLECTION_EXISTS"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    STATE_CONFLICT = "STATE_CONFLICT"
    JOB_FINISHED = "JOB_FINISHED"
    OVERLOADED = "OVERLOADED"
    DRAINING = "DRAINING"
    DEPENDENCY_UNAVAILABLE = "DEPENDENCY_UNAVAILABLE"
    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
    MODEL_REFUSED = "MODEL_REFUSED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field that is wrong: its path in the request (`metadata.author`, `documents[3].text`) and one sentence."""

    field: str
    description: str


class MeshError(Exception):
    """An error that a caller may see.

    message: one sentence without document text, secrets or internal names.
    metadata: short machine-readable facts for ErrorInfo.metadata (a dependency's name, a limit).
    retry_after_seconds: when given, the caller is told to wait that long (RetryInfo, Retry-After);
        a negative number means "do not retry" and becomes `grpc-retry-pushback-ms: -1`.
    relayed: another of our services answered with it, so that a channel of ours has asked every replica that it may.
    """

    code: Code = Code.INTERNAL
    default_reason: Reason = Reason.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        reason: Reason | None = None,
        violations: Sequence[FieldViolation] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})
        self.retry_after_seconds = retry_after_seconds
        self.relayed = False


class InvalidArgument(MeshError):
    code = Code.INVALID_ARGUMENT
    default_reason = Reason.FIELD_INVALID

    @classmethod
    def field(cls, field: str, description: str, reason: Reason | None = None) -> InvalidArgument:
        """A refusal of one field; the message is `field: description`."""
        return cls(
            f"{field}: {description}",
            reason=reason,
            violations=[FieldViolation(field, description)],
        )


class Unauthenticated(MeshError):
    code = Code.UNAUTHENTICATED
    default_reason = Reason.KEY_INVALID


class PermissionDenied(MeshError):
    code = Code.PERMISSION_DENIED
    default_reason = Reason.SCOPE_MISSING


class NotFound(MeshError):
    code = Code.NOT_FOUND
    default_reason = Reason.ROUTE_NOT_FOUND


class AlreadyExists(MeshError):
    code = Code.ALREADY_EXISTS
    default_reason = Reason.COLLECTION_EXISTS


class FailedPrecondition(MeshError):
    code = Code.FAILED_PRECONDITION
    default_reason = Reason.STATE_CONFLICT


class Aborted(MeshError):
    code = Code.ABORTED
    default_reason = Reason.REQUEST_ID_REUSED


class ResourceExhausted(MeshError):
    code = Code.RESOURCE_EXHAUSTED
    default_reason = Reason.OVERLOADED


TIMED_OUT = "timeout"
"""metadata.cause of a dependency that was waited for as long as it may be."""


class Unavailable(MeshError):
    code = Code.UNAVAILABLE
    default_reason = Reason.DEPENDENCY_UNAVAILABLE

    @classmethod
    def dependency(cls, name: str, sentence: str | None = None, *, cause: str = "") -> Unavailable:
        """A dependency does not answer; `name` is its role (`vectors`, `records`, `queue`, `model`)."""
        return cls(
            sentence or f"the {name} store does not answer; try again",
            metadata={"dependency": name, "cause": cause} if cause else {"dependency": name},
        )


class DeadlineExceeded(MeshError):
    code = Code.DEADLINE_EXCEEDED
    default_reason = Reason.DEADLINE_EXCEEDED


class Internal(MeshError):
    code = Code.INTERNAL
    default_reason = Reason.INTERNAL
