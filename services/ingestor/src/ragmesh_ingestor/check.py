"""`python -m ragmesh_ingestor.check`: looks at the embedding model and the stores that the environment names, changes
nothing, and prints a JSON list of findings. `ragmesh doctor` runs it: the command line itself knows no store.

A store whose variable is not set is not looked at. Every look has LOOK_SECONDS; all are taken at the same time.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from ragmesh_backends.blobs import layout as blobs_layout
from ragmesh_backends.blobs.object_store import ObjectBlobs
from ragmesh_backends.embeddings import cache, weights
from ragmesh_backends.records.inspection import inspect
from ragmesh_backends.redis import layout as redis_layout
from ragmesh_backends.redis.client import connect
from ragmesh_backends.store_settings import RecordsSettings, StateSettings, VectorsSettings
from ragmesh_backends.vectors.inspection import found_indexes
from ragmesh_servicekit.errors import FailedPrecondition, MeshError
from ragmesh_servicekit.settings import SettingsError, load

LOOK_SECONDS = 6.0
COUNT_SECONDS = 2.0
"""Of LOOK_SECONDS, for counting the record's chunks."""

SPARE_SECONDS = 0.5
"""Of LOOK_SECONDS, for telling what was found until then."""

SHOWN = 3
"""Collections named in one finding."""

OK, WARNING, ERROR = "ok", "warning", "error"
Look = Callable[[Mapping[str, str]], Awaitable[list["Finding"]]]


@dataclass(frozen=True, slots=True)
class Finding:
    """check: what was looked at. what: what is the case. cure: what to do; empty when all is well."""

    check: str
    level: str
    what: str
    cure: str = ""


async def model(environ: Mapping[str, str]) -> list[Finding]:
    """The weights are there and are the official ones; the graph that is built from them is whole or not built."""
    if environ.get("RAGMESH_EMBEDDING_URL"):
        return [Finding("model", OK, "embeddings come from RAGMESH_EMBEDDING_URL")]
    try:
        path = weights.installed().weights
    except FailedPrecondition as error:
        return [Finding("model", ERROR, error.message, "install ragmesh again (`make install`)")]
    digest = await asyncio.to_thread(_sha256, path)
    if digest != weights.WEIGHTS_SHA256:
        what = f"{path} has SHA-256 {digest[:12]}…, not {weights.WEIGHTS_SHA256[:12]}… of the official release"
        return [Finding("model", ERROR, what, "install ragmesh again (`make install`)")]
    graph = Path(environ.get("RAGMESH_MODELS_DIR") or ".") / cache.GRAPH_NAME
    if await asyncio.to_thread(graph.exists) and not await asyncio.to_thread(cache.is_good, graph):
        return [Finding("model", WARNING, f"{graph} is damaged", "nothing: the next start builds it again")]
    built = "its graph is built" if graph.exists() else "its graph is built by the next start"
    return [Finding("model", OK, f"{weights.MODEL_NAME}: the official weights; {built}")]


async def records(environ: Mapping[str, str]) -> list[Finding]:
    """Schema versions, constraints and indexes of the record store."""
    if not _names_records(environ):
        return []
    settings = load(RecordsSettings, environ)
    found = await inspect(settings)
    if found is None:
        return []
    where = settings.url.removeprefix("sqlite:")
    newer = [v for v in found.versions if v.found > v.known]
    older = [v for v in found.versions if v.found < v.known]
    if newer:
        what = f"{where}: {', '.join(f'{v.component} has schema version {v.found}, known is {v.known}' for v in newer)}"
        return [Finding("records", ERROR, what, "run the newer ragmesh that wrote it, or restore a backup")]
    if found.missing:
        what = f"{where}: not there or not online: {_some(list(found.missing))}"
        cure = "SHOW INDEXES tells which are being built; one that was dropped is made again by its CREATE statement"
        return [Finding("records", ERROR, what, cure)]
    shown = ", ".join(f"{v.component} {v.found}" for v in found.versions) or "none yet; the services set them"
    note = "; the next start brings it forward" if older else ""
    return [Finding("records", OK, f"schema versions: {shown}{note}")]


async def state(environ: Mapping[str, str]) -> list[Finding]:
    """The layout of the Redis for state."""
    if not (environ.get("RAGMESH_STATE_URL") or environ.get("RAGMESH_STATE_URL_FILE")):
        return []
    client = connect(load(StateSettings, environ).url)
    try:
        found = await redis_layout.require_known_layout(client)
    finally:
        await client.aclose()
    return [Finding("state", OK, "no layout yet; the ingestor sets it" if found is None else f"layout {found}")]


