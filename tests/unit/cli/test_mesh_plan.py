"""What `ragmesh up` decides to start."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ragmesh_cli.failure import Failure
from ragmesh_cli.home import Home, HomeLock
from ragmesh_cli.mesh.plan import STORE_VARIABLES, Options, make_plan, own_stores
from ragmesh_cli.mesh.ports import require_free


def test_replicas_get_ports_of_their_own_and_the_gateway_knows_them_all(tmp_path: Path) -> None:
    options = Options(free_ports=True, replicas={"retriever": 2, "generator": 3})
    plan = make_plan(Home(tmp_path), options)
    names = [service.name for service in (*plan.gateways, *plan.inner)]
    assert sorted(names) == [
        "gateway-1", "generator-1", "generator-2", "generator-3", "ingestor-1", "retriever-1", "retriever-2",
    ]  # fmt: skip
    ports = [service.env["RAGMESH_GRPC_PORT"] for service in (*plan.gateways, *plan.inner)]
    assert len(set(ports)) == len(ports)
    target = plan.gateways[0].env["RAGMESH_RETRIEVER_TARGET"]
    retrievers = [service.address for service in plan.inner if service.name.startswith("retriever")]
    assert target == "ipv4:" + ",".join(retrievers)


@pytest.mark.parametrize(("replicas", "sentence"), [({"reader": 2}, "not a service"), ({"retriever": 9}, "1 to 8")])
def test_replicas_that_make_no_sense_are_refused(tmp_path: Path, replicas: dict[str, int], sentence: str) -> None:
    with pytest.raises(Failure, match=sentence):
        make_plan(Home(tmp_path), Options(free_ports=True, replicas=replicas))


def test_everything_is_in_the_home_when_the_user_names_no_store(tmp_path: Path) -> None:
    plan = make_plan(Home(tmp_path), Options(free_ports=True, own_stores=own_stores({"RAGMESH_STATE_URL": " "})))
    assert [store.name for store in plan.stores] == ["redis-state", "redis-cache", "milvus"]
    for service in (*plan.inner, *plan.gateways):
        for name in STORE_VARIABLES:
            assert str(tmp_path) in service.env[name]


@pytest.mark.parametrize(
    ("variable", "started"),
    [
        ("RAGMESH_STATE_URL", ["redis-cache", "milvus"]),
        ("RAGMESH_STATE_URL_FILE", ["redis-cache", "milvus"]),
        ("RAGMESH_CACHE_URL", ["redis-state", "milvus"]),
        ("RAGMESH_VECTORS_URL", ["redis-state", "redis-cache"]),
        ("RAGMESH_RECORDS_URL", ["redis-state", "redis-cache", "milvus"]),
        ("RAGMESH_BLOBS_URL", ["redis-state", "redis-cache", "milvus"]),
    ],
)
def test_a_store_that_the_user_names_is_used_and_none_is_started_in_its_place(
    tmp_path: Path, variable: str, started: list[str]
) -> None:
    """The services inherit the user's environment, so what is left out of theirs is what the user set."""
    named = own_stores({variable: "there", "RAGMESH_RECORDS_PASSWORD": "secret"})
    plan = make_plan(Home(tmp_path), Options(free_ports=True, own_stores=named))
    assert [store.name for store in plan.stores] == started
    for service in (*plan.inner, *plan.gateways):
        missing = set(STORE_VARIABLES) - set(service.env)
        assert missing == {variable.removesuffix("_FILE")}
        assert "RAGMESH_RECORDS_PASSWORD" not in service.env


def test_a_taken_port_is_refused_with_the_option_that_chose_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Failure, match=r"--rest-port: port \d+ on 127\.0\.0\.1 is taken"):
            require_free("127.0.0.1", taken.getsockname()[1], "--rest-port")


def test_a_home_is_private_and_keeps_its_signing_key(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    key = home.identity_file.read_text()
    home.prepare()
    assert home.identity_file.read_text() == key
    assert home.path.stat().st_mode & 0o777 == 0o700
    assert home.identity_file.stat().st_mode & 0o777 == 0o600


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("x")
    with pytest.raises(Failure, match="RAGMESH_HOME"):
        Home(tmp_path / "home").prepare()


def test_state_of_a_process_that_is_gone_does_not_count_as_running(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.running() is None
    home.write_state({"pid": 2**22 - 3, "started": 1.0, "ready": True})
    assert home.running() is None
    HomeLock(home).acquire(print)  # nobody holds the home
