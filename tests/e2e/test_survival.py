"""What is left after SIGTERM and after kill -9 of everything."""

from __future__ import annotations

import time

from support.mesh import Mesh

TEXTS = {f"note-{n:03}": f"Note {n}. The archive keeps item {n} in drawer {n % 7}." for n in range(120)}


def test_a_mesh_stopped_by_sigterm_comes_back_with_everything_and_exits_0(fresh_mesh: Mesh) -> None:
    fresh_mesh.start()
    key = fresh_mesh.key
    fresh_mesh.create("notes")
    fresh_mesh.ingest("notes", {"one": "The first lighthouse of Fastnet was lit in 1854."})
    assert fresh_mesh.terminate() == 0
    assert not fresh_mesh.state()
    fresh_mesh.start()
    assert fresh_mesh.key == key
    assert fresh_mesh.search("notes", "When was the lighthouse lit?")[0]["document_id"] == "one"


def test_kill_9_of_everything_in_the_middle_of_an_ingestion_loses_nothing(fresh_mesh: Mesh) -> None:
    fresh_mesh.start()
    fresh_mesh.create("notes")
    with fresh_mesh.rest() as rest:
        body = {"documents": [{"document_id": i, "text": t} for i, t in TEXTS.items()], "batch_id": "all"}
        reply = rest.post("/v1/collections/notes/documents:batchCreate", json=body)
        assert reply.status_code == 202
        jobs = [job["job_id"] for job in reply.json()["jobs"]]
    fresh_mesh.kill_everything()

    fresh_mesh.start()
    with fresh_mesh.rest() as rest:
        fresh_mesh.wait_ready(rest, jobs, seconds=60)
        collection = rest.get("/v1/collections/notes").json()
        assert (collection["documents_ready"], collection["documents_pending"]) == (len(TEXTS), 0)
        found = rest.post("/v1/collections/notes:search", json={"query": "item 17 drawer", "top_k": 100}).json()["hits"]
        assert len({hit["chunk_id"] for hit in found}) == len(found)
        listed = rest.get("/v1/jobs", params={"batch_id": "all", "page_size": 200}).json()["jobs"]
        assert {job["job_id"] for job in listed} == set(jobs)


def test_a_process_that_is_killed_is_restarted_and_the_mesh_answers_again(fresh_mesh: Mesh) -> None:
    fresh_mesh.start()
    fresh_mesh.create("notes")
    fresh_mesh.ingest("notes", {"one": "The first lighthouse of Fastnet was lit in 1854."})
    for name in ("retriever-1", "milvus", "redis-state", "ingestor-1"):
        before = fresh_mesh.process_named(name)
        before.kill()
        before.wait(10)
        deadline = time.monotonic() + 30
        while True:
            with fresh_mesh.rest() as rest:
                reply = rest.post("/v1/collections/notes:search", json={"query": "lighthouse", "strict": True})
            replaced = fresh_mesh.pid_of(name) != before.pid
            if reply.status_code == 200 and replaced and reply.json()["hits"]:
                break
            assert reply.status_code in {200, 503, 504}, reply.text
            assert time.monotonic() < deadline, (name, reply.text)
            time.sleep(0.1)
    with fresh_mesh.rest() as rest:  # the ingestor was the last to die: it is back within moments
        body = {"document_id": "two", "text": "A second note, after all those deaths."}
        deadline = time.monotonic() + 30
        while (reply := rest.post("/v1/collections/notes/documents", json=body)).status_code != 202:
            assert reply.status_code == 503, reply.text
            assert time.monotonic() < deadline, reply.text
            time.sleep(0.1)
        fresh_mesh.wait_ready(rest, [reply.json()["job_id"]])
    assert "exited" in (fresh_mesh.home / "up.log").read_text() or "killed" in (fresh_mesh.home / "up.log").read_text()
