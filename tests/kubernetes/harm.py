"""What is done to a release while load runs. Each act waits until what it hit is whole again, and notes when.

Times are seconds of CLOCK_MONOTONIC. The load shares that clock when the nodes are on the machine of the test; on other
nodes the rules that compare them mean nothing.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from kubernetes import cluster
from kubernetes.cluster import helm, kubectl
from kubernetes.house import RELEASE, House
from support.faults import Fault

BACK_SECONDS = 120.0
CHANGED = {"telemetry.logLevel": "WARNING"}
"""Values after which every pod is another."""

SETTLE_SECONDS = 3.0
"""Undisturbed load at the begin of each case, and between one harm and the next."""


@dataclass
class Harm:
    """The harm of one case, in order, in `log`."""

    house: House
    end: float
    log: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def noted(self, name: str, act: str, do: Callable[[], object]) -> Fault:
        fault = Fault(name, act, time.monotonic())
        self.log.append(fault)
        do()
        fault.gone = fault.back = time.monotonic()
        return fault

    # -- what may not be noticed ---------------------------------------------------------------------

    def restart(self, component: str) -> None:
        """A rolling restart, until the last old pod has ended."""

        def roll() -> None:
            kubectl("rollout", "restart", "-n", RELEASE, f"deployment/ragmesh-{component}")
            self.house.settled(component)

        self.noted(component, "rollout restart", roll)

    def drain(self) -> None:
        """Evict everything from the spare node as its maintenance would, and take it into service again."""
        node = self.house.spare_node
        assert node, "no node can be drained: the cluster needs two"
        before = len([p for p in self.house.pods() if p["spec"].get("nodeName") == node])
        try:
            self.noted(node, "drain", lambda: self._drained(node))
        finally:
            kubectl("uncordon", node)
        self.notes.append(f"{before} pods moved in {self.log[-1].gone - self.log[-1].at:.0f} s")

    def _drained(self, node: str) -> None:
        kubectl(
            "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={BACK_SECONDS:.0f}s",
            timeout_seconds=BACK_SECONDS + 10,
        )  # fmt: skip
        self.house.settled()

    def upgrade(self) -> None:
        """Every pod is another after it: their settings change."""
        self._replaced("helm upgrade", lambda: self.house.upgrade(CHANGED))
        self.notes.append(f"upgrade took {self.log[-1].gone - self.log[-1].at:.0f} s")

    def rollback(self) -> None:
        """From CHANGED to what was before."""

        def back() -> None:
            helm("rollback", RELEASE, "-n", RELEASE, "--wait", "--timeout=300s")

        self._replaced("helm rollback", back)
        self.notes.append(f"rollback took {self.log[-1].gone - self.log[-1].at:.0f} s")

    def _replaced(self, act: str, do: Callable[[], object]) -> None:
        """Until every pod is another, and those before have ended."""
        before = {str(pod["metadata"]["name"]) for pod in self.house.pods()}

        def replaced() -> None:
            do()
            self.house.settled()

        self.noted("release", act, replaced)
        left = before & {str(pod["metadata"]["name"]) for pod in self.house.pods()}
        assert not left, f"{act} left {len(left)} pods as they were"

    # -- what is noticed -----------------------------------------------------------------------------

    def delete(self, component: str) -> None:
        """Take a pod away without its time to drain. Its processes live for 2 s more, or a little longer: the fault is
        their end, where it can be seen."""
        pod = self.house.pods(component)[0]
        name, pids = str(pod["metadata"]["name"]), processes_of(pod)
        fault = Fault(name, "deleted by force", time.monotonic())
        self.log.append(fault)
        kubectl("delete", "pod", "-n", RELEASE, name, "--grace-period=0", "--force")

        def ended() -> bool:
            now = time.monotonic()
            if not any(_lives(pid) for pid in pids):
                return True
            fault.at = now  # a moment at which they still lived: what their end broke ended after it
            return False

        cluster.wait_for(f"the end of {name}", ended, BACK_SECONDS, every=0.02)
        fault.gone = time.monotonic()
        self._back(component)
        fault.back = time.monotonic()

    def kill(self, component: str, turn: int = 0) -> None:
        """SIGKILL of the process in a pod's container, from its node, which must be this machine."""
        pods = sorted(self.house.pods(component), key=lambda p: str(p["metadata"]["name"]))
        pod = pods[turn % len(pods)]
        pids = processes_of(pod)
        if not pids:
            self.delete(component)
            return
        fault = Fault(pod["metadata"]["name"], "SIGKILL", time.monotonic())
        self.log.append(fault)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        fault.gone = time.monotonic()
        before = cluster.restarts(pod)
        name = str(pod["metadata"]["name"])

        def again() -> bool:
            now = cluster.get("pod", "-n", RELEASE, name)
            return cluster.restarts(now) > before and cluster.ready(now)

        cluster.wait_for(f"{name} to be back", again, BACK_SECONDS, every=0.5)
        fault.back = time.monotonic()

    def _back(self, component: str) -> None:
        def whole() -> bool:
            found = self.house.pods(component)
            return len(found) >= 2 and all(cluster.ready(pod) for pod in found)

        cluster.wait_for(f"two of {component}", whole, BACK_SECONDS, every=0.5)


def processes_of(pod: dict[str, Any]) -> list[int]:
    """The pids, on this machine, of the processes of a pod that are ragmesh's own; none when its node is elsewhere."""
    uid = str(pod["metadata"]["uid"])
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            groups, command = (process / "cgroup").read_text(), (process / "cmdline").read_text()
        except OSError:  # it has ended, or is not ours to see
            continue
        if (uid in groups or uid.replace("-", "_") in groups) and "ragmesh_" in command:
            found.append(int(process.name))
    return found


def _lives(pid: int) -> bool:
    """Whether it may still answer: one that waits to be reaped has closed its connections."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
