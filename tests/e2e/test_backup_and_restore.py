"""Back up, wipe, restore: the same answers. The backup is made while the mesh takes in documents."""

from __future__ import annotations

import json
import re
import shutil
import stat
import time
from pathlib import Path
from typing import Any

import httpx

from support.mesh import Mesh

DOCUMENTS = {
    "lighthouse.md": "# Fastnet Lighthouse\n\nThe Fastnet lighthouse was first lit in 1854. Its granite tower was "
    "rebuilt in 1904 by William Douglass.",
    "keeper.md": "# William Douglass\n\nWilliam Douglass was an engineer from Cornwall. He died in 1913 in Stella "
    "House, Penzance.",
    "tea.md": "# Green tea\n\nGreen tea is brewed at 80 degrees for two minutes. Hotter water makes it bitter.",
    "long.md": "# The archive\n\n"
    + "\n\n".join(
        f"## Room {n}\n\n" + f"Room {n} keeps maps of the coast, drawn in {1700 + n}. " * 30 for n in range(9)
    ),
}
QUESTIONS = (
    "When was the Fastnet lighthouse lit?",
    "Where did the builder of the lighthouse die?",
    "maps of room 4",
    "tea",
)
MODES = ("DENSE", "BM25", "HYBRID", "GRAPH")
STREAM = {f"note-{n:03}": f"Note {n}. The archive keeps item {n} in drawer {n % 7}." for n in range(300)}


def observed(mesh: Mesh, key: str) -> dict[str, Any]:
    """Everything that a user sees: hits with scores, answers, documents, chunks, texts."""
    seen: dict[str, Any] = {
        f"{mode} {question}": mesh.search("facts", question, key, mode=mode) for mode in MODES for question in QUESTIONS
    }
    # Word scores count a replaced passage until it is swept, some seconds later; cosines do not.
    seen["changed"] = mesh.search("changed", "green tea", key, mode="DENSE")
    with mesh.rest(key) as rest:
        for question in QUESTIONS:
            answer = rest.post("/v1/collections/facts:ask", json={"question": question})
            assert answer.status_code == 200, answer.text
            seen[f"ask {question}"] = answer.json()["answer"]
        for name in ("facts", "changed"):
            documents = rest.get(f"/v1/collections/{name}/documents").json()["documents"]
            for document in documents:
                path = f"/v1/collections/{name}/documents/{document['document_id']}"
                seen[path] = [document, rest.get(f"{path}:chunks").json(), rest.get(f"{path}:content").json()]
            collection = rest.get(f"/v1/collections/{name}").json()
            seen[name] = {
                fact: value for fact, value in collection.items() if fact not in {"generation", "update_time"}
            }
    return seen


