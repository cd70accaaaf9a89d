"""Rules of public linters over rendered objects. Importing this registers all of them in registry.RULES."""

from __future__ import annotations

from chart.rules import containers, network, objects_of_a_release, pods, workloads

__all__ = ["containers", "network", "objects_of_a_release", "pods", "workloads"]
