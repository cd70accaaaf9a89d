"""Who may talk to whom, computed from rendered NetworkPolicies as Kubernetes defines them.

A connection is open when the policies that isolate the caller for egress let it out and those that isolate the called
Pod for ingress let it in. A Pod that no policy selects for a direction is open in that direction.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from chart.objects import Object, Release, matches


@dataclass(frozen=True, slots=True)
class Peer:
    """A Pod, or with `address` alone something outside of the cluster. Ports are those that it opens, by name."""

    name: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    address: str = "10.244.0.1"


def pods_of(release: Release, namespace: str) -> dict[str, Peer]:
    """The release's Pods, by the name of what runs them."""
    return {
        workload.object["metadata"]["name"]: Peer(
            workload.object["metadata"]["name"],
            namespace,
            workload.labels,
            {"kubernetes.io/metadata.name": namespace},
            workload.container_ports(),
        )
        for workload in release.workloads()
    }


def outside(address: str) -> Peer:
    return Peer(address, address=address)


def may_connect(release: Release, caller: Peer, called: Peer, port: int, protocol: str = "TCP") -> bool:
    return _open(release, "Egress", caller, called, called, port, protocol) and _open(
        release, "Ingress", called, caller, called, port, protocol
    )


def _open(release: Release, direction: str, subject: Peer, other: Peer, called: Peer, port: int, protocol: str) -> bool:
    """Whether the policies over `subject` let traffic to or from `other` pass; the port is always that of `called`."""
    isolating = [
        one["spec"]
        for one in release.of("NetworkPolicy")
        if one["metadata"]["namespace"] == subject.namespace
        and direction in one["spec"]["policyTypes"]
        and matches(one["spec"]["podSelector"], subject.labels)
    ]
    if not isolating:
        return True
    side = "to" if direction == "Egress" else "from"
    return any(
        _port_matches(rule, called, port, protocol)
        and (not rule.get(side) or any(_peer_matches(peer, subject.namespace, other) for peer in rule[side]))
        for spec in isolating
        for rule in spec.get(direction.lower()) or []
    )


def _port_matches(rule: Object, called: Peer, port: int, protocol: str) -> bool:
    if not rule.get("ports"):
        return True
    for one in rule["ports"]:
        if one.get("protocol", "TCP") != protocol:
            continue
        wanted = one.get("port")
        first = called.ports.get(wanted) if isinstance(wanted, str) else wanted
        if wanted is None or (first is not None and first <= port <= one.get("endPort", first)):
            return True
    return False


def _peer_matches(peer: Object, policy_namespace: str, other: Peer) -> bool:
    if block := peer.get("ipBlock"):
        address = ipaddress.ip_address(other.address)
        return address in ipaddress.ip_network(block["cidr"]) and not any(
            address in ipaddress.ip_network(one) for one in block.get("except", [])
        )
    if not other.namespace:
        return False
    if "namespaceSelector" in peer:
        if not matches(peer["namespaceSelector"] or {}, other.namespace_labels):
            return False
    elif other.namespace != policy_namespace:
        return False
    return matches(peer.get("podSelector") or {}, other.labels)
