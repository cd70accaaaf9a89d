"""The doctor's checks of variables, machine and network: each finding says what is wrong and what to do."""

from __future__ import annotations

import os
import re
import resource
import shutil
import socket
import sys
import time
from collections import namedtuple
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import ragmesh_cli
from ragmesh_cli.doctor import machine, network, variables
from ragmesh_cli.doctor.finding import Finding, Level, Situation
from ragmesh_cli.home import Home
from ragmesh_servicekit.errors import FailedPrecondition


def at(home: Path, **environ: str) -> Situation:
    return Situation(Home(home), environ, None)


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


# -- variables --------------------------------------------------------------------------------------


def test_an_unknown_variable_is_named_with_the_nearest_known_one(tmp_path: Path) -> None:
    finding = only(variables.settings(at(tmp_path, RAGMESH_REST_PROT="1")))
    assert finding.level is Level.ERROR
    assert finding.what == "RAGMESH_REST_PROT is set, and nothing reads it"
    assert finding.cure == "is it RAGMESH_REST_PORT?"
    assert "docs/settings.md" in only(variables.settings(at(tmp_path, RAGMESH_XYZZY="1"))).cure


def test_malformed_variables_are_named_once_and_secrets_are_not_shown(tmp_path: Path) -> None:
    found = variables.settings(
        at(tmp_path, RAGMESH_GRACE_SECONDS="x", RAGMESH_IDENTITY_KEYS="k1:hunter2", RAGMESH_STATE_URL="redis://:pw@h/0")
    )
    assert sorted(f.what.partition(":")[0] for f in found) == ["RAGMESH_GRACE_SECONDS", "RAGMESH_IDENTITY_KEYS"]
    assert not any("hunter2" in f.what or "pw" in f.what for f in found)


def test_a_login_in_an_address_is_not_shown(tmp_path: Path) -> None:
    finding = only(variables.settings(at(tmp_path, RAGMESH_BLOBS_S3_ENDPOINT="ftp://ada:hunter2@h/x")))
    assert finding.level is Level.ERROR
    assert "hunter2" not in finding.what
    assert "//…@h/x" in finding.what


def test_variables_that_only_go_together_are_checked_although_others_are_not_set(tmp_path: Path) -> None:
    finding = only(variables.settings(at(tmp_path, RAGMESH_EMBEDDING_URL="http://h/v1")))
    assert finding.what == "RAGMESH_EMBEDDING_NAME: must be set with RAGMESH_EMBEDDING_URL"


def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    finding = only(variables.settings(at(tmp_path, RAGMESH_IDENTITY_KEYS_FILE=str(tmp_path / "nothing"))))
    assert finding.what.startswith(f"RAGMESH_IDENTITY_KEYS_FILE: {tmp_path / 'nothing'} cannot be read")


def test_variables_of_tests_and_of_others_are_not_looked_at(tmp_path: Path) -> None:
    finding = only(variables.settings(at(tmp_path, RAGMESH_TEST_NEO4J_URL="x", PATH="/bin", RAGMESH_REFLECTION="true")))
    assert finding.what == "1 RAGMESH_* variable set, known and well-formed"
    assert only(variables.settings(at(tmp_path))).level is Level.OK


def test_every_variable_that_the_command_line_reads_is_known() -> None:
    source = Path(ragmesh_cli.__file__).parent
    read = {
        name
        for path in source.rglob("*.py")
        for name in re.findall(r'(?:environ(?:\.get)?[(\[]|envvar=)"(RAGMESH_[A-Z_]+)"', path.read_text())
    }
    assert {"RAGMESH_HOME", "RAGMESH_KEY", "RAGMESH_REST_PORT"} <= read
    assert read <= variables.known()


# -- machine ----------------------------------------------------------------------------------------

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("free", "level"), [(150_000_000, Level.ERROR), (1_900_000_000, Level.WARNING), (2_100_000_000, Level.OK)]
)
def test_a_disk_that_fills_up_is_a_warning_and_then_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: Level
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, free))
    finding = only(machine.disk(at(tmp_path / "not" / "there" / "yet")))
    assert finding.level is level
    assert str(tmp_path) in finding.what
    assert level is Level.OK or "RAGMESH_HOME" in finding.cure


Room = namedtuple("Room", "f_files f_favail")


@pytest.mark.parametrize(
    ("room", "level"),
    [(Room(10**6, 500), Level.ERROR), (Room(10**6, 5_000), Level.WARNING), (Room(0, 0), Level.OK)],
)
def test_a_disk_without_inodes_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: Room, level: Level
) -> None:
    monkeypatch.setattr(machine, "_room", lambda place: room)
    assert only(machine.disk(at(tmp_path))).level is level


