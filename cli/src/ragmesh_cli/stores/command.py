"""What it takes to start one embedded store: plain data for whoever starts processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StoreCommand:
    """One store process.

    name: as `ragmesh status` shows it (`milvus`, `redis-state`).
    argv: the program and its arguments, absolute paths.
    env: what is set or replaced in the child's environment; everything else is the parent's.
    log_path: the file to which its standard output and error are appended.
    address: where it answers, as its driver takes it (`unix:/...`).
    cwd: the folder it runs in; None for the parent's. Whoever starts the store first makes cwd and the folder of
        log_path (0700).
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    log_path: Path
    address: str
    cwd: Path | None = None
