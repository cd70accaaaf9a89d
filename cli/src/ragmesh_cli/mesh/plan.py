"""What a mesh is made of: which processes, on which ports, with which settings. Pure but for looking at ports."""

from __future__ import annotations

import ipaddress
import itertools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ragmesh_cli.failure import Failure
from ragmesh_cli.home import Home
from ragmesh_cli.mesh.places import of_home
from ragmesh_cli.mesh.ports import Ports
from ragmesh_cli.stores import milvus_lite, redis_server
from ragmesh_cli.stores.command import StoreCommand

INNER = ("ingestor", "retriever", "generator")
BASE_PORTS = {"retriever": 9091, "generator": 9092, "ingestor": 9093}
ADMIN_BASE_PORT = 9464
REPLICA_STEP = 10
LOOPBACK = "127.0.0.1"
"""Where the inner services and every admin port listen, whatever --host says: they are for this machine only."""

ANY_ADDRESS = "0.0.0.0"  # noqa: S104  # what a user asks for with --host, not a default

STORE_VARIABLES = (
    "RAGMESH_STATE_URL",
    "RAGMESH_CACHE_URL",
    "RAGMESH_VECTORS_URL",
    "RAGMESH_RECORDS_URL",
    "RAGMESH_BLOBS_URL",
)
"""Where the stores are; each may be set by the user."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chose."""

    host: str = "127.0.0.1"
    rest_port: int = 8080
    grpc_port: int = 9090
    free_ports: bool = False
    replicas: Mapping[str, int] = field(default_factory=dict)
    own_stores: frozenset[str] = frozenset()
    """STORE_VARIABLES that the user's environment sets: the services use those stores, none is started in their place.
    The values, and the secrets beside them, reach the services as the environment does."""

    places: Mapping[str, str] = field(default_factory=dict)
    """What `places.named` says of them, for the home to remember."""

    public_tls: tuple[str, str] | None = None
    """Certificate and key of the public ports, as the user's environment names them to the gateways."""


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
    public_tls: tuple[str, str] | None = None
    places: Mapping[str, str] = field(default_factory=dict)


def make_plan(home: Home, options: Options) -> Plan:
    """The processes to start. Raises Failure for a taken port or a wrong number of replicas."""
    for name, count in options.replicas.items():
        if name not in (*INNER, "gateway"):
            raise Failure(f"--replicas: {name} is not a service; the services are gateway, {', '.join(INNER)}")
        if not 1 <= count <= 8:
            raise Failure(f"--replicas: {name}={count} is out of range; 1 to 8 replicas can be started")
    stores = _embedded_stores(home, options.own_stores)
    host = _ip_address(options.host)
    ports = Ports(host, options.free_ports)
    public = [_public_ports(ports, options, host, n) for n in range(options.replicas.get("gateway", 1))]
    shared = _shared_environment(home, stores, options.own_stores)
    admin_ports = itertools.count(ADMIN_BASE_PORT)
    inner: list[Service] = []
    targets: dict[str, str] = {}
    for name in INNER:
        addresses = []
        for number in range(1, options.replicas.get(name, 1) + 1):
            port = ports.inner(BASE_PORTS[name] + REPLICA_STEP * (number - 1), LOOPBACK)
            admin = ports.inner(next(admin_ports), LOOPBACK)
            inner.append(_service(home, LOOPBACK, name, number, shared, port, admin))
            addresses.append(f"{LOOPBACK}:{port}")
        targets[f"RAGMESH_{name.upper()}_TARGET"] = "ipv4:" + ",".join(addresses)
    gateways: list[Service] = []
    for number, (rest, grpc) in enumerate(public, 1):
        env = {
            **shared,
            **targets,
            "RAGMESH_REST_PORT": str(rest),
            "RAGMESH_BOOTSTRAP_KEY": "",  # one of the user's is in that file by now
            "RAGMESH_BOOTSTRAP_KEY_FILE": str(home.key_file),
        }
        admin = ports.inner(next(admin_ports), LOOPBACK)
        gateways.append(_service(home, host, "gateway", number, env, grpc, admin))
    reached = LOOPBACK if host == ANY_ADDRESS else host
    return Plan(
        stores=tuple(stores.values()),
        inner=tuple(inner),
        gateways=tuple(gateways),
        rest=f"{'https' if options.public_tls else 'http'}://{reached}:{public[0][0]}",
        grpc=f"{reached}:{public[0][1]}",
        public_tls=options.public_tls,
        places=options.places,
    )


def _public_ports(ports: Ports, options: Options, host: str, index: int) -> tuple[int, int]:
    """REST and gRPC port of a gateway: the first has those that the user named, the others what is free."""
    if index == 0:
        return ports.public(options.rest_port, "--rest-port"), ports.public(options.grpc_port, "--grpc-port")
    return ports.inner(options.rest_port + index, host), ports.inner(options.grpc_port + 1000 * index, host)


def _ip_address(host: str) -> str:
    """Where the public ports listen. Raises Failure for anything that is no IPv4 address."""
    if host == "localhost":
        return LOOPBACK
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError as error:
        raise Failure(f"--host: {host} must be an IPv4 address, as {LOOPBACK} or {ANY_ADDRESS}") from error


def own_stores(environ: Mapping[str, str]) -> frozenset[str]:
    """The STORE_VARIABLES that are set, in a file (`..._FILE`) or as they are."""
    return frozenset(
        name for name in STORE_VARIABLES if any(environ.get(each, "").strip() for each in (name, f"{name}_FILE"))
    )


def _embedded_stores(home: Home, own: frozenset[str]) -> dict[str, StoreCommand]:
    """The servers to start, by the variable that tells where they are."""
    commands: dict[str, Callable[[Path], StoreCommand]] = {
        "RAGMESH_STATE_URL": redis_server.state_command,
        "RAGMESH_CACHE_URL": redis_server.cache_command,
        "RAGMESH_VECTORS_URL": milvus_lite.command,
    }
    return {name: command(home.path) for name, command in commands.items() if name not in own}


def _shared_environment(home: Home, stores: Mapping[str, StoreCommand], own: frozenset[str]) -> dict[str, str]:
    embedded = {
        **of_home(home),
        **{name: store.address for name, store in stores.items()},
    }
    return {
        "GRPC_VERBOSITY": "ERROR",  # its core writes a line that is no JSON whenever a peer goes away
        **{name: address for name, address in embedded.items() if name not in own},
        "RAGMESH_MODELS_DIR": str(home.path / "models"),
        "RAGMESH_IDENTITY_KEYS_FILE": str(home.identity_file),
    }


def _service(home: Home, host: str, name: str, number: int, env: Mapping[str, str], port: int, admin: int) -> Service:
    instance = f"{name}-{number}"
    return Service(
        name=instance,
        argv=(sys.executable, "-m", f"ragmesh_{name}"),
        env={
            **env,
            "RAGMESH_HOST": host,
            "RAGMESH_GRPC_PORT": str(port),
            "RAGMESH_ADMIN_HOST": LOOPBACK,
            "RAGMESH_ADMIN_PORT": str(admin),
            "RAGMESH_HEALTH_PORT": "0",  # one number cannot be the port of all of them; nobody probes them but us
            "RAGMESH_INSTANCE": instance,
        },
        log_path=home.logs / f"{instance}.log",
        address=f"{host}:{port}",
        admin=f"{LOOPBACK}:{admin}",
    )
