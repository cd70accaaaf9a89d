"""The HorizontalPodAutoscaler, with a short memory: more retrievers under load, and fewer when it is over."""

from __future__ import annotations

import time

from kubernetes import cluster
from kubernetes.harm import Harm
from kubernetes.house import RELEASE
from reliability.judge import Gate

CHANGES = {
    "retriever.autoscaling.enabled": "true",
    "retriever.autoscaling.minReplicas": "2",
    "retriever.autoscaling.maxReplicas": "4",
    "retriever.autoscaling.targetCPUUtilizationPercentage": "50",
    "retriever.autoscaling.scaleDown.stabilizationWindowSeconds": "20",
    "retriever.autoscaling.scaleDown.periodSeconds": "15",
}
UP_SECONDS, DOWN_SECONDS = 100.0, 240.0


def replicas() -> int:
    found = cluster.get("deployment", "-n", RELEASE, "ragmesh-retriever")
    return int(found["status"].get("readyReplicas", 0))


def up(harm: Harm) -> None:
    """Waits until more than two are ready. What happens at 20 questions/s is the autoscaler's to see."""

    def more() -> None:
        cluster.wait_for("a third retriever", lambda: replicas() > 2, UP_SECONDS, every=2.0)

    fault = harm.noted("retriever", "scaled up", more)
    harm.notes.append(f"more than 2 retrievers ready {fault.gone - fault.at:.0f} s after the load began")


def down(harm: Harm) -> list[Gate]:
    most = replicas()
    began = time.monotonic()
    cluster.wait_for("two retrievers", lambda: replicas() == 2, DOWN_SECONDS, every=2.0)
    seconds = time.monotonic() - began
    return [Gate("it goes down again when the load is over", held=True, measured=f"{most} to 2 in {seconds:.0f} s")]
