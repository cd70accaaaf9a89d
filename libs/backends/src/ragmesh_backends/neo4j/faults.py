"""Neo4j's errors as errors of the mesh. Nothing of the driver leaves the adapters.

The codes are those of https://neo4j.com/docs/status-codes/5/. A message of the server may hold what was stored, so that
only the code is logged.
"""

from __future__ import annotations

import structlog
from neo4j.exceptions import (
    AuthError,
    ConfigurationError,
    ConnectionAcquisitionTimeoutError,
    Neo4jError,
    ServiceUnavailable,
    SessionExpired,
    TransientError,
    UnsupportedServerProduct,
)

from ragmesh_servicekit.errors import Aborted, FailedPrecondition, Internal, MeshError, Reason, Unavailable

log = structlog.get_logger()

_CONTENTION = frozenset(
    {
        "Neo.TransientError.Transaction.DeadlockDetected",
        "Neo.TransientError.Transaction.LockAcquisitionTimeout",
        "Neo.ClientError.Transaction.LockClientStopped",
        "Neo.TransientError.Transaction.LockClientStopped",
        "Neo.TransientError.Transaction.Outdated",
        # IF NOT EXISTS looks before it locks: another process made the same one in between.
        "Neo.ClientError.Schema.EquivalentSchemaRuleAlreadyExists",
        "Neo.ClientError.Schema.ConstraintAlreadyExists",
        "Neo.ClientError.Schema.IndexAlreadyExists",
        "Neo.ClientError.Schema.ConstraintWithNameAlreadyExists",
        "Neo.ClientError.Schema.IndexWithNameAlreadyExists",
    }
)
"""Others held the lock: the transaction was undone, the server is well, and a repetition will succeed."""

_ENDED = frozenset(
    {
        "Neo.ClientError.Transaction.TransactionTimedOut",
        "Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration",
        "Neo.ClientError.Transaction.Terminated",
        "Neo.TransientError.Transaction.Terminated",
    }
)
"""The server has ended the transaction, which took longer than it was given, or because it shuts down."""


_LOGIN_LATER = frozenset(
    {
        "Neo.ClientError.Security.AuthenticationRateLimit",
        "Neo.ClientError.Security.AuthorizationExpired",
        "Neo.TransientError.Security.AuthProviderFailed",
        "Neo.ClientError.Security.AuthProviderTimeout",
        "Neo.ClientError.Security.AuthProviderFailed",
    }
)
"""Says nothing against this login: the first comes to the right password too, after others have tried wrong ones."""


class Contended(Aborted):
    """The transaction lost to another one and was undone; the client repeats it. Says nothing against the server."""


def from_driver(error: BaseException) -> bool:
    """Whether the driver raised the error. Some of its errors (a peer that does not speak Bolt) have no public base."""
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] == "neo4j"


def translate(error: Exception, role: str) -> MeshError:
    """The error that a caller may see. role: the store's role, such as `records`."""
    if isinstance(error, ConnectionAcquisitionTimeoutError):
        return Unavailable(
            f"too many calls of the {role} store are under way; try again",
            reason=Reason.OVERLOADED,
            metadata={"dependency": role},
        )
    if isinstance(error, Neo4jError):
        return _answered(error, role)
    if isinstance(error, (ServiceUnavailable, SessionExpired, OSError)):
        return Unavailable.dependency(role)
    if isinstance(error, UnsupportedServerProduct):
        return Unavailable.dependency(role, f"the server of the {role} store is no Neo4j that the mesh can talk to")
    if isinstance(error, ConfigurationError):
        return FailedPrecondition(f"the {role} store cannot be reached with these settings")
    log.error("neo4j.failed", dependency=role, error=type(error).__name__)
    return Unavailable.dependency(role)


def _answered(error: Neo4jError, role: str) -> MeshError:
    code = error.code or ""
    if code in _LOGIN_LATER:
        log.warning("neo4j.not_now", dependency=role, code=code)
        return Unavailable.dependency(role)
    if isinstance(error, AuthError) or code.startswith("Neo.ClientError.Security."):
        log.error("neo4j.refused", dependency=role, code=code)
        return _to_be_mended(role, "authentication", f"the {role} store refuses the user or the password of the mesh")
    if code in _CONTENTION:
        return Contended(f"others write to the same place of the {role} store; try again")
    if code in _ENDED or isinstance(error, TransientError):
        log.warning("neo4j.not_now", dependency=role, code=code)
        return Unavailable.dependency(role)
    log.error("neo4j.statement_refused", dependency=role, code=code)
    if code == "Neo.ClientError.Database.DatabaseNotFound":
        return FailedPrecondition(f"the server of the {role} store has no such database")
    if code.startswith("Neo.DatabaseError.Transaction."):  # the log cannot be written: a full disk
        return _to_be_mended(role, "no_writes", f"the {role} store takes no writes now; try again later")
    return Internal(f"the {role} store refused a statement")


def _to_be_mended(role: str, cause: str, sentence: str) -> Unavailable:
    """The server answers, and refuses until its operator has changed something: no breaker opens for that."""
    return Unavailable(sentence, metadata={"dependency": role, "cause": cause})