@pytest.mark.parametrize(
    ("soft", "level"),
    [(128, Level.ERROR), (512, Level.WARNING), (1024, Level.OK), (resource.RLIM_INFINITY, Level.OK)],
)
def test_too_few_open_files_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, soft: int, level: Level) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, 4096))
    finding = only(machine.files(at(tmp_path)))
    assert finding.level is level
    assert level is Level.OK or finding.cure == "ulimit -n 1024 (allowed: 4096)"


def test_a_clock_that_is_behind_what_it_wrote_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(machine.clock(at(tmp_path))).level is Level.OK
    (tmp_path / "records.db").touch()
    os.utime(tmp_path / "records.db", (time.time() + 3600, time.time() + 3600))
    finding = only(machine.clock(at(tmp_path)))
    assert (finding.level, str(tmp_path / "records.db") in finding.what) == (Level.ERROR, True)


def test_a_python_that_is_not_supported_and_packages_that_differ_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert only(machine.python(at(tmp_path))).level is Level.OK
    monkeypatch.setattr(machine, "version", lambda package: "0.2.0" if package == "ragmesh-gateway" else "0.1.0")
    assert "ragmesh-gateway 0.2.0" in only(machine.python(at(tmp_path))).what
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    assert "Python 3.14 is not supported" in only(machine.python(at(tmp_path))).what


def test_programs_that_are_missing_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(machine.redis(at(tmp_path))).level is Level.OK
    assert only(machine.milvus(at(tmp_path))).level is Level.OK

    def missing(*_: object) -> None:
        raise FailedPrecondition("it is not there: install it")

    monkeypatch.setattr(machine.redis_server, "program", missing)
    monkeypatch.setattr(machine.milvus_lite, "library_folder", missing)
    for finding in (only(machine.redis(at(tmp_path))), only(machine.milvus(at(tmp_path)))):
        assert (finding.level, finding.what) == (Level.ERROR, "it is not there: install it")
    named = at(tmp_path, RAGMESH_STATE_URL_FILE="/f", RAGMESH_CACHE_URL="redis://h", RAGMESH_VECTORS_URL="http://h")
    assert only(machine.redis(named)).level is Level.OK  # none would be started
    assert only(machine.milvus(named)).level is Level.OK
    (tmp_path / "milvus").touch(0o644)
    monkeypatch.setattr(machine.milvus_lite, "library_folder", lambda: tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert only(machine.milvus(at(tmp_path))).cure == f"chmod u+x {tmp_path / 'milvus'}"


# -- network ----------------------------------------------------------------------------------------


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_a_port_that_is_taken_is_named_with_its_holder(tmp_path: Path, listening: int) -> None:
    finding = only(network.ports(at(tmp_path, RAGMESH_REST_PORT=str(listening), RAGMESH_GRPC_PORT="1x")))
    assert finding.level is Level.ERROR
    assert finding.what == f"port {listening} on 127.0.0.1 is taken by this process itself"
    assert finding.cure == "stop that process, or choose another with --rest-port or RAGMESH_REST_PORT"


def test_the_ports_of_a_mesh_that_runs_are_its_own(tmp_path: Path) -> None:
    state: Mapping[str, object] = {"rest": "http://127.0.0.1:8080", "grpc": "127.0.0.1:9090"}
    assert only(network.ports(Situation(Home(tmp_path), {}, state))).level is Level.OK


def test_a_server_elsewhere_that_cannot_be_reached_is_named_without_its_password(
    tmp_path: Path, listening: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = closed.getsockname()[1]
    (tmp_path / "state.url").write_text(f"redis://user:hunter2@127.0.0.1:{nobody}/0\n")
    found = network.elsewhere(
        at(
            tmp_path,
            RAGMESH_STATE_URL_FILE=str(tmp_path / "state.url"),
            RAGMESH_RECORDS_URL=f"neo4j+s://127.0.0.1:{listening}",
            RAGMESH_OTLP_ENDPOINT=f"127.0.0.1:{nobody}",
            RAGMESH_EMBEDDING_URL="https://nowhere.invalid/v1",
            RAGMESH_VECTORS_URL="unix:/tmp/milvus.sock",
            RAGMESH_BLOBS_URL="s3://bucket/prefix",
            RAGMESH_CACHE_URL="redis://[broken",
        )
    )
    assert {f.what.partition(":")[0]: f.level for f in found} == {
        "RAGMESH_EMBEDDING_URL": Level.ERROR,
        "RAGMESH_OTLP_ENDPOINT": Level.WARNING,
        "RAGMESH_RECORDS_URL": Level.OK,
        "RAGMESH_STATE_URL": Level.ERROR,
    }
    refused = next(f for f in found if f.what.startswith("RAGMESH_STATE_URL"))
    assert refused.what == f"RAGMESH_STATE_URL: 127.0.0.1:{nobody} cannot be reached: Connection refused"
    assert not any("hunter2" in f.what for f in found)
