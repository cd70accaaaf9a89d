"""`ragmesh doctor` on real meshes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from support.mesh import Mesh

DOCTOR_SECONDS = 10.0
"""It promises to be done by then; starting Python and reporting come on top."""


def until_true(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    ends_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.05)


def examined(mesh: Mesh, code: int) -> dict[str, list[dict[str, Any]]]:
    """The findings by check."""
    began = time.monotonic()
    done = mesh.run("doctor", "--json")
    assert time.monotonic() - began < DOCTOR_SECONDS + 2
    assert done.returncode == code, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["well"] == (code == 0)
    by_check: dict[str, list[dict[str, Any]]] = {}
    for finding in told["findings"]:
        by_check.setdefault(finding["check"], []).append(finding)
    return by_check


def test_a_mesh_that_is_well_and_then_is_not(fresh_mesh: Mesh) -> None:
    fresh_mesh.start()
    fresh_mesh.create("facts")
    fresh_mesh.ingest("facts", {"a.md": "# Heron\n\nThe heron eats fish."})
    found = examined(fresh_mesh, 0)
    assert {finding["level"] for each in found.values() for finding in each} == {"ok"}
    assert set(found) >= {"settings", "lock", "records", "state", "blobs", "indexes", "mesh", "rest", "grpc", "jobs"}
    assert found["indexes"][0]["what"] == "1 collection, each with its index and its chunks"
    assert fresh_mesh.key not in json.dumps(found)

    with fresh_mesh.rest() as rest:
        empty = {"document_id": "empty.html", "text": "<p></p>", "media_type": "text/html"}
        reply = rest.post("/v1/collections/facts/documents:batchCreate", json={"documents": [empty]})
        job = reply.json()["jobs"][0]["job_id"]
        until_true(lambda: rest.get(f"/v1/jobs/{job}").json()["state"] == "DEAD_LETTERED")
    (dead,) = examined(fresh_mesh, 0)["jobs"]
    assert dead["level"] == "warning"
    assert dead["what"].startswith("1 job given up; the last, empty.html: ")

    retriever = fresh_mesh.process_named("retriever-1")
    retriever.suspend()
    try:
        (wrong,) = [f for f in examined(fresh_mesh, 1)["mesh"] if f["level"] == "error"]
    finally:
        retriever.resume()
    assert (wrong["what"], wrong["cure"]) == (
        f"retriever-1 (pid {retriever.pid}) is suspended",
        f"kill -CONT {retriever.pid}",
    )

    fresh_mesh.environment = {"RAGMESH_KEY": "rag_live_AAAAAAAAAAAA_wrong"}
    refused = examined(fresh_mesh, 1)
    assert (refused["rest"][0]["level"], refused["grpc"][0]["level"]) == ("error", "error")
    assert "wrong" not in json.dumps([refused["rest"], refused["grpc"], refused["settings"]])
    fresh_mesh.environment = {}

    milvus = fresh_mesh.process_named("milvus")
    milvus.suspend()
    try:
        down = examined(fresh_mesh, 1)
    finally:
        milvus.resume()
    assert "vectors" in down["indexes"][0]["what"]
    assert any(f["what"].startswith("milvus ") for f in down["mesh"])

    fresh_mesh.kill_everything()
    left = examined(fresh_mesh, 0)
    assert (left["lock"][0]["level"], "was killed" in left["lock"][0]["what"]) == ("warning", True)
    assert "rest" not in left


def test_help_says_what_is_looked_at_and_the_exit_codes(fresh_mesh: Mesh) -> None:
    told = fresh_mesh.run("doctor", "--help").stdout
    for word in ("settings", "machine", "home", "stores", "mesh", "Exits 0", "--json"):
        assert word in told
