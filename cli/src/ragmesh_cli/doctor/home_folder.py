"""The home: who may read it, which release made it, who holds its lock, what a mesh that was killed left in it."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from ragmesh_cli.doctor.finding import Finding, Level, Situation, error, ok, warning
from ragmesh_cli.failure import Failure
from ragmesh_cli.home import Home


def home(situation: Situation) -> list[Finding]:
    """The folder and its secrets."""
    place = situation.home
    if not place.path.exists():
        return [ok("home", f"{place.path} does not exist yet; `ragmesh up` makes it")]
    if not place.path.is_dir():
        return [error("home", f"{place.path} is a file", "choose a folder with RAGMESH_HOME or --home")]
    findings = _readable_by_others(place)
    owner = place.path.stat().st_uid
    if owner != os.geteuid():
        cure = "run as that user, or choose another home with RAGMESH_HOME"
        findings.append(error("home", f"{place.path} belongs to user {owner}, not to you ({os.geteuid()})", cure))
    try:
        place.require_known_version()
        place.stores()
    except Failure as failure:
        findings.append(Finding("home", Level.ERROR, str(failure)))
    return findings or [ok("home", f"{place.path}, version {place.version()}, readable by you only")]


def lock(situation: Situation) -> list[Finding]:
    """Whether the lock and the state file say the same of what runs."""
    place = situation.home
    if not place.path.is_dir():
        return []
    left = place.state()
    held = _is_held(place.lock_file)
    if situation.state is not None:
        pid = situation.state["pid"]
        if held:
            return [ok("lock", f"held by the mesh that runs (pid {pid})")]
        what = f"a mesh runs (pid {pid}) and does not hold the lock {place.lock_file}"
        return [error("lock", what, "the file was replaced while it ran: `ragmesh down`, then `ragmesh up`")]
    if held:
        holders = _holders(place.lock_file)
        who = f": {', '.join(holders)}" if holders else ""
        what = f"the home is locked and its supervisor is gone; processes of a mesh that was killed still run{who}"
        return [error("lock", what, "they end within 30 s by themselves; if not, end them")]
    if left is not None:
        what = f"mesh.json is left of a mesh that was killed (pid {left.get('pid', '?')})"
        return [warning("lock", what, "nothing; the next `ragmesh up` replaces it")]
    return [ok("lock", "free: no mesh runs here")]


def _readable_by_others(place: Home) -> list[Finding]:
    findings = []
    for path, mode in ((place.path, 0o700), (place.key_file, 0o600), (place.identity_file, 0o600)):
        try:
            found = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue
        if found & 0o077:
            findings.append(error("home", f"{path} is open to others (mode {found:04o})", f"chmod {mode:o} {path}"))
    return findings


def _is_held(path: Path) -> bool:
    """Whether somebody has the exclusive lock. It is asked for shared and let go at once; a start waits for it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _holders(path: Path) -> list[str]:
    """`name (pid n)` of those of our processes that have the file open, where /proc tells."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        try:
            if any(link.readlink() == path for link in (process / "fd").iterdir()):
                found.append(f"{(process / 'comm').read_text().strip()} (pid {process.name})")
        except OSError:  # it has ended, or is not ours
            continue
    return found
