"""The machine: interpreter, programs, disk, limits, clock."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ragmesh_cli.doctor.finding import Finding, Situation, error, ok, warning
from ragmesh_cli.mesh.plan import own_stores
from ragmesh_cli.reference import SERVICES
from ragmesh_cli.stores import milvus_lite, redis_server
from ragmesh_servicekit.errors import FailedPrecondition

PYTHONS = ((3, 11), (3, 12))
GIGABYTE = 1_000_000_000
DISK_WARNING_BYTES = 2 * GIGABYTE
DISK_ERROR_BYTES = 200_000_000
INODES_WARNING, INODES_ERROR = 20_000, 1_000
FILES_WARNING, FILES_ERROR = 1024, 256
"""Open files of one process: a gateway has one for each connection, and a search holds none."""

CLOCK_SLACK_SECONDS = 120.0
"""File systems of another machine, and rounding."""

PACKAGES = ("ragmesh", "ragmesh-protos", "ragmesh-servicekit", "ragmesh-backends", *(f"ragmesh-{s}" for s in SERVICES))


def python(_: Situation) -> list[Finding]:
    """An interpreter that ragmesh is tested with, and all of its packages of one version."""
    found = sys.version_info[:2]
    if found not in PYTHONS:
        cure = "use Python 3.11 or 3.12 (make PYTHON=...)"
        return [error("python", f"Python {found[0]}.{found[1]} is not supported", cure)]
    versions: dict[str, str] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            return [
                error("python", f"the package {package} is not installed", "install ragmesh again (`make install`)")
            ]
    if len(set(versions.values())) > 1:
        shown = ", ".join(f"{package} {number}" for package, number in versions.items())
        return [error("python", f"the packages differ in version: {shown}", "install ragmesh again (`make install`)")]
    where = f"{platform.system()} {platform.machine()}"
    return [ok("python", f"ragmesh {versions['ragmesh']}, Python {platform.python_version()}, {where}")]


def redis(situation: Situation) -> list[Finding]:
    """A redis-server that is new enough, where one would be started."""
    if {"RAGMESH_STATE_URL", "RAGMESH_CACHE_URL"} <= own_stores(situation.environ):
        return [ok("redis", "both Redis are named by variables; none is started")]
    try:
        server = redis_server.program()
    except FailedPrecondition as failure:
        return [error("redis", failure.message, "`ragmesh up` needs one")]
    return [ok("redis", f"redis-server {server.version[0]}.{server.version[1]}, {server.path}")]


def milvus(situation: Situation) -> list[Finding]:
    """The embedded Milvus and the libraries beside it, where one would be started."""
    if "RAGMESH_VECTORS_URL" in own_stores(situation.environ):
        return [ok("milvus", "named by RAGMESH_VECTORS_URL; none is started")]
    try:
        folder = milvus_lite.library_folder()
    except FailedPrecondition as failure:
        return [error("milvus", failure.message, "`ragmesh up` needs it")]
    if not os.access(folder / "milvus", os.X_OK):
        return [error("milvus", f"{folder / 'milvus'} cannot be executed", f"chmod u+x {folder / 'milvus'}")]
    return [ok("milvus", f"milvus-lite {version('milvus-lite')}")]


def disk(situation: Situation) -> list[Finding]:
    """Room for the home: bytes and inodes."""
    place = next(path for path in (situation.home.path, *situation.home.path.parents) if path.exists())
    free = shutil.disk_usage(place).free
    room = _room(place)
    findings = []
    cure = "free some space, or move the home (RAGMESH_HOME)"
    if free < DISK_WARNING_BYTES:
        level = error if free < DISK_ERROR_BYTES else warning
        findings.append(level("disk", f"{_size(free)} free at {place}", cure))
    if room.f_files and room.f_favail < INODES_WARNING:
        level = error if room.f_favail < INODES_ERROR else warning
        findings.append(level("disk", f"room for {room.f_favail} more files (inodes) at {place}", cure))
    return findings or [ok("disk", f"{_size(free)} free at {place}")]


def files(_: Situation) -> list[Finding]:
    """How many files a process may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES_WARNING:
        level = error if soft < FILES_ERROR else warning
        most = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
        return [level("files", f"a process may open {soft} files", f"ulimit -n {FILES_WARNING} (allowed: {most})")]
    return [ok("files", f"a process may open {'any number of' if soft == resource.RLIM_INFINITY else soft} files")]


def clock(situation: Situation) -> list[Finding]:
    """The clock is not before what was written by it: keys and tokens have times in them."""
    now = time.time()
    home = situation.home
    marks: Iterable[Path] = (Path(__file__), home.state_file, home.identity_file, home.path / "records.db")
    latest = max((_modified(path), path) for path in marks)
    if latest[0] > now + CLOCK_SLACK_SECONDS:
        what = f"the clock says {_time(now)}, and {latest[1]} was written {_time(latest[0])}"
        return [error("clock", what, "set the clock (NTP); then touch that file, if the clock was ahead before")]
    return [ok("clock", _time(now))]


def _room(place: Path) -> os.statvfs_result:
    return os.statvfs(place)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _size(count: int) -> str:
    return f"{count / GIGABYTE:.1f} GB" if count >= GIGABYTE else f"{count / 1_000_000:.0f} MB"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
