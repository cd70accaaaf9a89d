"""kube-score over a rendering, and which of its findings are explained."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from chart import helm
from chart.rules.exceptions import explained

# Checks that are off unless asked for, and that the chart keeps. Off stay those that ask for requests equal to limits:
# a service may use more than it is promised for a moment.
OPTIONAL = ("container-seccomp-profile", "container-ports-check")
WARNING = 5  # a grade: 10 is in order, 1 critical
KUBERNETES = "v1.31"
# (check, object, values): what kube-score cannot see, and our own rule of the same name does.
BLIND = {
    (
        "kube-score:deployment-replicas",
        "Deployment/ragmesh-ingestor",
        values,
    ): "It knows no ScaledObject, which scales it."
    for values in ("keda", "production")
}


def findings(values: str) -> list[tuple[str, str, str]]:
    """(check, object, what it says) for everything below a full grade. Raises AssertionError when kube-score fails."""
    executable = helm.program("kube-score")
    assert executable, "kube-score is not on PATH"
    command = [executable, "score", "--output-format", "json", "--kubernetes-version", KUBERNETES]
    command += [text for name in OPTIONAL for text in ("--enable-optional-test", name)]
    done = subprocess.run(
        [*command, "-"], input=helm.manifests(values), capture_output=True, text=True, timeout=60, check=False
    )
    try:
        objects: list[dict[str, Any]] = json.loads(done.stdout)
    except ValueError:
        raise AssertionError(f"kube-score: {done.stderr or done.stdout}") from None
    return [
        (
            f"kube-score:{check['check']['id']}",
            f"{one['type_meta']['kind']}/{one['object_meta']['name']}",
            "; ".join(comment["summary"] for comment in check["comments"] or []),
        )
        for one in objects
        for check in one["checks"]
        if not check["skipped"] and check["grade"] <= WARNING
    ]


def unexplained(values: str) -> list[tuple[str, str, str]]:
    return [
        one for one in findings(values) if not explained(one[0], values, one[1]) and (*one[:2], values) not in BLIND
    ]
