"""What a caller learns of Neo4j's errors."""

from __future__ import annotations

import pytest
from neo4j.exceptions import ConnectionAcquisitionTimeoutError, Neo4jError, ServiceUnavailable, SessionExpired

from ragmesh_backends.neo4j.faults import Contended, from_driver, translate
from ragmesh_servicekit.errors import FailedPrecondition, Internal, MeshError, Reason, Unavailable


def answered(code: str) -> Neo4jError:
    """As the driver makes it of the server's answer."""
    return Neo4jError._hydrate_neo4j(code=code, message="of secret text")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("Neo.TransientError.Transaction.DeadlockDetected", Contended),
        ("Neo.TransientError.Transaction.LockClientStopped", Contended),
        ("Neo.ClientError.Schema.EquivalentSchemaRuleAlreadyExists", Contended),
        ("Neo.TransientError.General.DatabaseUnavailable", Unavailable),
        ("Neo.TransientError.General.MemoryPoolOutOfMemoryError", Unavailable),
        ("Neo.ClientError.Transaction.TransactionTimedOut", Unavailable),
        ("Neo.ClientError.Security.Unauthorized", Unavailable),
        ("Neo.ClientError.Security.AuthenticationRateLimit", Unavailable),
        ("Neo.DatabaseError.Transaction.TransactionCommitFailed", Unavailable),
        ("Neo.ClientError.Database.DatabaseNotFound", FailedPrecondition),
        ("Neo.ClientError.Statement.SyntaxError", Internal),
        ("Neo.ClientError.Statement.AccessMode", Internal),
        ("Neo.ClientError.Schema.ConstraintValidationFailed", Internal),
        ("Neo.DatabaseError.Statement.ExecutionFailed", Internal),
        ("rubbish", Internal),
    ],
)
def test_an_answer_of_the_server_says_who_is_at_fault_and_nothing_of_its_text(code: str, kind: type[MeshError]) -> None:
    error = translate(answered(code), "graph")
    assert type(error) is kind
    assert "graph store" in error.message
    assert "secret" not in error.message


@pytest.mark.parametrize("error", [ServiceUnavailable("x"), SessionExpired("x"), ConnectionResetError("x"), OSError()])
def test_a_connection_that_is_lost_is_the_dependency_that_is_away(error: Exception) -> None:
    assert from_driver(error)
    found = translate(error, "records")
    assert type(found) is Unavailable
    assert found.metadata == {"dependency": "records"}


def test_a_full_pool_is_overload() -> None:
    found = translate(ConnectionAcquisitionTimeoutError(), "records")
    assert isinstance(found, Unavailable)
    assert found.reason is Reason.OVERLOADED


def test_errors_of_ours_are_not_the_drivers() -> None:
    assert not from_driver(KeyError("x"))
    assert not from_driver(Internal("x"))
