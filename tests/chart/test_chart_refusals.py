"""Values that cannot work fail before anything is installed, and the sentence tells the cure."""

from __future__ import annotations

import re
from typing import Any

import pytest

from chart import helm

TEXT = "".join(path.read_text(encoding="utf-8") for path in sorted((helm.CHART / "templates").glob("*.tpl")))
# The sentences of the templates, as patterns.
SENTENCES = [
    re.sub(r"%[ds]", ".*", re.escape(one).replace(r"\%", "%"))
    for one in re.findall(r'fail \(?(?:printf )?"((?:[^"\\]|\\.)*)"', TEXT)
]

Values = dict[str, Any]
ROUTES = (
    "gatewayApi.enabled=true", "gatewayApi.parentRefs[0].name=a", "gatewayApi.restHostnames={a}",
    "gatewayApi.grpcHostnames={b}",
)  # fmt: skip
# (ci values file, what is changed, words that must be said: the value and its cure)
CASES: dict[str, tuple[str, tuple[str, ...], list[str]]] = {
    "two replicas of the embedded stores": ("embedded", ("embedded.replicas=2",), ["embedded.replicas is 2"]),
    "two replicas by the default": ("embedded", ("default.replicas=2",), ["default.replicas is 2", "set it to 1"]),
    "two replicas of one service": ("embedded", ("gateway.replicas=2",), ["gateway.replicas is 2", "leave it out"]),
    "embedded and scaled": ("embedded", ("default.autoscaling.enabled=true",), ["default.autoscaling.enabled"]),
    "embedded and keda": ("embedded", ("keda.enabled=true", "keda.address=a:1"), ["keda.enabled", "to false"]),
    "embedded and a grace period below its drain": (
        "embedded", ("embedded.terminationGracePeriodSeconds=60",), ["is 60", "set it to 105 or more"],
    ),
    "embedded and an ExternalSecret without a store": (
        "embedded", ("externalSecrets.enabled=true",), ["externalSecrets.store.name"],
    ),
    "embedded and a value of one service": (
        "embedded", ("retriever.resources.limits.memory=2Gi",), ["retriever has values of its own", "take it out"],
    ),
    "embedded and a store": ("embedded", ("stores.records.url=bolt://neo4j",), ["stores.records has", "take it out"]),
    "embedded and TLS between the services": (
        "embedded", ("tls.mesh.enabled=true", "tls.mesh.secretName=a"), ["tls.mesh.enabled is true", "to false"],
    ),
    "embedded and a longer grace": (
        "embedded", ("default.drain.graceSeconds=700",), ["default.drain.drainSeconds and graceSeconds", "leave both"],
    ),
    "embedded and a grace that its supervisor does not wait for": (
        "embedded", ("embedded.env.RAGMESH_GRACE_SECONDS=300",), ["embedded.env.RAGMESH_GRACE_SECONDS", "take it out"],
    ),
    "embedded and an answer that its restart would cut": (
        "embedded", ("model.url=https://host/v1", "model.name=x", "model.timeoutSeconds=600"),
        ["model.timeoutSeconds is 600", "35 or less"],
    ),
    "no record store": ("minimal", ("stores.records.url=",), ["stores.records.url is empty", "bolt://host:7687"]),
    "a file as record store": ("minimal", ("stores.records.url=sqlite:/data/records.db",), ["bolt://host:7687"]),
    "a cluster's address of Neo4j": (
        "minimal", ("stores.records.url=neo4j://neo4j:7687",), ["stores.records.url", "bolt+s://host:7687"],
    ),
    "a user in the address of Neo4j": (
        "minimal", ("stores.records.url=bolt://neo4j:pass@neo4j:7687",), ["secrets.keys.recordsPassword"],
    ),
    "no vector store": ("minimal", ("stores.vectors.url=",), ["stores.vectors.url is empty", "http://host:19530"]),
    "no state": ("minimal", ("stores.state.url=",), ["stores.state.url is empty", "secrets.keys.stateUrl"]),
    "no cache": ("minimal", ("stores.cache.url=",), ["stores.cache.url is empty", "secrets.keys.cacheUrl"]),
    "state twice": ("minimal", ("secrets.keys.stateUrl=state-url",), ["stores.state.url", "both set"]),
    "a password in the address of Redis": (
        "minimal", ("stores.state.url=redis://:pass@redis:6379/0",), ["stores.state.url", "secrets.keys.stateUrl"],
    ),
    "one Redis for both": (
        "minimal", ("stores.cache.url=redis://redis-state:6379/0",), ["stores.cache.url", "another Redis"],
    ),
    "blobs twice": ("minimal", ("stores.blobs.volume.enabled=true",), ["stores.blobs.volume.enabled", "leave"]),
    "no blobs": ("minimal", ("stores.blobs.url=",), ["stores.blobs.url is empty", "s3://bucket/prefix"]),
    "blobs in a file of each Pod": (
        "minimal", ("stores.blobs.url=file:/blobs",), ["stores.blobs.volume.enabled to true"],
    ),
    "a port that no policy lets out": (
        "minimal", ("stores.vectors.url=http://milvus:19531",), ["networkPolicy.vectors.ports", "set it to [19531]"],
    ),
    "the usual port of an address, which no policy lets out": (
        "minimal", ("stores.records.url=bolt://neo4j", "networkPolicy.records.ports={7688}"), ["set it to [7687]"],
    ),
    "a port of the embedded Pod that no policy lets out": (
        "embedded", ("model.url=http://host:8000/v1", "model.name=x"), ["networkPolicy.model.ports", "[8000]"],
    ),
    "a Milvus without a port": (
        "minimal", ("stores.vectors.url=https://x.zillizcloud.com",), ["stores.vectors.url is", "https://host:443"],
    ),
    "a Milvus with a path": ("minimal", ("stores.vectors.url=http://milvus:19530/",), ["nothing after it"]),
    "a password in an address without a port": (
        "minimal", ("stores.vectors.url=http://root:pass@milvus",), ["stores.vectors.url", "vectorsToken"],
    ),
    "no Secret": ("minimal", ("secrets.name=",), ["secrets.name is empty", "identity-keys"]),
    "no signing keys": ("minimal", ("secrets.keys.identityKeys=",), ["secrets.keys.identityKeys is empty"]),
    "half an S3 key": ("minimal", ("secrets.keys.s3AccessKey=id",), ["both or neither"]),
    "TLS without a certificate": ("minimal", ("tls.mesh.enabled=true",), ["tls.mesh.secretName", "certManager"]),
    "TLS with two certificates": (
        "cert-manager", ("tls.mesh.secretName=mine",), ["tls.mesh.secretName", "leave the name empty"],
    ),
    "a certificate of no issuer": (
        "cert-manager", ("tls.mesh.certManager.issuerRef.name=",), ["tls.mesh.certManager.issuerRef.name is empty"],
    ),
    "an ExternalSecret of no store": (
        "external-secrets", ("externalSecrets.store.name=",), ["externalSecrets.store.name"],
    ),
    "a grace period below the drain": (
        "minimal", ("gateway.terminationGracePeriodSeconds=30",), ["Seconds is 30", "or more"],
    ),
    "fewest above most": ("minimal", ("retriever.autoscaling.minReplicas=20",), ["retriever.autoscaling.minReplicas"]),
    "one digest for all images": (
        "minimal", (f"default.image.digest=sha256:{'0' * 64}",), ["default.image.digest is set"],
    ),
    "one image for all": (
        "minimal", ("default.image.repository=mine",), ["default.image.repository", "gateway.image.repository"],
    ),
    "a label that the chart finds its objects by": (
        "minimal", (r"commonLabels.app\.kubernetes\.io/component=a",), ["commonLabels has app.kubernetes.io/component"],
    ),
    "such a label of the Pods": (
        "minimal", (r"ingestor.podLabels.helm\.sh/chart=a",), ["ingestor.podLabels has helm.sh/chart", "take it out"],
    ),
    "one port for gRPC and REST": (
        "minimal", ("service.grpcPort=8080",), ["service.grpcPort", "service.restPort", "both 8080"],
    ),
    "a setting with a typing error": (
        "embedded", ("embedded.env.RAGMESH_DRAIN_SECOND=1",), ["embedded.env.RAGMESH_DRAIN_SECOND", "docs/settings.md"],
    ),
    "scaled by a share of nothing": (
        "minimal", ("gateway.resources.requests.cpu=null", "default.resources.requests.cpu=null"), ["requests.cpu"],
    ),
    "a volume of one node for several ingestors": (
        "volume", ("stores.blobs.volume.accessModes={ReadWriteOnce}",), ["ReadWriteMany", "ingestor.replicas 1"],
    ),
    "a volume of yours of one node for several ingestors": (
        "volume", ("stores.blobs.volume.accessModes={ReadWriteOnce}", "stores.blobs.volume.existingClaim=mine"),
        ["ReadWriteMany", "ingestor.replicas 1"],
    ),
    "a volume of one Pod, which two need": (
        "development", ("stores.blobs.volume.accessModes={ReadWriteOncePod}",),
        ["stores.blobs.volume.accessModes", "take ReadWriteOnce", "migrations.enabled to false"],
    ),
    "a variable that the chart sets": (
        "minimal", ("gateway.env.RAGMESH_GRPC_PORT=1",), ["gateway.env.RAGMESH_GRPC_PORT", "take it out"],
    ),
    "public TLS without a certificate": (
        "minimal", ("tls.public.enabled=true",), ["tls.public.secretName", "tls.public.certManager.enabled"],
    ),
    "public TLS with two certificates": ("cert-manager", ("tls.public.secretName=mine",), ["leave the name empty"]),
    "a public certificate for no name": (
        "cert-manager", ("tls.public.certManager.dnsNames=null",), ["tls.public.certManager", "dnsNames"],
    ),
    "an Ingress of no host": ("ingress", ("ingress.grpc.host=",), ["ingress.grpc.host is empty"]),
    "two Ingresses of one host": ("ingress", ("ingress.grpc.host=rag.example.com",), ["a host name of its own"]),
    "routes of no Gateway": ("gateway-api", ("gatewayApi.parentRefs=null",), ["gatewayApi.parentRefs is empty"]),
    "gRPC over an Ingress without TLS": (
        "ingress", ("ingress.grpc.tlsSecretName=",), ["ingress.grpc.tlsSecretName is empty", "a Secret with"],
    ),
    "routes without host names": ("gateway-api", ("gatewayApi.grpcHostnames=null",), ["grpcHostnames: set both"]),
    "routes of one host name": (
        "gateway-api", ("gatewayApi.grpcHostnames={rag.example.com}",), ["has rag.example.com", "of its own"],
    ),
    "a route's host name that the other's wildcard takes": (
        "gateway-api", ("gatewayApi.restHostnames={*.example.com}",), ["has *.example.com", "of its own"],
    ),
    "routes to a gateway whose certificate nobody verifies": (
        "tls", ("gatewayApi.backendTls.hostname=",), ["gatewayApi.backendTls.hostname is empty", "to false"],
    ),
    "a load balancer that nobody may use": (
        "minimal", ("service.type=LoadBalancer",), ["networkPolicy.clients", "through service.type", "{ipBlock: {cidr"],
    ),
    "an Ingress whose controller is not let in": (
        "minimal", ("ingress.rest.enabled=true", "ingress.rest.host=a"), ["networkPolicy.clients", "through ingress.r"],
    ),
    "routes whose Gateway is not let in": (
        "minimal", ROUTES, ["through gatewayApi", "controller"],
    ),
    "the embedded Pod behind a load balancer that nobody may use": (
        "embedded", ("service.type=LoadBalancer",), ["networkPolicy.clients", "{namespaceSelector"],
    ),
    "KEDA without an address": ("keda", ("keda.address=",), ["keda.address is empty"]),
    "KEDA with a password of no Secret": (
        "keda", ("secrets.name=",), ["secrets.name is empty"],
    ),
    "a password in the address of Milvus": (
        "minimal", ("stores.vectors.url=http://root:pass@milvus:19530",), ["stores.vectors.url", "vectorsToken"],
    ),
    "a key in the address of a bucket": (
        "minimal", ("stores.blobs.url=s3://id:key@bucket/prefix",), ["stores.blobs.url", "s3AccessKey and s3SecretKey"],
    ),
    "a key in the address of a model": (
        "embedded", ("model.url=https://me:key@host/v1", "model.name=x"), ["model.url", "secrets.keys.modelKey"],
    ),
    "embeddings of no model": ("minimal", ("embedding.url=https://host/v1",), ["embedding.model is empty"]),
    "a model without a name": ("minimal", ("model.url=https://host/v1",), ["model.name is empty"]),
    "a grace below the longest answer": (
        "passwords", ("model.timeoutSeconds=60",), ["gateway.drain.graceSeconds is 40", "model.timeoutSeconds 60"],
    ),
}  # fmt: skip

