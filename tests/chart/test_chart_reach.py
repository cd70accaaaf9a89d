"""The rendered NetworkPolicies, both directions: what must talk can, and nothing else."""

from __future__ import annotations

import pytest

from chart import helm
from chart.objects import Release, parse
from chart.reach import Peer, may_connect, outside, pods_of

INNER = ("retriever", "generator", "ingestor")
COMPONENTS = ("gateway", *INNER)
GRPC = {"gateway": 9090, "retriever": 9091, "generator": 9092, "ingestor": 9093}
REST, ADMIN, HEALTH = 8080, 9464, 9465
# What each component calls outside of the release, when all of it is set.
CALLS = {
    "gateway": {"records", "otlp"},
    "retriever": {"records", "vectors", "state", "cache", "embedding", "otlp"},
    "generator": {"model", "otlp"},
    "ingestor": {"records", "vectors", "state", "blobs", "embedding", "otlp"},
    "migrate": {"records", "vectors", "state", "blobs"},
    "test": set(),
}


def foreign(name: str, namespace: str, **labels: str) -> Peer:
    return Peer(name, namespace, labels, {"kubernetes.io/metadata.name": namespace})


NEIGHBOUR = foreign("neighbour", helm.NAMESPACE, app="neighbour")
STRANGER = foreign("stranger", "elsewhere", app="stranger")
PROMETHEUS = foreign("prometheus", "monitoring", app="prometheus")
# Of the production values.
INGRESS = foreign("ingress", "gateways", app="envoy")
STORES = {
    "records": (outside("10.20.0.5"), 7687),
    "vectors": (outside("10.20.1.5"), 19530),
    "state": (outside("10.20.2.5"), 6379),
    "cache": (outside("10.20.3.5"), 6379),
    "blobs": (outside("52.216.1.1"), 443),
    "embedding": (outside("10.30.0.5"), 443),
    "model": (outside("10.30.0.5"), 443),
    "otlp": (foreign("collector", "monitoring", app="collector"), 4317),
}
DNS = Peer("dns", "kube-system", {"k8s-app": "kube-dns"}, {"kubernetes.io/metadata.name": "kube-system"})


@pytest.fixture(name="release")
def production() -> Release:
    return helm.shared("production")


@pytest.fixture(name="pods")
def pods_by_component(release: Release) -> dict[str, Peer]:
    return {name.removeprefix("ragmesh-"): pod for name, pod in pods_of(release, helm.NAMESPACE).items()}


def test_all_pods_of_the_release_are_known(pods: dict[str, Peer]) -> None:
    assert set(pods) == {*COMPONENTS, "migrate", "test"}


def test_within_the_release_only_the_gateway_calls_and_only_grpc(release: Release, pods: dict[str, Peer]) -> None:
    opened = {
        (caller, called, port)
        for caller in pods
        for called in pods
        for port in (*GRPC.values(), REST, ADMIN, HEALTH, 22, 443)
        if may_connect(release, pods[caller], pods[called], port)
    }
    assert opened == {*(("gateway", name, GRPC[name]) for name in INNER), ("test", "gateway", REST)}


def test_clients_reach_the_two_public_ports_of_the_gateway_and_nothing_else(
    release: Release, pods: dict[str, Peer]
) -> None:
    for called in pods:
        opened = {port for port in range(9000, 9500) if may_connect(release, INGRESS, pods[called], port)}
        opened |= {port for port in (REST, 22, 443) if may_connect(release, INGRESS, pods[called], port)}
        assert opened == ({REST, 9090} if called == "gateway" else set()), called


@pytest.mark.parametrize("caller", [NEIGHBOUR, STRANGER, outside("203.0.113.9")], ids=lambda peer: peer.name)
def test_nobody_else_reaches_any_port(release: Release, pods: dict[str, Peer], caller: Peer) -> None:
    ports = (*GRPC.values(), REST, ADMIN, HEALTH)
    assert [(name, port) for name in pods for port in ports if may_connect(release, caller, pods[name], port)] == []


def test_prometheus_reads_metrics_and_calls_nothing(release: Release, pods: dict[str, Peer]) -> None:
    ports = (*GRPC.values(), REST, ADMIN, HEALTH)
    opened = {(name, port) for name in pods for port in ports if may_connect(release, PROMETHEUS, pods[name], port)}
    assert opened == {(name, ADMIN) for name in COMPONENTS}


@pytest.mark.parametrize("component", CALLS)
def test_each_calls_its_stores_and_no_other(release: Release, pods: dict[str, Peer], component: str) -> None:
    opened = {name for name, (peer, port) in STORES.items() if may_connect(release, pods[component], peer, port)}
    same_address = {"embedding", "model"}  # in these values they are one service
    wanted = CALLS[component] | (same_address if CALLS[component] & same_address else set())
    assert opened == wanted