def test_back_up_wipe_restore_gives_the_same_answers(fresh_mesh: Mesh, tmp_path: Path) -> None:
    mesh, file = fresh_mesh, tmp_path / "mesh.tar"
    mesh.start()
    mesh.create("facts")
    mesh.ingest("facts", DOCUMENTS)
    mesh.create("changed")
    mesh.ingest("changed", {"tea.md": "An older version.", "gone.md": "This will be deleted."})
    mesh.ingest("changed", {"tea.md": DOCUMENTS["tea.md"]})
    with mesh.rest() as rest:
        assert rest.delete("/v1/collections/changed/documents/gone.md").status_code < 300
    key = mesh.key
    (other,) = re.findall(r"rag_live_\S+", mesh.run("keys", "create", "other", "--tenant", "other").stdout)
    before = observed(mesh, key)

    # While the mesh runs and takes in a batch.
    mesh.create("stream")
    with mesh.rest() as rest:
        jobs = [
            job_id for at in range(0, len(STREAM), 100) for job_id in sent(rest, list(STREAM.items())[at : at + 100])
        ]
        done = mesh.run("backup", str(file))
        assert done.returncode == 0, done.stderr
        mesh.wait_ready(rest, jobs)
    assert "whole" in done.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = json.loads(mesh.run("backup", "--verify", "--json", str(file)).stdout)
    by_id = {one["collection_id"]: one for one in found["collections"]}
    assert (by_id["facts"]["documents"], by_id["changed"]["documents"]) == (len(DOCUMENTS), 1)
    assert by_id["stream"]["documents"] == len(STREAM)
    assert "the mesh has collections already (changed of" in the_failure(mesh, "restore", str(file))
    assert "exists already" in the_failure(mesh, "backup", str(file))

    # Wipe everything but the backup, and restore while nothing runs.
    assert mesh.terminate() == 0
    wipe(mesh)
    restored = mesh.run("restore", str(file))
    assert restored.returncode == 0, restored.stderr
    mesh.start()
    assert mesh.key != key
    assert observed(mesh, key) == before
    with mesh.rest(other) as rest:
        assert rest.get("/v1/collections").json()["collections"] == []
    # What waited is taken up again, without a word from its owner.
    with mesh.rest(key) as rest:
        deadline = time.monotonic() + 60
        while (stream := rest.get("/v1/collections/stream").json())["documents_ready"] != len(STREAM):
            assert time.monotonic() < deadline, stream
            time.sleep(0.2)

    # Again, over what is there, while it is used.
    mesh.ingest("facts", {"tea.md": "Something else now."}, key)
    mesh.create("later", key)
    replaced = mesh.run("restore", str(file), "--replace")
    assert replaced.returncode == 0, replaced.stderr
    assert "later of" in replaced.stdout
    with mesh.rest(key) as rest:
        deadline = time.monotonic() + 10
        while rest.get("/v1/collections/later").status_code != 404:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    deadline = time.monotonic() + 10
    while observed(mesh, key) != before:  # each process looks a collection up anew within moments
        assert time.monotonic() < deadline, observed(mesh, key)


def test_the_stores_of_the_mesh_are_found_from_a_shell_that_does_not_name_them(
    fresh_mesh: Mesh, tmp_path: Path
) -> None:
    mesh = fresh_mesh
    named = {"RAGMESH_BLOBS_URL": f"file:{tmp_path / 'elsewhere'}"}
    mesh.environment = named
    mesh.start()
    mesh.create("facts")
    mesh.ingest("facts", {"tea.md": DOCUMENTS["tea.md"]})
    mesh.environment = {}
    running = mesh.run("backup", str(tmp_path / "running.backup"))
    assert running.returncode == 0, running.stderr
    assert f"RAGMESH_BLOBS_URL is {named['RAGMESH_BLOBS_URL']}, as the mesh of" in running.stderr
    assert mesh.terminate() == 0
    assert mesh.run("restore", "--replace", str(tmp_path / "running.backup")).returncode == 0
    mesh.environment = {"RAGMESH_BLOBS_URL": f"file:{mesh.home / 'blobs'}"}
    assert "was last run with file:" in the_failure(mesh, "backup", str(tmp_path / "other.backup"))
    assert not list((mesh.home / "blobs").iterdir())
    mesh.environment = named
    mesh.start()
    with mesh.rest() as rest:
        content = rest.get("/v1/collections/facts/documents/tea.md:content").json()
    assert "Green tea" in json.dumps(content)


def sent(rest: httpx.Client, documents: list[tuple[str, str]]) -> list[str]:
    """The jobs of documents that were accepted."""
    body = {"documents": [{"document_id": document_id, "text": text} for document_id, text in documents]}
    reply = rest.post("/v1/collections/stream/documents:batchCreate", json=body)
    assert reply.status_code == 202, reply.text
    return [job["job_id"] for job in reply.json()["jobs"]]


def wipe(mesh: Mesh) -> None:
    shutil.rmtree(mesh.home)
    mesh.prepare()


def the_failure(mesh: Mesh, *arguments: str) -> str:
    done = mesh.run(*arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("ragmesh")]
    return line
