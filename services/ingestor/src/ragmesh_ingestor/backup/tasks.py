"""The three things that can be asked for, each as one function: a backup is made, checked, restored."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ragmesh_ingestor.backup.archive import ArchiveReader, ArchiveWriter, Manifest
from ragmesh_ingestor.backup.checking import Tell, check
from ragmesh_ingestor.backup.copying import Backup
from ragmesh_ingestor.backup.replacing import replacing
from ragmesh_ingestor.backup.restoring import Restore
from ragmesh_ingestor.backup.stores import opened
from ragmesh_servicekit.errors import AlreadyExists, FailedPrecondition

DISTRIBUTION = "ragmesh-ingestor"


async def back_up(
    environ: Mapping[str, str],
    path: Path,
    tell: Tell,
    *,
    tenant: str = "",
    overwrite: bool = False,
    allow_empty: bool = False,
) -> Any:
    """Back up to a file that appears when it is whole and was read through; what is in it. AlreadyExists when it is
    there and `overwrite` is not set; FailedPrecondition for stores without a collection when `allow_empty` is not set;
    OSError."""
    if not overwrite and await asyncio.to_thread(path.exists):
        raise AlreadyExists(f"{path} exists already: name another file, or use --overwrite")
    async with opened(environ, existing=True) as stores:
        with replacing(path) as (file, temporary):
            manifest = Manifest(tenant, datetime.now(UTC).isoformat())
            writer = ArchiveWriter(file, manifest, version(DISTRIBUTION))
            await Backup(stores, writer, tell).run()
            if not allow_empty:
                _require_collections(manifest)
            writer.finish()
            file.flush()
            os.fsync(file.fileno())
            await _checked(temporary, tell)
    return {**_contents(manifest, version(DISTRIBUTION)), "bytes": await _size(path)}


async def verify(path: Path, tell: Tell) -> Any:
    """Read a backup through; what is in it. FailedPrecondition naming what is wrong with it; OSError."""
    return {**await _checked(path, tell), "bytes": await _size(path)}


async def restore(environ: Mapping[str, str], path: Path, tell: Tell, *, replace: bool = False) -> Any:
    """Check a backup and restore it; what was restored and what it replaced."""
    contents = await _checked(path, tell)
    async with opened(environ, existing=False) as stores:
        with ArchiveReader.open(path) as reader:
            done = await Restore(stores, reader, tell).run(replace=replace)
    replaced = [{"tenant": one.tenant, "collection_id": one.collection_id} for one in done.replaced]
    return {**contents, "replaced": replaced, "new_keys": done.new_keys, "kept_keys": done.kept_keys}


async def _checked(path: Path, tell: Tell) -> dict[str, Any]:
    with ArchiveReader.open(path) as reader:
        await check(reader, tell)
        return _contents(reader.manifest, reader.product)


async def _size(path: Path) -> int:
    return (await asyncio.to_thread(path.stat)).st_size


def _contents(manifest: Manifest, product: str) -> dict[str, Any]:
    shown = ("tenant", "collection_id", "documents", "states", "chunks", "embedding_model", "moment", "settled")
    return {
        "created_at": manifest.created_at,
        "product": product,
        "collections": [
            {**{name: facts[name] for name in shown}, "left_out": facts.get("left_out", [])}
            for facts in manifest.live()
        ],
        "keys": manifest.keys,
    }


def left_out(result: Any) -> int:
    """How many documents were there and are not in the backup."""
    return sum(len(one["left_out"]) for one in result["collections"])


def _require_collections(manifest: Manifest) -> None:
    """A lost volume, another database or a misspelt tenant looks just like a mesh that is empty, and the last good
    backup would be replaced by nothing. Keys do not count: a mesh that starts anew makes one."""
    if manifest.live():
        return
    whose = f"the tenant `{manifest.tenant}` has" if manifest.tenant else "the stores have"
    raise FailedPrecondition(
        f"{whose} no collection and {manifest.keys or 'no'} key{'' if manifest.keys == 1 else 's'}: see whether these "
        "are the right stores and the right tenant; with --allow-empty they are backed up all the same"
    )
