"""values.schema.json: it knows every value, and nothing else; and it knows what type each has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from chart import helm

VALUES: dict[str, Any] = yaml.safe_load((helm.CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA: dict[str, Any] = json.loads((helm.CHART / "values.schema.json").read_text(encoding="utf-8"))
UNKNOWN = "whatIsThis"
COMPONENTS = ("gateway", "retriever", "generator", "ingestor")
# Maps of the user's own keys, and objects of Kubernetes that its API server checks.
OPEN = {
    "affinity", "annotations", "commonLabels", "dashboardLabels", "dashboards", "env", "labels", "nodeSelector",
    "podAnnotations", "podLabels", "requests", "limits", "ruleLabels", "serviceAccountAnnotations",
}  # fmt: skip


def objects(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every object among the values that has named fields."""
    yield path
    for name, value in values.items():
        if isinstance(value, dict) and name not in OPEN:
            yield from objects(value, (*path, name))


def leaves(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and name not in OPEN:
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


def nested(path: tuple[str, ...], value: object) -> dict[str, Any]:
    for step in reversed(path):
        value = {step: value}
    assert isinstance(value, dict)
    return value


def merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    whole: dict[str, Any] = {}

    def put(into: dict[str, Any], part: dict[str, Any]) -> None:
        for name, value in part.items():
            if isinstance(value, dict) and isinstance(into.get(name), dict):
                put(into[name], value)
            else:
                into[name] = value

    for part in parts:
        put(whole, part)
    return whole


def schema_at(path: tuple[str, ...]) -> dict[str, Any]:
    """The part of the schema for a value. Raises KeyError when it does not know the value."""
    part = resolved(SCHEMA)
    for step in path:
        part = resolved(part["properties"][step])
    return part


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """With what it refers to, directly or as its only allOf."""
    while True:
        if "$ref" in part:
            found: Any = SCHEMA
            for step in part["$ref"].removeprefix("#/").split("/"):
                found = found[step]
            part = found
        elif "properties" not in part and len(part.get("allOf", [])) == 1:
            part = part["allOf"][0]
        else:
            return part


# Each component takes what `default` has.
OBJECTS = [*objects(VALUES), *((name, *path) for name in COMPONENTS for path in objects(VALUES["default"]))]


@pytest.mark.parametrize("path", sorted(set(OBJECTS)), ids=lambda path: ".".join(path) or "values")
def test_the_schema_closes_every_object(path: tuple[str, ...]) -> None:
    assert schema_at(path)["additionalProperties"] is False


def test_helm_refuses_unknown_values_and_names_each() -> None:
    unknown = [nested((*path, UNKNOWN), 1) for path in sorted(set(OBJECTS))]
    said = helm.refusal("minimal", values=merged(unknown))
    assert said.count(UNKNOWN) >= len(unknown)
    for path in objects(VALUES):
        assert "/".join(path) in said.replace(".", "/")


@pytest.mark.parametrize("path", ["default.replica", "gateway.autoscaling.minReplica", "networkPolicy.redis", "redis"])
def test_a_typing_error_is_refused_by_its_name(path: str) -> None:
    assert path.rpartition(".")[2] in helm.refusal("minimal", f"{path}=1")


def test_the_schema_knows_no_value_that_is_not_there() -> None:
    for path in objects(VALUES):
        if path and path[0] in COMPONENTS:
            continue  # they name what differs
        known = set(schema_at(path)["properties"])
        there: Any = VALUES
        for step in path:
            there = there[step]
        assert known - {"global"} == set(there), ".".join(path)  # Helm's own, for charts that hold this one


def test_helm_refuses_a_wrong_type_of_every_value() -> None:
    """All at once, because helm tells all: text for a number, a switch or a list, and a list for a text."""
    wrong = {
        path: ["a", "list"] if isinstance(value, str | dict) or value is None else "a text"
        for path, value in leaves(VALUES)
    }
    said = helm.refusal("minimal", values=merged([nested(path, value) for path, value in wrong.items()]))
    pointers = set(re.findall(r"at '/([^']*)'", said)) | {
        one.replace(".", "/") for one in re.findall(r"- ([\w.]+):", said)
    }
    assert [".".join(path) for path in wrong if "/".join(path) not in pointers] == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("default.replicas=-1", "replicas"),
        ("default.antiAffinity=sometimes", "antiAffinity"),
        ("service.type=NodePort", "type"),
        ("service.grpcPort=70000", "grpcPort"),
        ("telemetry.logLevel=LOUD", "logLevel"),
        ("telemetry.traceRatio=2", "traceRatio"),
        ("metrics.serviceMonitor.enabled=perhaps", "enabled"),
        ("default.drain.graceSeconds=-1", "graceSeconds"),
        ("default.image.pullPolicy=Sometimes", "pullPolicy"),
        ("default.podDisruptionBudget.maxUnavailable=0", "maxUnavailable"),
        ("default.autoscaling.targetCPUUtilizationPercentage=0", "targetCPUUtilizationPercentage"),
        ("default.resources.limits.memory=lots", "memory"),
        ("stores.vectors.url=milvus", "/stores/vectors/url"),
        ("stores.vectors.url=ftp://milvus:19530", "/stores/vectors/url"),
        ("stores.blobs.url=/var/blobs", "/stores/blobs/url"),
        ("default.image.tag=latest", "tag"),
        ("fullnameOverride=a.b", "fullnameOverride"),
        ("fullnameOverride=1a", "fullnameOverride"),
        ("nameOverride=a.b", "nameOverride"),
        ("cli.image.tag=latest", "tag"),
    ],
)
def test_a_value_out_of_its_bounds_is_refused_by_its_name(text: str, named: str) -> None:
    assert named in helm.refusal("minimal", text)


def test_the_defaults_themselves_fit_the_schema() -> None:
    """What they lack is an address, not another type."""
    with pytest.raises(helm.RenderFailed, match=r"stores\.records\.url is empty"):
        helm.helm("template", "ragmesh", str(helm.CHART))