async def blobs(environ: Mapping[str, str]) -> list[Finding]:
    """The layout of a folder of blobs."""
    folder = _after("file:", environ.get("RAGMESH_BLOBS_URL", ""))
    if folder is None or not await asyncio.to_thread(folder.is_dir):
        return []
    found = await blobs_layout.require_known_layout(ObjectBlobs.local(folder))
    return [Finding("blobs", OK, "no layout yet; the ingestor sets it" if found is None else f"layout {found}")]


async def indexes(environ: Mapping[str, str]) -> list[Finding]:
    """Every collection of the record has its index, of a known layout and with no fewer rows than searches show. Of a
    store so large that this takes longer, as many as there is time for, and how many that were."""
    give_up_at = asyncio.get_running_loop().time() + LOOK_SECONDS - SPARE_SECONDS
    if not _names_records(environ) or not environ.get("RAGMESH_VECTORS_URL"):
        return []
    record = await inspect(load(RecordsSettings, environ), count_seconds=COUNT_SECONDS)
    if record is None:
        return []
    expected = record.collections
    settings = load(VectorsSettings, environ)
    names = [index.name for index in expected]
    found = {
        index.name: index
        for index in await found_indexes(
            settings.url,
            names,
            counted=True,
            timeout_seconds=settings.timeout_seconds,
            whole_seconds=max(0.0, give_up_at - asyncio.get_running_loop().time()),
            token=settings.token,
        )
    }
    newer = [index.newer for index in found.values() if index.newer]
    missing = [f"{e.collection_id} of {e.tenant}" for e in expected if e.name not in found]
    short = [
        f"{e.collection_id} of {e.tenant} ({rows} of {e.chunks})"
        for e in expected
        if e.chunks is not None and e.name in found and (rows := found[e.name].rows) is not None and rows < e.chunks
    ]
    findings = [Finding("indexes", ERROR, newer[0])] if newer else []
    if missing:
        what = f"no index in the vector store for {_some(missing)}"
        findings.append(Finding("indexes", ERROR, what, "restore a backup, or delete the collection and ingest again"))
    if short:
        what = f"chunks are missing in the vector store: {_some(short)}"
        cure = "restore a backup, or send the documents of the collection again (`ragmesh ingest --again`)"
        findings.append(Finding("indexes", ERROR, what, cure))
    unseen = sum(not index.looked_at for index in found.values())
    chunks = (
        " and its chunks" if all(e.chunks is not None for e in expected) else "; counting the chunks takes too long"
    )
    counted = f"{len(expected)} collection{'' if len(expected) == 1 else 's'}, each with its index"
    if unseen:
        counted += f"; there was time to look at {len(found) - unseen} of them"
        chunks = ""
    if unseen and unseen == len(found) and not findings:
        return [Finding("indexes", WARNING, counted, "look at the load of the vector store")]
    return findings or [Finding("indexes", OK, counted + chunks)]


LOOKS: dict[str, Look] = {"model": model, "records": records, "state": state, "blobs": blobs, "indexes": indexes}


async def look(environ: Mapping[str, str]) -> list[Finding]:
    """All findings."""

    async def bounded(name: str, one: Look) -> list[Finding]:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await one(environ)
        except TimeoutError:
            what = f"did not answer within {LOOK_SECONDS:g} s"
            return [Finding(name, ERROR, what, "look at its log, and at the load of the machine")]
        except FailedPrecondition as error:
            return [Finding(name, ERROR, error.message)]  # the sentence says what to do
        except (MeshError, SettingsError) as error:
            return [Finding(name, ERROR, str(error).removesuffix("; try again"), "see `ragmesh status` and its log")]

    found = await asyncio.gather(*(bounded(name, one) for name, one in LOOKS.items()))
    return [finding for findings in found for finding in findings]


def _names_records(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("RAGMESH_RECORDS_URL"))


def _after(scheme: str, url: str) -> Path | None:
    return Path(url.removeprefix(scheme).removeprefix("//")) if url.startswith(scheme) else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def main() -> None:
    """Print the findings; what the adapters log is not wanted."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    findings = asyncio.run(look(os.environ))
    sys.stdout.write(json.dumps([asdict(finding) for finding in findings]))


if __name__ == "__main__":
    main()
