"""What a mesh is made of: which processes, on which ports, with which settings. Pure but for looking at ports."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ragmesh_cli.failure import Failure
from ragmesh_cli.home import Home
from ragmesh_cli.mesh.ports import free_port, require_free
from ragmesh_cli.stores import milvus_lite, redis_server
from ragmesh_cli.stores.command import StoreCommand

INNER = ("ingestor", "retriever", "generator")
BASE_PORTS = {"retriever": 9091, "generator": 9092, "ingestor": 9093}
ADMIN_BASE_PORT = 9464
REPLICA_STEP = 10


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chose."""

    host: str = "127.0.0.1"
    rest_port: int = 8080
    grpc_port: int = 9090
    free_ports: bool = False
    replicas: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Service:
    """One service process. `admin` is where its health and metrics answer."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    log_path: Path
    address: str
    admin: str


@dataclass(frozen=True, slots=True)
class Plan:
    stores: tuple[StoreCommand, ...]
    inner: tuple[Service, ...]
    gateways: tuple[Service, ...]
    rest: str
    grpc: str


def make_plan(home: Home, options: Options, environ: Mapping[str, str]) -> Plan:
    """The processes to start. Raises Failure for a taken port or a wrong number of replicas."""
    for name, count in options.replicas.items():
        if name not in (*INNER, "gateway"):
            raise Failure(f"--replicas: {name} is not a service; the services are gateway, {', '.join(INNER)}")
        if not 1 <= count <= 8:
            raise Failure(f"--replicas: {name}={count} is out of range; 1 to 8 replicas can be started")
    stores = (
        redis_server.state_command(home.path),
        redis_server.cache_command(home.path),
        milvus_lite.command(home.path),
    )
    ports = _Ports(options)
    shared = _shared_environment(home, stores)
    inner: list[Service] = []
    targets: dict[str, str] = {}
    for name in INNER:
        addresses = []
        for number in range(1, options.replicas.get(name, 1) + 1):
            port = ports.take(BASE_PORTS[name] + REPLICA_STEP * (number - 1), f"the {name}'s port")
            admin = ports.admin()
            env = {**shared, "RAGMESH_GRPC_PORT": str(port), "RAGMESH_ADMIN_PORT": str(admin)}
            inner.append(_service(home, options.host, name, number, env, port, admin))
            addresses.append(f"{options.host}:{port}")
        targets[f"RAGMESH_{name.upper()}_TARGET"] = "ipv4:" + ",".join(addresses)
    gateways: list[Service] = []
    for number in range(1, options.replicas.get("gateway", 1) + 1):
        rest = ports.take(options.rest_port + number - 1, "--rest-port")
        grpc = ports.take(options.grpc_port + REPLICA_STEP * 100 * (number - 1), "--grpc-port")
        admin = ports.admin()
        env = {
            **shared,
            **targets,
            "RAGMESH_GRPC_PORT": str(grpc),
            "RAGMESH_REST_PORT": str(rest),
            "RAGMESH_ADMIN_PORT": str(admin),
            "RAGMESH_BOOTSTRAP_KEY_FILE": str(home.key_file),
        }
        gateways.append(_service(home, options.host, "gateway", number, env, grpc, admin))
    first = gateways[0].env
    return Plan(
        stores=stores,
        inner=tuple(inner),
        gateways=tuple(gateways),
        rest=f"http://{options.host}:{first['RAGMESH_REST_PORT']}",
        grpc=f"{options.host}:{first['RAGMESH_GRPC_PORT']}",
    )


class _Ports:
    """Hands out ports: the named ones when they are free, or free ones when asked."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._taken: set[int] = set()
        self._next_admin = ADMIN_BASE_PORT

    def take(self, port: int, option: str) -> int:
        host = self._options.host
        if self._options.free_ports:
            port = free_port(host)
            while port in self._taken:
                port = free_port(host)
        else:
            require_free(host, port, option)
        self._taken.add(port)
        return port

    def admin(self) -> int:
        port = self.take(self._next_admin, "the admin port")
        self._next_admin += 1
        return port


def _shared_environment(home: Home, stores: tuple[StoreCommand, ...]) -> dict[str, str]:
    state, cache, milvus = stores
    return {
        "GRPC_VERBOSITY": "ERROR",  # its core writes a line that is no JSON whenever a peer goes away
        "RAGMESH_STATE_URL": state.address,
        "RAGMESH_CACHE_URL": cache.address,
        "RAGMESH_VECTORS_URL": milvus.address,
        "RAGMESH_RECORDS_URL": f"sqlite:{home.path / 'records.db'}",
        "RAGMESH_BLOBS_URL": f"file:{home.path / 'blobs'}",
        "RAGMESH_MODELS_DIR": str(home.path / "models"),
        "RAGMESH_IDENTITY_KEYS_FILE": str(home.identity_file),
    }


def _service(home: Home, host: str, name: str, number: int, env: Mapping[str, str], port: int, admin: int) -> Service:
    instance = f"{name}-{number}"
    return Service(
        name=instance,
        argv=(sys.executable, "-m", f"ragmesh_{name}"),
        env={**env, "RAGMESH_HOST": host, "RAGMESH_ADMIN_HOST": host, "RAGMESH_INSTANCE": instance},
        log_path=home.logs / f"{instance}.log",
        address=f"{host}:{port}",
        admin=f"{host}:{admin}",
    )
