"""`python -m ragmesh_ingestor migrate`: makes the layouts of all stores that the environment names, or brings them
forward, as the services do when they start, and prints a sentence for each store.

For a moment when no service may start yet: before an install or an upgrade. Exit code 1: a store does not answer, try
again. 2: trying again is of no use (a newer program wrote the store, a password or a setting is wrong).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import structlog

from ragmesh_backends.blobs import layout as blobs_layout
from ragmesh_backends.blobs.object_store import ObjectBlobs
from ragmesh_backends.model.inspection import IndexExpectation, Inspection
from ragmesh_backends.records.inspection import inspect
from ragmesh_backends.records.open import open_keys, open_records
from ragmesh_backends.redis import layout as redis_layout
from ragmesh_backends.redis.client import connect, require_durable
from ragmesh_backends.store_settings import BlobsSettings, RecordsSettings, StateSettings, VectorsSettings
from ragmesh_backends.vectors.inspection import found_indexes
from ragmesh_ingestor.settings import StoresSettings, stores_from
from ragmesh_servicekit.errors import FailedPrecondition, MeshError, Unavailable
from ragmesh_servicekit.opening import refuses_login
from ragmesh_servicekit.resilience.guard import Guard
from ragmesh_servicekit.settings import SettingsError

WAIT_SECONDS = 30.0
"""For a store that is still starting."""

PAUSE_SECONDS = 0.5
MENDABLE, FUTILE = 1, 2

T = TypeVar("T")


async def migrate(settings: StoresSettings, *, wait_seconds: float = WAIT_SECONDS) -> list[str | MeshError]:
    """For each store what was done, or why nothing was."""
    steps = (
        _records_and_vectors(settings.records, settings.vectors, wait_seconds),
        _alone(_state(settings.state, wait_seconds)),
        _alone(_blobs(settings.blobs, wait_seconds)),
    )
    return [told for step in await asyncio.gather(*steps) for told in step]


async def _records_and_vectors(
    records: RecordsSettings, vectors: VectorsSettings, wait_seconds: float
) -> list[str | MeshError]:
    """The record tells which indexes there should be, so it comes first; one that does not answer was waited for
    long enough for both."""
    first = await _alone(_records(records, wait_seconds))
    names: list[str] = []
    if not isinstance(first[0], MeshError):
        try:
            names = [index.name for index in _collections(await inspect(records))]
        except MeshError as error:
            first = [error]
    waited = isinstance(first[0], MeshError)
    return first + await _alone(_vectors(vectors, names, 0.0 if waited else wait_seconds))


async def _records(settings: RecordsSettings, wait_seconds: float) -> str:
    """Documents, graph and keys."""
    before = await _answered(lambda: inspect(settings), wait_seconds)
    async with await open_records(settings), await open_keys(settings):
        pass
    after = await inspect(settings)
    known = {version.component: version.found for version in (before.versions if before else ())}
    told = (_change(known.get(v.component), v.found, f"{v.component} ") for v in (after.versions if after else ()))
    return f"records: {', '.join(told)}"


async def _vectors(settings: VectorsSettings, names: list[str], wait_seconds: float) -> str:
    """An index is made with its collection, so there is nothing to make; a newer one is refused."""
    found = await _answered(
        lambda: found_indexes(settings.url, names, timeout_seconds=settings.timeout_seconds, token=settings.token),
        wait_seconds,
    )
    for index in found:
        if index.newer:
            raise FailedPrecondition(index.newer)
    return f"vectors: it answers; {len(found)} of {len(names)} collections have their index, each is made with its own"


async def _state(settings: StateSettings, wait_seconds: float) -> str:
    client = connect(settings.url)
    try:
        await require_durable(client, name="state", wait_seconds=wait_seconds)
        before = await redis_layout.require_known_layout(client)
        await redis_layout.open_layout(client, wait_seconds=wait_seconds)
        after = await redis_layout.require_known_layout(client)
    finally:
        await client.aclose()
    return f"state: {_change(before, after)}"


async def _blobs(settings: BlobsSettings, wait_seconds: float) -> str:
    blobs = await ObjectBlobs.open(settings, Guard("blobs"))
    before = await _answered(lambda: blobs_layout.require_known_layout(blobs), wait_seconds)
    await blobs_layout.open_layout(blobs, wait_seconds=wait_seconds)
    return f"blobs: {_change(before, blobs_layout.LAYOUT)}"


async def _alone(step: Awaitable[str]) -> list[str | MeshError]:
    try:
        return [await step]
    except MeshError as error:
        return [error]


async def _answered(ask: Callable[[], Awaitable[T]], wait_seconds: float) -> T:
    """The reply, as soon as there is one. Raises the last Unavailable when there is none within wait_seconds,
    or at once when it refuses the login."""
    give_up_at = asyncio.get_running_loop().time() + wait_seconds
    while True:
        try:
            return await ask()
        except Unavailable as error:
            if refuses_login(error) or asyncio.get_running_loop().time() > give_up_at:
                raise
        await asyncio.sleep(PAUSE_SECONDS)


def _collections(record: Inspection | None) -> list[IndexExpectation]:
    return list(record.collections) if record else []


def _change(before: int | None, after: int | None, what: str = "") -> str:
    if before is None:
        return f"{what}layout {after} was made"
    return f"{what}layout {after} was there" if before == after else f"{what}layout {before} was brought to {after}"


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Do it; the exit code."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        told = asyncio.run(migrate(stores_from(environ)))
    except SettingsError as error:
        for problem in error.problems:
            sys.stderr.write(f"{problem}\n")
        return FUTILE
    failures = [each for each in told if isinstance(each, MeshError)]
    for each in told:
        if isinstance(each, MeshError):
            sys.stderr.write(f"{each.message.removesuffix('; try again')}\n")
        else:
            sys.stdout.write(f"{each}\n")
    if not failures:
        return 0
    return MENDABLE if all(isinstance(each, Unavailable) and not refuses_login(each) for each in failures) else FUTILE
