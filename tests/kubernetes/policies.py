"""Whether NetworkPolicies hold: who reaches whom, tried by connecting from inside the cluster."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from kubernetes.cluster import kubectl
from kubernetes.house import LOAD, RELEASE, STORES, House, job_pod, run_pod
from reliability.judge import Gate

CONNECT_SECONDS = 3.0
PROGRAM = """
import concurrent.futures, json, socket, sys
def tried(place):
    try:
        socket.create_connection(tuple(place), float(sys.argv[2])).close()
        return [*place, "open"]
    except OSError as error:
        return [*place, type(error).__name__ + ": " + str(error)]
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    for said in pool.map(tried, json.loads(sys.argv[1])):
        print(json.dumps(said), flush=True)
"""

Place = tuple[str, int]
GATEWAY: list[Place] = [(f"ragmesh-gateway.{RELEASE}.svc.cluster.local", port) for port in (8080, 9090)]
STORE: dict[str, Place] = {
    name: (f"{name}.{STORES}.svc.cluster.local", port)
    for name, port in (
        ("neo4j", 7687),
        ("milvus", 19530),
        ("redis-state", 6379),
        ("redis-cache", 6379),
        ("model", 8000),
    )
}
API: Place = ("kubernetes.default.svc.cluster.local", 443)


def held(house: House) -> list[Gate]:
    """In: from another namespace and from a stranger in the release's own. Out: from each component's own container."""
    inner = inner_ports(house.pods())
    gates = []
    for namespace, who in ((LOAD, "a pod of another namespace"), (RELEASE, "a stranger in the namespace")):
        seen = tried_by_pod(namespace, [*GATEWAY, *inner, *STORE.values()])
        gates += [
            _gate(f"{who} reaches the gateway", seen, GATEWAY, wanted=True),
            _gate(f"{who} reaches no inner service, health or metrics port", seen, inner, wanted=False),
        ]
        if namespace == LOAD:
            gates.append(_gate(f"{who} reaches no store", seen, STORE.values(), wanted=False))
    own = {
        "gateway": ("neo4j",),
        "retriever": ("neo4j", "milvus", "redis-state", "redis-cache"),
        "generator": ("model",),
        "ingestor": ("neo4j", "milvus", "redis-state"),
    }
    for component, stores in own.items():
        allowed = [STORE[name] for name in stores]
        if component == "gateway":
            allowed += [place for place in inner if place[1] in {9091, 9092, 9093}]
        refused = [*(place for name, place in STORE.items() if name not in stores), API]
        if component != "gateway":
            itself = {pod["status"]["podIP"] for pod in house.pods(component)}
            refused += [place for place in inner if place[1] == 9465 and place[0] not in itself]
        seen = tried_inside(component, [*allowed, *refused])
        gates += [
            _gate(f"the {component} reaches what it needs", seen, allowed, wanted=True),
            _gate(f"the {component} reaches nothing else", seen, refused, wanted=False),
        ]
    return gates


def inner_ports(pods: Iterable[dict[str, Any]]) -> list[Place]:
    """Of each component's first pod: its gRPC port unless it is the gateway's, its health and metrics ports."""
    first: dict[str, Place] = {}
    places: list[Place] = []
    for pod in pods:
        component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        if component in first:
            continue
        ports = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
        first[component] = (pod["status"]["podIP"], ports["grpc"])
        names = ("admin", "health") if component == "gateway" else ("grpc", "admin", "health")
        places += [(pod["status"]["podIP"], ports[name]) for name in names]
    return places


def tried_by_pod(namespace: str, places: Iterable[Place]) -> dict[Place, str]:
    """What a pod there says of each place."""
    program = ["-c", PROGRAM, json.dumps(list(places)), str(CONNECT_SECONDS)]
    said = run_pod(namespace, job_pod("stranger", program))
    return _said(said)


def tried_inside(component: str, places: Iterable[Place]) -> dict[Place, str]:
    """What a component's own container says of each place."""
    return _said(
        kubectl(
            "exec",
            "-n",
            RELEASE,
            f"deployment/ragmesh-{component}",
            "--",
            "python",
            "-c",
            PROGRAM,
            json.dumps(list(places)),
            str(CONNECT_SECONDS),
        )
    )


def _said(text: str) -> dict[Place, str]:
    return {(host, port): said for host, port, said in map(json.loads, text.splitlines())}


def _gate(promise: str, seen: dict[Place, str], places: Iterable[Place], *, wanted: bool) -> Gate:
    bad = [f"{host}:{port} {seen[host, port]}" for host, port in places if (seen[host, port] == "open") != wanted]
    count = len(list(places)) if isinstance(places, list) else len(set(places))
    return Gate(promise, not bad, "; ".join(bad) or f"{count} tried")
