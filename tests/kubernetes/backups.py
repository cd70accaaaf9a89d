"""A backup of a release's stores by k8s/backup-job.yaml, all of them wiped, and the backup restored."""

from __future__ import annotations

import subprocess
import time
from typing import Any

import yaml  # type: ignore[import-untyped]  # its stubs are not among the tools

from kubernetes import cluster
from kubernetes.cluster import kubectl
from kubernetes.embedded import answers
from kubernetes.house import COMPONENTS, LOAD, RELEASE, SERVICE, STORES, House
from reliability.judge import Gate

JOB = cluster.REPOSITORY / "k8s/backup-job.yaml"
CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: backups}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""
BLOBS = "/var/lib/ragmesh/blobs"
EMPTY = f"""
import pathlib, shutil
for path in pathlib.Path("{BLOBS}").iterdir():
    shutil.rmtree(path) if path.is_dir() else path.unlink()
"""
JOB_SECONDS = 170.0


def restored(house: House) -> list[Gate]:
    """The same answers, the same documents, from stores that were empty in between."""
    before = answers(SERVICE, LOAD)
    cluster.apply(RELEASE, CLAIM)
    began = time.monotonic()
    backed_up = job()
    backup_seconds = time.monotonic() - began
    wipe()
    gone = nothing_found()
    began = time.monotonic()
    brought_back = job("restore", _last(backed_up).partition(": ")[0])
    restore_seconds = time.monotonic() - began
    after = answers(SERVICE, LOAD)
    same = sum(certain(before[question]) == certain(after.get(question)) for question in before)
    return [
        Gate("the backup is whole", "whole" in backed_up, f"{_last(backed_up)} ({backup_seconds:.0f} s)"),
        Gate("with every store wiped nothing is found", gone, "the collection is not there" if gone else "it is there"),
        Gate("it is restored", "restored" in brought_back, f"{_last(brought_back)} ({restore_seconds:.0f} s)"),
        Gate(
            "the same answers, best hits, rankings of each leg, and documents",
            same == len(before),
            f"{same} of {len(before)}",
        ),
    ]


def certain(found: Any) -> Any:
    """Of what a question found the part that no tie decides. Most passages have the words of the question but one, and
    so the same BM25 score: which 64 of them are fused is the store's choice, by the order in which they were written,
    and a backup does not keep that order. It decides what comes after the best hit; each leg is compared whole."""
    if not isinstance(found, dict):
        return found
    return (found["answer"], found["hits"][:1], found["sources"][:1], found["dense"], found["bm25"])


def job(*restore: str) -> str:
    """What the Job said when it had succeeded, as it is, or as it is for restoring: `restore FILE`. AssertionError with
    its log when it did not."""
    wanted = yaml.safe_load(JOB.read_text())
    wanted["metadata"] = {"name": "ragmesh-backup"}
    pod = wanted["spec"]["template"]["spec"]
    [container] = pod["containers"]
    if restore:
        del pod["initContainers"]
        container["command"] = ["python", "-m", "ragmesh_cli", *restore]
    for each in (*pod.get("initContainers", ()), container):
        each["image"] = f"ragmesh:{cluster.tag()}"
    container["volumeMounts"].append({"name": "blobs", "mountPath": BLOBS})
    pod["volumes"].append({"name": "blobs", "persistentVolumeClaim": {"claimName": "ragmesh-blobs"}})
    kubectl("delete", "job", "-n", RELEASE, "ragmesh-backup", "--ignore-not-found")
    cluster.apply(RELEASE, yaml.safe_dump(wanted))
    try:
        kubectl(
            "wait", "-n", RELEASE, "job/ragmesh-backup", "--for=condition=Complete", f"--timeout={JOB_SECONDS:.0f}s",
            timeout_seconds=JOB_SECONDS + 10,
        )  # fmt: skip
    except (cluster.Refused, subprocess.TimeoutExpired) as error:
        raise AssertionError(kubectl("logs", "-n", RELEASE, "job/ragmesh-backup")[-2000:]) from error
    return kubectl("logs", "-n", RELEASE, "job/ragmesh-backup")


def wipe() -> None:
    """Stores begin anew, on empty volumes; originals are deleted; the release finds its stores as after an install."""
    names = [f"deployment/{name}" for name in ("neo4j", "milvus", "redis-state", "redis-cache")]
    kubectl("exec", "-n", RELEASE, "deployment/ragmesh-ingestor", "--", "python", "-c", EMPTY)
    kubectl("rollout", "restart", "-n", STORES, *names)
    for name in names:
        kubectl("rollout", "status", "-n", STORES, name, "--timeout=170s", timeout_seconds=180)
    kubectl("rollout", "restart", "-n", RELEASE, *(f"deployment/ragmesh-{component}" for component in COMPONENTS))
    for component in COMPONENTS:
        kubectl(
            "rollout", "status", "-n", RELEASE, f"deployment/ragmesh-{component}", "--timeout=170s", timeout_seconds=180
        )


def nothing_found() -> bool:
    try:
        answers(SERVICE, LOAD)
    except AssertionError as error:
        return "404" in str(error)
    return False


def _last(text: str) -> str:
    return " ".join(text.strip().splitlines()[-1:])
