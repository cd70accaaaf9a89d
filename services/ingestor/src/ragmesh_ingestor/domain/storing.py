"""The last stage of a job: rows written, read back, flipped into sight.

Many documents go through each step together, by index; a document that a store refuses is found by giving it to
the store alone, and hurts no other.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog

from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.document import ActivationOutcome, DocumentVersion
from ragmesh_backends.model.job import JobState
from ragmesh_ingestor.domain.patience import patiently
from ragmesh_ingestor.domain.ports import Blobs, Graph, Records, Vectors, Visibility
from ragmesh_ingestor.domain.preparing import Ended, Interrupted, Prepared
from ragmesh_servicekit.errors import Internal, MeshError, NotFound

log = structlog.get_logger()


class Storer:
    def __init__(self, records: Records, vectors: Vectors, graph: Graph, visibility: Visibility, blobs: Blobs) -> None:
        self._records = records
        self._vectors = vectors
        self._graph = graph
        self._visibility = visibility
        self._blobs = blobs

    async def store(self, group: Sequence[Prepared]) -> list[Ended | Interrupted]:
        """What became of each document, in no promised order. Waits for stores that are down."""
        by_index: dict[IndexRef, list[Prepared]] = defaultdict(list)
        for one in group:
            by_index[one.index].append(one)
        results: list[Ended | Interrupted] = []
        for index, members in by_index.items():
            results.extend(await self._store_index(index, members))
        return results

    async def _store_index(self, index: IndexRef, members: Sequence[Prepared]) -> list[Ended | Interrupted]:
        try:
            return await patiently("store", lambda: self._attempt(index, members))
        except NotFound:
            return [
                Ended(one.delivery, JobState.CANCELLED, message="the collection was deleted or replaced")
                for one in members
            ]
        except Exception as error:  # a document's fault until it is alone and fails again
            if len(members) == 1:
                log.error("worker.document_refused", job_id=members[0].delivery.job.job_id, **described(error))
                reason, message = refusal(error)
                return [Interrupted(members[0].delivery, index, reason, message)]
            log.warning("worker.group_refused", documents=len(members), error=type(error).__name__)
        results: list[Ended | Interrupted] = []
        for one in members:
            results.extend(await self._store_index(index, [one]))
        return results

    async def _attempt(self, index: IndexRef, members: Sequence[Prepared]) -> list[Ended | Interrupted]:
        """Every step may be repeated after it failed half-way."""
        texts = {one.parsed_key: _encoded(one.text) for one in members if one.text is not None}
        await together(
            self._vectors.insert(index, [row for one in members for row in one.rows()]),
            self._graph.write(index, [entity for one in members for entity in one.entities]),
            self._blobs.put_many(texts),
        )
        await self._read_back(index, members)
        return await self._activate(index, members)

    async def _read_back(self, index: IndexRef, members: Sequence[Prepared]) -> None:
        counts = await self._vectors.count_versions(index, [one.version for one in members])
        missing = [one.version for one in members if counts.get(one.version, 0) != len(one.chunks)]
        if missing:
            # Rows of an earlier attempt that was cut differently, or rows that were lost.
            await self._vectors.delete_versions(index, missing)
            raise Internal(f"{len(missing)} of {len(members)} documents were not all there when they were read back")

    async def _activate(self, index: IndexRef, members: Sequence[Prepared]) -> list[Ended | Interrupted]:
        activations = await self._records.activate_versions(index, [one.ready() for one in members])
        shown: list[DocumentVersion] = []
        retired: list[DocumentVersion] = []
        again: list[DocumentVersion] = []
        results: list[Ended | Interrupted] = []
        for one, activation in zip(members, activations, strict=True):
            if activation.outcome is ActivationOutcome.SUPERSEDED:
                message = "a newer version is active, or the document was deleted"
                results.append(Ended(one.delivery, JobState.CANCELLED, message=message))
                continue
            if activation.outcome is ActivationOutcome.UNCHANGED:
                again.append(one.version)
            shown.append(one.version)
            if activation.retired is not None:
                retired.append(activation.retired)
            results.append(Ended(one.delivery, JobState.READY))
        # A document that is twice in the group: its older version was active for a moment only.
        show = [version for version in shown if version not in retired]
        await patiently("flip", lambda: self._visibility.flip(index, show, retired))
        if again:
            await patiently("flip", lambda: self.show(index, again))
        return results

    async def show(self, index: IndexRef, versions: Sequence[DocumentVersion]) -> None:
        """Bring into sight what is active in the record already: an attempt before this one died between the record's
        flip and the readers'. What the record hides of these documents is hidden again."""
        documents = {version.document_id for version in versions}
        hidden = await self._records.hidden_versions(index)
        hide = [version for version in hidden if version.document_id in documents]
        await self._visibility.flip(index, [version for version in versions if version not in hidden], hide)


async def together(*calls: Coroutine[Any, Any, None]) -> None:
    """Await all, then raise the first error: none goes on unattended."""
    for result in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def refusal(error: BaseException) -> tuple[str, str]:
    """What the owner of a job is told of an error: a reason and a sentence without anything internal."""
    if isinstance(error, MeshError):
        return error.reason, error.message
    return Internal.default_reason, "the document could not be ingested"


def described(error: BaseException) -> dict[str, str]:
    """What a log may hold of an error that we did not expect: its type and place, never its text or its frames'
    variables, which may be a document's."""
    frames = traceback.extract_tb(error.__traceback__)
    return {"error": type(error).__name__, "at": f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""}


def _encoded(text: str) -> bytes:
    """UTF-8, behind a byte order mark when the text itself begins with that character: readers drop one."""
    return text.encode("utf-8-sig" if text.startswith("\ufeff") else "utf-8")
