"""The mesh that is put to the test: two replicas of everything, a scripted model behind the generators, and a
collection with documents to ask about."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reliability.model import ScriptedModel
from reliability.stores import ProxiedStores
from support.faults import Faults, grpc_addresses, rest_addresses
from support.mesh import Mesh
from support.openai_server import Script

COLLECTION = "parcels"
REPLICAS = "gateway=2,retriever=2,generator=2,ingestor=2"
SUBJECTS = 120
FIRST_TOKEN_SECONDS, STALL_SECONDS = 3.0, 2.0

QUICK = Script(pieces=("It is kept", " in the depot", " of", " that street", " [1]."), piece_delay_seconds=0.05)
"""An answer of a quarter of a second: some are in flight at any moment."""
SLOW = Script(pieces=(*(f"word {n} " for n in range(19)), "[1]."), piece_delay_seconds=0.1)
"""A stream of two seconds: long enough that a fault finds some in flight, within every grace."""


def by_question(body: Mapping[str, Any]) -> Script:
    """Streams are asked for slowly, answers at once."""
    return SLOW if "Slowly: " in str(body.get("messages", "")) else QUICK


@dataclass
class House:
    """A running mesh, ready for load."""

    mesh: Mesh
    model: ScriptedModel
    faults: Faults
    subjects: list[tuple[str, str]]
    jobs: list[str]
    grpc: list[str] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)
    stores: ProxiedStores | None = None


@asynccontextmanager
async def open_house(models: Path, stores: ProxiedStores | None = None) -> AsyncIterator[House]:
    """Start, fill, and at the end stop. models: a folder with the built embedding graph. stores: instead of the mesh's
    own."""
    async with ScriptedModel(by_question) as model:
        settings = {
            "RAGMESH_MODEL_URL": model.base_url,
            "RAGMESH_MODEL_NAME": "scripted",
            "RAGMESH_MODEL_KEY": "sk-test",
            "RAGMESH_MODEL_FIRST_TOKEN_SECONDS": str(FIRST_TOKEN_SECONDS),
            "RAGMESH_MODEL_STALL_SECONDS": str(STALL_SECONDS),
            **(stores.environment if stores else {}),
        }
        mesh = Mesh.at(models, settings, ("--replicas", REPLICAS))
        try:
            await asyncio.to_thread(mesh.start)
            subjects, jobs = await asyncio.to_thread(_fill, mesh)
            yield House(mesh, model, Faults(mesh), subjects, jobs, grpc_addresses(mesh), rest_addresses(mesh), stores)
        finally:
            await asyncio.to_thread(mesh.close)


def _fill(mesh: Mesh) -> tuple[list[tuple[str, str]], list[str]]:
    """Documents, each with a word that no other has; ids of their jobs."""
    mesh.create(COLLECTION)
    subjects, documents = subject_documents()
    with mesh.rest() as rest:
        body = {"documents": documents, "batch_id": "subjects"}
        reply = rest.post(f"/v1/collections/{COLLECTION}/documents:batchCreate", json=body)
        assert reply.status_code == 202, reply.text
        jobs = [job["job_id"] for job in reply.json()["jobs"]]
        mesh.wait_ready(rest, jobs)
    return subjects, jobs


def subject_documents() -> tuple[list[tuple[str, str]], list[dict[str, str]]]:
    """The subjects, and what to send so that they are there."""
    subjects = [(f"parcel-{n:03}", f"mark{n * 7919 % 10_000:04}x{n}") for n in range(SUBJECTS)]
    return subjects, [{"document_id": name, "text": _subject_text(name, word)} for name, word in subjects]


def _subject_text(name: str, word: str) -> str:
    number = int(re.sub(r"\D", "", name))
    depots = ("Harbour Street", "Mill Lane", "the old brewery", "Station Yard", "Chapel Row")
    return (
        f"The parcel with the seal {word} is kept in depot {depots[number % 5]}, shelf {number % 17}. "
        f"Keeper {number % 11} looks after it and may hand it out on weekdays before noon."
    )