# Helm takes these for a release, and Kubernetes none of them for a Service.
NO_NAMES = ("my.release", "1release")


def test_a_refusal_does_not_repeat_a_password() -> None:
    for values, sets, _ in CASES.values():
        if any(":pass@" in one or ":key@" in one for one in sets):
            said = helm.refusal(values, *sets)
            assert "pass@" not in said
            assert "key@" not in said


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_and_the_cure_is_named(case: str) -> None:
    values, sets, words = CASES[case]
    said = " ".join(helm.refusal(values, *sets).split())
    assert [word for word in words if word not in said] == [], said


@pytest.mark.parametrize("release", NO_NAMES)
def test_a_release_whose_services_could_not_be_named_is_refused_unless_it_is_named_otherwise(release: str) -> None:
    said = helm.refusal("minimal", release=release)
    assert f"{release}-ragmesh-gateway" in said
    assert "set fullnameOverride" in said
    assert "name: mine-gateway" in helm.manifests("minimal", "fullnameOverride=mine", release=release)


def test_every_refusal_of_the_chart_is_tried() -> None:
    said = [" ".join(helm.refusal(values, *sets).split()) for values, sets, _ in CASES.values()]
    said += [helm.refusal("minimal", release=release) for release in NO_NAMES]
    assert len(SENTENCES) > 30
    assert [one for one in SENTENCES if not any(re.search(one, text) for text in said)] == []
