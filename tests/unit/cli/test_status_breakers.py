"""What `ragmesh status` says of breakers, from the health report of a service."""

from __future__ import annotations

import os

import pytest

from ragmesh_cli.commands import status
from ragmesh_cli.mesh import health

REPORT = {
    "ready": True,
    "checks": {"vectors": {"state": "ok", "detail": ""}},
    "breakers": [
        {"dependency": "vectors", "endpoint": "unix:/m.sock", "state": "open"},
        {"dependency": "state", "endpoint": "host:6379/0", "state": "closed"},
    ],
}
ENTRY = {"name": "retriever-2", "pid": os.getpid(), "restarts": 0, "admin": "127.0.0.1:1"}


def test_people_are_told_of_breakers_that_are_not_closed_and_programs_of_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(health, "report", lambda _: REPORT)
    process = status._process(ENTRY)
    assert [(one.process, one.dependency, one.state) for one in process.breakers] == [
        ("retriever-2", "vectors", "open"),
        ("retriever-2", "state", "closed"),
    ]
    status._print(process)
    told = capsys.readouterr().out
    assert "vectors: breaker open (unix:/m.sock)" in told
    assert "6379" not in told


def test_a_service_of_before_has_no_breakers_to_tell_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "report", lambda _: {"ready": True})
    assert list(status._process(ENTRY).breakers) == []
