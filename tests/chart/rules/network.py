"""What Services, routes and NetworkPolicies must say, and that each of them is about something that exists."""

from __future__ import annotations

from collections.abc import Iterator

from chart.objects import Release, Workload, matches, title
from chart.rules.registry import Finding, rule


@rule("kube-score:service-targets-pod", "kube-linter:dangling-service")
def services_have_pods(release: Release) -> Iterator[Finding]:
    for one in release.of("Service"):
        if not release.selected_by({"matchLabels": one["spec"].get("selector")}):
            yield title(one), "selects no Pod"


@rule("ragmesh:service-target-ports")
def services_reach_open_ports(release: Release) -> Iterator[Finding]:
    for one in release.of("Service"):
        for workload in release.selected_by({"matchLabels": one["spec"].get("selector")}):
            ports = workload.container_ports()
            for port in one["spec"]["ports"]:
                target = port.get("targetPort", port["port"])
                number = ports.get(target) if isinstance(target, str) else target
                if number not in ports.values():
                    yield title(one), f"port {port['port']} leads to {target}, which {workload.name} has not"
                if one["spec"].get("clusterIP") == "None" and number != port["port"]:
                    yield title(one), f"is headless, so that port {port['port']} cannot lead to {number}"


@rule("kube-score:service-type", "kube-linter:exposed-services")
def services_open_no_port_of_nodes(release: Release) -> Iterator[Finding]:
    for one in release.of("Service"):
        if one["spec"].get("type") == "NodePort":
            yield title(one), "is a NodePort"


@rule("kube-score:ingress-targets-service", "kube-linter:dangling-ingress")
def ingresses_lead_somewhere(release: Release) -> Iterator[Finding]:
    services = {
        (one["metadata"]["name"], name)
        for one in release.of("Service")
        for port in one["spec"]["ports"]
        for name in (port.get("name"), port["port"])
    }
    for one in release.of("Ingress"):
        for host in one["spec"]["rules"]:
            for path in host["http"]["paths"]:
                target = path["backend"]["service"]
                if (target["name"], target["port"].get("name") or target["port"].get("number")) not in services:
                    yield title(one), f"there is no Service {target}"
    for one in release.of("HTTPRoute", "GRPCRoute"):
        for way in one["spec"]["rules"]:
            for target in way["backendRefs"]:
                if (target["name"], target["port"]) not in services:
                    yield title(one), f"there is no Service {target}"


@rule("polaris:tlsSettingsMissing")
def ingresses_have_tls(release: Release) -> Iterator[Finding]:
    for one in release.of("Ingress"):
        covered = {host for entry in one["spec"].get("tls", []) for host in entry.get("hosts", [])}
        for host in one["spec"]["rules"]:
            if host["host"] not in covered:
                yield title(one), f"{host['host']} has no TLS"


@rule("kube-linter:dangling-servicemonitor")
def monitors_find_services(release: Release) -> Iterator[Finding]:
    for one in release.of("ServiceMonitor"):
        found = [
            service
            for service in release.of("Service")
            if matches(one["spec"]["selector"], service["metadata"]["labels"])
        ]
        for endpoint in one["spec"]["endpoints"]:
            if not any(port.get("name") == endpoint["port"] for service in found for port in service["spec"]["ports"]):
                yield title(one), f"no Service has the port {endpoint['port']}"


@rule("kube-score:networkpolicy-targets-pod", "kube-linter:dangling-networkpolicy")
def policies_are_about_pods(release: Release) -> Iterator[Finding]:
    for one in release.of("NetworkPolicy"):
        if not release.selected_by(one["spec"].get("podSelector")):
            yield title(one), "selects no Pod"


@rule(
    "kube-score:pod-networkpolicy", "kube-linter:non-isolated-pod", "polaris:missingNetworkPolicy", "kubescape:C-0030"
)
def pods_are_isolated_both_ways(release: Release) -> Iterator[Finding]:
    for workload in release.workloads():
        for direction in ("Ingress", "Egress"):
            if not any(isolates(one, workload, direction) for one in release.of("NetworkPolicy")):
                yield workload.name, f"no NetworkPolicy for its {direction}"


def isolates(policy: dict[str, object], workload: Workload, direction: str) -> bool:
    spec = policy["spec"]
    assert isinstance(spec, dict)
    return direction in spec.get("policyTypes", []) and matches(spec["podSelector"], workload.labels)


@rule("kubescape:C-0054")
def deny_is_the_default(release: Release) -> Iterator[Finding]:
    """A policy without any hole over all Pods of the release that stay."""
    whole = [
        one
        for one in release.of("NetworkPolicy")
        if not one["spec"].get("ingress")
        and not one["spec"].get("egress")
        and set(one["spec"].get("policyTypes", [])) == {"Ingress", "Egress"}
    ]
    for workload in release.workloads("Deployment", "StatefulSet"):
        if not any(matches(one["spec"]["podSelector"], workload.labels) for one in whole):
            yield workload.name, "no default deny covers it"
