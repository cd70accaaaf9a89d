"""Which stores are backed up or restored: those that the environment names, and for the rest those that the home's mesh
was last run with.

Where the environment names all of them, as in a cluster, no home is needed or looked at. The embedded Milvus is a
server: that of the running mesh is used, and for a home at rest it is started for the time being.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Mapping

from ragmesh_cli.failure import Failure
from ragmesh_cli.home import Home, HomeLock
from ragmesh_cli.mesh.child import Child
from ragmesh_cli.mesh.places import filled, named, of_home
from ragmesh_cli.stores import milvus_lite
from ragmesh_cli.terminal import note

NEEDED = ("RAGMESH_RECORDS_URL", "RAGMESH_VECTORS_URL", "RAGMESH_BLOBS_URL")
MILVUS = "milvus"
READY_SECONDS = 30.0
GRACE_SECONDS = 15.0


@contextlib.asynccontextmanager
async def reachable(home: Home, *, made: bool) -> AsyncIterator[Mapping[str, str]]:
    """The environment that tells the stores. made: make a home that is not there yet.

    Raises Failure when the home cannot be used, or is that of a mesh whose stores are elsewhere."""
    own = {name for name in NEEDED if _is_set(name)}
    if len(own) == len(NEEDED):
        yield dict(os.environ)
        return
    if made:
        home.prepare()
    elif not home.path.is_dir():
        raise Failure(f"there is no mesh in {home.path}: name its home with --home, or its stores with RAGMESH_*_URL")
    else:
        home.require_known_version()
    environ = filled(home, os.environ)
    for name, place in (home.stores() or {}).items():
        if name in NEEDED and name not in own:
            note(f"{name} is {place}, as the mesh of {home.path} was last run")
    embedded = environ.get("RAGMESH_RECORDS_URL") == of_home(home)["RAGMESH_RECORDS_URL"]
    at_home = (home.path / "records.db").exists() or not embedded
    if not (made or at_home):
        raise Failure(f"there is nothing to back up in {home.path}")
    state = home.running_still()
    if state is not None and not state["ready"]:
        raise Failure(f"the mesh of {home.path} is starting; try again when it serves")
    if environ.get("RAGMESH_VECTORS_URL") or "RAGMESH_VECTORS_URL" in own:
        yield environ
    elif state is not None:
        address = next((str(entry["address"]) for entry in state["processes"] if entry["name"] == MILVUS), "")
        if not address or not at_home:
            raise Failure(f"the mesh that runs in {home.path} has stores elsewhere: set the RAGMESH_*_URL that it has")
        yield {**environ, "RAGMESH_VECTORS_URL": address}
    else:
        async with _milvus(home) as address:
            yield {**environ, "RAGMESH_VECTORS_URL": address}
    if made and home.stores() is None:
        home.write_stores(named(os.environ))  # what was restored is there, whatever the next shell says


@contextlib.asynccontextmanager
async def _milvus(home: Home) -> AsyncIterator[str]:
    """The embedded Milvus of a home at rest, which stays locked meanwhile: two servers would spoil its file."""
    lock = HomeLock(home)
    lock.acquire(note)
    command = milvus_lite.command(home.path)
    child = Child(command.name, command.argv, command.env, command.log_path, command.cwd, (lock.descriptor,))
    try:
        await child.start()
        await milvus_lite.wait_ready(command.address, READY_SECONDS)
        yield command.address
    finally:
        await child.stop(GRACE_SECONDS)
        os.close(lock.descriptor)


def _is_set(name: str) -> bool:
    return any(os.environ.get(each, "").strip() for each in (name, f"{name}_FILE"))
