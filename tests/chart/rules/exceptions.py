"""Findings that stay, and why. One that no rendering needs any more makes a test fail."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Explained:
    """`rule` is a rule's first name, `values` and `object` are patterns over a ci values file and an object."""

    rule: str
    values: str
    object: str
    reason: str

    def covers(self, rule: str, values: str, where: str) -> bool:
        return self.rule == rule and fnmatchcase(values, self.values) and fnmatchcase(where, self.object)


EMBEDDED = "The embedded stores are files of one Pod in one volume, so there is one Pod, and two never overlap."
TRIAL = "A trial on a cluster with two workers, whose images are loaded into the nodes and not pulled."
ONE_NODE = "The originals are in a volume that one node has: one ingestor, and the next when it has let the volume go."

EXCEPTIONS = (
    Explained(
        "polaris:metadataAndInstanceMismatched",
        "*",
        "*",
        "The instance is the Helm release, as Kubernetes' recommended labels have it; a release has many objects.",
    ),
    Explained(
        "kube-linter:restart-policy",
        "*",
        "Job/*-migrate",
        "backoffLimit repeats it in a new Pod, so that the log of each attempt stays.",
    ),
    Explained("kube-linter:restart-policy", "*", "Pod/*-test", "`helm test` runs it once and reads how it ended."),
    Explained(
        "kube-linter:priority-class-name",
        "*",
        "*",
        "A PriorityClass belongs to the whole cluster: one is named or made only when the values say so.",
    ),
    Explained("kube-score:deployment-replicas", "embedded*", "Deployment/*-embedded", EMBEDDED),
    Explained("kube-linter:minimum-three-replicas", "embedded*", "Deployment/*-embedded", EMBEDDED),
    Explained("kube-score:deployment-strategy", "embedded*", "Deployment/*-embedded", EMBEDDED),
    Explained("kube-score:deployment-has-poddisruptionbudget", "embedded*", "Deployment/*-embedded", EMBEDDED),
    Explained("kube-linter:no-anti-affinity", "embedded*", "Deployment/*-embedded", EMBEDDED),
    Explained("kube-score:pod-topology-spread-constraints", "embedded*", "Deployment/*-embedded", EMBEDDED),
    Explained("kube-score:container-image-pull-policy", "development", "*", TRIAL),
    Explained("kube-linter:minimum-three-replicas", "development", "*", TRIAL),
    Explained("kube-score:deployment-replicas", "development", "Deployment/*-ingestor", ONE_NODE),
    Explained("kube-score:deployment-strategy", "development", "Deployment/*-ingestor", ONE_NODE),
)


def explained(rule: str, values: str, where: str) -> str:
    """Why a finding stays; empty when nobody said."""
    return next((one.reason for one in EXCEPTIONS if one.covers(rule, values, where)), "")
