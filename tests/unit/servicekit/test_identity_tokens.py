"""Tokens: for one service, sixty seconds and the keys of the mesh."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from ragmesh_servicekit.errors import Reason, Unauthenticated
from ragmesh_servicekit.identity import Identity
from ragmesh_servicekit.tokens import LEEWAY_SECONDS, LIFE_SECONDS, TokenMinter, TokenVerifier

OLD, NEW = {"old": b"o" * 32}, {"new": b"n" * 32}
ANNA = Identity("acme", "anna", ("staff", "admins"), frozenset({"query", "documents:write"}), "r-1")


class Clock:
    """A wall clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def forged(key: bytes | None = OLD["old"], algorithm: str = "HS256", kid: Any = "old", **changes: Any) -> str:
    claims: dict[str, Any] = {
        "tenant": "acme",
        "sub": "anna",
        "groups": [],
        "scopes": [],
        "rid": "r",
        "aud": "retriever",
        "iat": 1_000_000,
        "exp": 1_000_060,
    }
    claims.update(changes)
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


def test_an_identity_survives_the_way(clock: Clock) -> None:
    token = TokenMinter(OLD, clock).mint(ANNA, "retriever")
    verifier = TokenVerifier(OLD, "retriever", clock)
    assert verifier.verify(token) == ANNA
    assert verifier.verify(token) == ANNA  # from memory


def test_a_token_expires_though_it_was_seen_before(clock: Clock) -> None:
    token, verifier = TokenMinter(OLD, clock).mint(ANNA, "retriever"), TokenVerifier(OLD, "retriever", clock)
    clock.now += LIFE_SECONDS + LEEWAY_SECONDS - 1
    assert verifier.verify(token) == ANNA
    clock.now += 1
    with pytest.raises(Unauthenticated, match="expired"):
        verifier.verify(token)


def test_keys_rotate_without_a_refusal(clock: Clock) -> None:
    both_old_first, both_new_first = {**OLD, **NEW}, {**NEW, **OLD}
    steps = [(OLD, OLD), (OLD, both_old_first), (both_old_first, both_old_first), (both_old_first, both_new_first)]
    steps += [(both_new_first, both_old_first), (both_new_first, both_new_first), (both_new_first, NEW)]
    for mints, verifies in steps:
        token = TokenMinter(mints, clock).mint(ANNA, "retriever")
        assert TokenVerifier(verifies, "retriever", clock).verify(token) == ANNA


@pytest.mark.parametrize(
    "token",
    [
        "nonsense",
        "a.b.c",
        forged(aud="generator"),
        forged(aud=None),
        forged(exp=None),
        forged(iat=None),
        forged(sub=None),
        forged(tenant=None),
        forged(groups=None),
        forged(exp="soon"),
        forged(iat=1_000_100),
        forged(key=b"x" * 32),
        forged(kid="new"),
        forged(kid=None),
        forged(key=b"o" * 64, algorithm="HS512"),
        jwt.encode(
            {"tenant": "acme", "sub": "anna", "aud": "retriever"}, None, algorithm="none", headers={"kid": "old"}
        ),
    ],
)
def test_anything_else_is_refused_alike(token: str, clock: Clock) -> None:
    with pytest.raises(Unauthenticated) as caught:
        TokenVerifier(OLD, "retriever", clock).verify(token)
    assert caught.value.reason is Reason.IDENTITY_INVALID


def test_no_token_is_a_reason_of_its_own() -> None:
    with pytest.raises(Unauthenticated) as caught:
        TokenVerifier(OLD, "retriever").verify("")
    assert caught.value.reason is Reason.IDENTITY_MISSING


def test_what_is_remembered_is_bounded(clock: Clock) -> None:
    verifier, minter = TokenVerifier(OLD, "retriever", clock), TokenMinter(OLD, clock)
    for number in range(1100):
        verifier.verify(minter.mint(Identity("acme", f"user-{number}"), "retriever"))
    assert len(verifier._seen) == 1024