@pytest.mark.parametrize("component", CALLS)
def test_nothing_goes_to_the_internet_to_the_cloud_s_metadata_or_to_the_api_server(
    release: Release, pods: dict[str, Peer], component: str
) -> None:
    ways = [
        (address, port)
        for address in ("203.0.113.9", "169.254.169.254", "10.96.0.1", "10.20.0.5", "10.20.2.5")
        for port in (22, 80, 443, 6443, 8080, 10250)
        if may_connect(release, pods[component], outside(address), port)
    ]
    assert ways == ([("203.0.113.9", 443)] if "blobs" in CALLS[component] else [])  # S3 has no addresses of its own


@pytest.mark.parametrize("component", CALLS)
def test_names_are_asked_of_the_cluster_alone(release: Release, pods: dict[str, Peer], component: str) -> None:
    for protocol in ("UDP", "TCP"):
        assert may_connect(release, pods[component], DNS, 53, protocol)
        assert not may_connect(release, pods[component], outside("8.8.8.8"), 53, protocol)
        assert not may_connect(release, pods[component], STRANGER, 53, protocol)


def test_the_default_clients_are_the_neighbours_in_the_namespace() -> None:
    release = helm.shared("minimal")
    pods = pods_of(release, helm.NAMESPACE)
    assert may_connect(release, NEIGHBOUR, pods["ragmesh-gateway"], REST)
    assert not may_connect(release, NEIGHBOUR, pods["ragmesh-retriever"], 9091)
    assert not may_connect(release, STRANGER, pods["ragmesh-gateway"], REST)


def test_a_load_balancer_lets_in_the_addresses_that_are_named() -> None:
    release = helm.shared("volume")
    gateway = pods_of(release, helm.NAMESPACE)["ragmesh-gateway"]
    assert may_connect(release, outside("10.1.2.3"), gateway, REST)
    assert may_connect(release, outside("10.1.2.3"), gateway, 9090)
    assert not may_connect(release, outside("203.0.113.9"), gateway, REST)


def test_the_embedded_pod_calls_names_only() -> None:
    release = helm.shared("embedded")
    pod = pods_of(release, helm.NAMESPACE)["ragmesh-embedded"]
    assert may_connect(release, NEIGHBOUR, pod, REST)
    assert may_connect(release, NEIGHBOUR, pod, 9090)
    assert not may_connect(release, STRANGER, pod, REST)
    assert may_connect(release, pod, DNS, 53, "UDP")
    for port in (80, 443, 6379, 7687, 19530):
        assert not may_connect(release, pod, outside("203.0.113.9"), port)
        assert not may_connect(release, pod, NEIGHBOUR, port)


def test_a_dns_cache_on_the_node_can_be_named() -> None:
    extra = {"networkPolicy": {"dns": {"peers": [{"ipBlock": {"cidr": "169.254.20.10/32"}}]}}}
    release = helm.render("minimal", values=extra)
    for pod in pods_of(release, helm.NAMESPACE).values():
        assert may_connect(release, pod, outside("169.254.20.10"), 53, "UDP")
        assert not may_connect(release, pod, outside("169.254.169.254"), 53, "UDP")


def test_of_two_releases_in_a_namespace_neither_reaches_the_other() -> None:
    mine = helm.shared("minimal")
    other = helm.helm(
        "template", "other", str(helm.CHART), "--namespace", helm.NAMESPACE, "--values", str(helm.values_of("minimal"))
    )
    both = Release([*mine.objects, *parse(other).objects])
    pods = pods_of(both, helm.NAMESPACE)
    assert may_connect(both, pods["ragmesh-gateway"], pods["ragmesh-retriever"], 9091)
    for name in INNER:
        assert not may_connect(both, pods["ragmesh-gateway"], pods[f"other-ragmesh-{name}"], GRPC[name])
        assert not may_connect(both, pods["other-ragmesh-gateway"], pods[f"ragmesh-{name}"], GRPC[name])


def test_the_model_itself_knows_open_and_closed() -> None:
    """Of the computation above: without policies all is open, and one direction alone does not open a connection."""
    release = helm.shared("minimal")
    bare = Release([one for one in release.objects if one["kind"] != "NetworkPolicy"])
    pods = pods_of(bare, helm.NAMESPACE)
    assert may_connect(bare, STRANGER, pods["ragmesh-retriever"], 9091)
    no_way_in = Release(
        [
            one
            for one in release.objects
            if (one["kind"], one["metadata"]["name"]) != ("NetworkPolicy", "ragmesh-retriever")
        ]
    )
    assert not may_connect(no_way_in, pods["ragmesh-gateway"], pods["ragmesh-retriever"], 9091)
    no_way_out = Release(
        [
            one
            for one in release.objects
            if (one["kind"], one["metadata"]["name"]) != ("NetworkPolicy", "ragmesh-gateway")
        ]
    )
    assert not may_connect(no_way_out, pods["ragmesh-gateway"], pods["ragmesh-retriever"], 9091)
