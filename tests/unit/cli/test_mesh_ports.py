"""Ports: the public ones as asked for or refused with the reason, the inner ones wherever there is room."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragmesh_cli.failure import Failure
from ragmesh_cli.home import Home
from ragmesh_cli.mesh.plan import Options, make_plan
from ragmesh_cli.mesh.ports import FREE_RANGE, Ports, is_free, require_free

HOST = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind((HOST, 0))
        server.listen()
        yield int(server.getsockname()[1])


def test_a_taken_public_port_is_refused_with_option_variable_and_the_process_that_holds_it(taken: int) -> None:
    with pytest.raises(Failure) as refusal:
        Ports(HOST, free_ports=False).public(taken, "--rest-port")
    sentence = str(refusal.value)
    assert sentence.startswith(f"--rest-port: port {taken} on {HOST} is taken by ")
    assert f"(pid {os.getpid()})" in sentence
    assert "RAGMESH_REST_PORT" in sentence
    assert "\n" not in sentence


def test_a_taken_inner_port_gives_way_to_a_free_one(taken: int) -> None:
    port = Ports(HOST, free_ports=False).inner(taken, HOST)
    assert port in FREE_RANGE
    assert is_free(HOST, port)


def test_no_port_is_given_twice() -> None:
    ports = Ports(HOST, free_ports=True)
    given = [ports.public(8080, "--rest-port"), *(ports.inner(9091, HOST) for _ in range(20))]
    assert len(set(given)) == len(given)
    fixed = Ports(HOST, free_ports=False)
    free = ports.inner(0, HOST)
    assert fixed.public(free, "--rest-port") == free
    with pytest.raises(Failure, match="--grpc-port"):
        fixed.public(free, "--grpc-port")
    assert fixed.inner(free, HOST) != free


def test_an_address_of_another_machine_is_named_as_the_fault_of_the_host_option() -> None:
    with pytest.raises(Failure, match=r"--host: 192\.0\.2\.1 is not an address of this machine"):
        require_free("192.0.2.1", 8080, "--rest-port")


def test_only_the_gateway_listens_where_the_user_said_and_is_reached_on_this_machine(tmp_path: Path) -> None:
    plan = make_plan(Home(tmp_path), Options(host="0.0.0.0", free_ports=True))
    assert plan.gateways[0].env["RAGMESH_HOST"] == "0.0.0.0"
    assert plan.rest.startswith(f"http://{HOST}:")
    assert plan.grpc.startswith(f"{HOST}:")
    for service in (*plan.inner, *plan.gateways):
        assert service.env["RAGMESH_ADMIN_HOST"] == HOST
    assert {service.env["RAGMESH_HOST"] for service in plan.inner} == {HOST}


@pytest.mark.parametrize("host", ["nowhere", "::1", "1.2.3", ""])
def test_a_host_that_is_no_address_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(Failure, match="--host"):
        make_plan(Home(tmp_path), Options(host=host, free_ports=True))


def test_public_ports_come_first_so_that_a_default_inner_port_may_be_chosen(tmp_path: Path) -> None:
    free = Ports(HOST, free_ports=True)
    rest, grpc = free.inner(0, HOST), free.inner(0, HOST)
    plan = make_plan(Home(tmp_path), Options(rest_port=rest, grpc_port=grpc))
    assert plan.rest == f"http://{HOST}:{rest}"
    assert plan.gateways[0].env["RAGMESH_GRPC_PORT"] == str(grpc)


def test_every_service_gets_the_stores_its_secret_by_file_and_a_name(tmp_path: Path) -> None:
    home = Home(tmp_path)
    plan = make_plan(home, Options(free_ports=True, replicas={"retriever": 2}))
    for service in (*plan.inner, *plan.gateways):
        assert service.env["RAGMESH_INSTANCE"] == service.name
        assert service.env["RAGMESH_IDENTITY_KEYS_FILE"] == str(home.identity_file)
        assert service.env["RAGMESH_VECTORS_URL"].startswith("unix:")
        assert service.env["RAGMESH_RECORDS_URL"] == f"sqlite:{home.path / 'records.db'}"
        assert service.log_path == home.logs / f"{service.name}.log"
    assert "RAGMESH_RETRIEVER_TARGET" not in plan.inner[0].env
    assert plan.gateways[0].env["RAGMESH_BOOTSTRAP_KEY_FILE"] == str(home.key_file)
