"""The form of keys."""

from __future__ import annotations

import hashlib
import re

import pytest

from ragmesh_servicekit.api_key import new_key, parse


def test_a_new_key_has_the_form_and_is_read_back() -> None:
    key = new_key()
    assert re.fullmatch(r"rag_live_[0-9A-Za-z]{12}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}", key)
    _, _, key_id, secret, _ = key.split("_")
    parsed = parse(key)
    assert parsed is not None
    assert (parsed.key_id, parsed.secret_sha256) == (key_id, hashlib.sha256(secret.encode()).hexdigest())


def test_no_two_keys_are_alike() -> None:
    assert len({new_key() for _ in range(100)}) == 100


def test_a_changed_character_anywhere_is_seen_without_a_look_up() -> None:
    key = new_key()
    for position in range(len("rag_live_"), len(key)):
        if key[position] != "_":
            other = "a" if key[position] != "a" else "b"
            assert parse(key[:position] + other + key[position + 1 :]) is None


@pytest.mark.parametrize("change", [str.upper, lambda k: k + "\n", lambda k: " " + k, lambda k: k[:-1], lambda k: ""])
def test_what_only_looks_like_a_key_is_none(change: object) -> None:
    assert callable(change)
    assert parse(change(new_key())) is None
