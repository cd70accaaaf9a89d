"""Writes schemas/: what kubeconform holds the chart's objects against, for each kind that the chart can make.

usage: write_schemas.py [CRD.yaml ...]

Kinds of Kubernetes come from the API server that kubectl is set to, those of operators from the files of their
CustomResourceDefinitions. Descriptions are left out, unknown fields are refused, and only what a kind refers to is
kept, so that the folder stays small enough to live here: the check needs no network and no cluster.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).with_name("schemas")
KINDS = {
    ("", "v1", "ConfigMap"), ("", "v1", "PersistentVolumeClaim"), ("", "v1", "Pod"), ("", "v1", "Service"),
    ("", "v1", "ServiceAccount"), ("apps", "v1", "Deployment"), ("apps", "v1", "StatefulSet"),
    ("autoscaling", "v2", "HorizontalPodAutoscaler"), ("batch", "v1", "Job"),
    ("networking.k8s.io", "v1", "Ingress"), ("networking.k8s.io", "v1", "NetworkPolicy"),
    ("policy", "v1", "PodDisruptionBudget"), ("scheduling.k8s.io", "v1", "PriorityClass"),
    ("cert-manager.io", "v1", "Certificate"), ("external-secrets.io", "v1", "ExternalSecret"),
    ("gateway.envoyproxy.io", "v1alpha1", "BackendTrafficPolicy"),
    ("gateway.networking.k8s.io", "v1", "BackendTLSPolicy"), ("gateway.networking.k8s.io", "v1", "GRPCRoute"),
    ("gateway.networking.k8s.io", "v1", "HTTPRoute"), ("keda.sh", "v1alpha1", "ScaledObject"),
    ("keda.sh", "v1alpha1", "TriggerAuthentication"), ("monitoring.coreos.com", "v1", "PrometheusRule"),
    ("monitoring.coreos.com", "v1", "ServiceMonitor"),
}  # fmt: skip
# Definitions whose OpenAPI says less than the server accepts.
FREE = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": ["string", "number"]},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ["string", "integer"]},
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": {"type": "object"},
}
METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
# What the server writes and no template does: the largest parts of many kinds.
WRITTEN_BY_SERVER = {"status", "managedFields"}
DROPPED = {"description", "default", "format", "example", "externalDocs"}


def strict(schema: Any) -> Any:
    """The same schema without descriptions, and with every object closed that does not say that it is open."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(schema.get("$ref"), str):
        return {"$ref": schema["$ref"]}
    if schema.get("format") == "int-or-string" or schema.get("x-kubernetes-int-or-string"):
        return {"type": ["string", "integer"]}
    kept = {key: value for key, value in schema.items() if key not in DROPPED and not key.startswith("x-")}
    if isinstance(kept.get("properties"), dict):
        kept["properties"] = {
            name: strict(part) for name, part in kept["properties"].items() if name not in WRITTEN_BY_SERVER
        }
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            kept.setdefault("additionalProperties", False)
    if "status" in kept.get("required", []):
        kept["required"] = [name for name in kept["required"] if name != "status"]
    for key in ("items", "additionalProperties", "allOf", "anyOf", "oneOf", "not"):
        if key in kept:
            kept[key] = strict(kept[key]) if key in ("items", "additionalProperties") else kept[key]
    return kept


def references(schema: Any) -> Iterator[str]:
    """The names of the definitions that a schema refers to."""
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rsplit("/", 1)[1]
        for part in schema.values():
            yield from references(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from references(part)


def write(group: str, version: str, kind: str, schema: dict[str, Any], definitions: dict[str, Any]) -> None:
    """One file for one kind, named as kubeconform asks for it, with the definitions it needs."""
    needed: dict[str, Any] = {}
    queue = list(references(schema))
    while queue:
        name = queue.pop()
        if name not in needed:
            needed[name] = definitions[name]
            queue.extend(references(definitions[name]))
    suffix = f"-{group.split('.')[0]}-{version}" if group else f"-{version}"
    whole = {**schema, "definitions": needed} if needed else schema
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    (FOLDER / f"{kind}{suffix}.json".lower()).write_text(text + "\n", encoding="utf-8")


def main(crds: list[str]) -> None:
    api = json.loads(subprocess.check_output(["kubectl", "get", "--raw", "/openapi/v2"]))
    definitions: dict[str, Any] = {
        name: FREE.get(name) or strict(schema) for name, schema in api["definitions"].items()
    }
    missing = set(KINDS)
    for name, schema in api["definitions"].items():
        for gvk in schema.get("x-kubernetes-group-version-kind", []):
            found: tuple[str, str, str] = (gvk["group"], gvk["version"], gvk["kind"])
            if found in missing and "metadata" in schema.get("properties", {}):
                write(*found, definitions[name], definitions)
                missing.remove(found)
    for path in crds:
        for crd in yaml.safe_load_all(Path(path).read_text(encoding="utf-8")):
            if not crd or crd.get("kind") != "CustomResourceDefinition":
                continue
            for version in crd["spec"]["versions"]:
                found = (crd["spec"]["group"], version["name"], crd["spec"]["names"]["kind"])
                if found in missing:
                    own: dict[str, Any] = strict(version["schema"]["openAPIV3Schema"])
                    own["properties"]["metadata"] = {"$ref": f"#/definitions/{METADATA}"}
                    write(*found, own, definitions)
                    missing.remove(found)
    if missing:
        sys.exit(f"no schema for {sorted(missing)}: give the files of their CustomResourceDefinitions")


if __name__ == "__main__":
    main(sys.argv[1:])
