"""A document in, a cited answer out, the same on every surface, over the real processes."""

from __future__ import annotations

import asyncio
import json
import time

import grpc
import grpc.aio
import httpx

from ragmesh.gateway.v1 import ask_pb2, ask_pb2_grpc
from support.mesh import Mesh

QUESTION = "Where did William Douglass die?"
TWO_HOPS = "Where did the engineer who rebuilt the Fastnet lighthouse die?"


def folded(events: list[tuple[str, dict]]) -> tuple[str, list[str], str]:
    """Answer, chunk ids of the sources and finish reason of an SSE stream."""
    answer = "".join(data["token"]["text"] for name, data in events if name == "token")
    (sources,) = [data["sources"]["sources"] for name, data in events if name == "sources"]
    (done,) = [data["done"] for name, data in events if name == "done"]
    return answer, [source["hit"]["chunk_id"] for source in sources], done["finish_reason"]


def sse(mesh: Mesh, question: str) -> list[tuple[str, dict]]:
    events, name = [], ""
    with (
        mesh.rest() as rest,
        rest.stream("POST", "/v1/collections/facts:askStream", json={"question": question}) as reply,
    ):
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("text/event-stream")
        for line in reply.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                events.append((name, json.loads(line.removeprefix("data: "))))
    return events


def test_a_question_gets_the_same_answer_by_stub_rest_sse_and_command_line(mesh: Mesh) -> None:
    async def by_stub() -> ask_pb2.AskResponse:
        async with grpc.aio.insecure_channel(mesh.state()["grpc"]) as channel:
            request = ask_pb2.AskRequest(collection_id="facts", question=QUESTION)
            metadata = (("authorization", f"Bearer {mesh.key}"),)
            return await ask_pb2_grpc.AskServiceStub(channel).Ask(request, metadata=metadata, timeout=30)

    stub = asyncio.run(by_stub())
    with mesh.rest() as rest:
        reply = rest.post("/v1/collections/facts:ask", json={"question": QUESTION}).json()
    answer, chunk_ids, finish_reason = folded(sse(mesh, QUESTION))
    line = json.loads(mesh.run("ask", QUESTION, "-c", "facts", "--json").stdout)

    assert stub.answer == reply["answer"] == answer == line["answer"]
    assert "Penzance" in answer
    sources = [source.hit.chunk_id for source in stub.sources]
    assert sources == chunk_ids == [s["hit"]["chunk_id"] for s in reply["sources"]]
    assert sources == [s["hit"]["chunk_id"] for s in line["sources"]]
    assert reply["finish_reason"] == finish_reason == "STOP"
    for citation in reply["citations"]:
        assert answer[citation["start"] : citation["end"]] == f"[{citation['number']}]"
        assert citation["chunk_id"] == reply["sources"][citation["number"] - 1]["hit"]["chunk_id"]
    assert reply["citations"]


def test_events_of_a_stream_count_up_under_one_id_and_end_with_done(mesh: Mesh) -> None:
    events = sse(mesh, QUESTION)
    assert [data["sequence"] for _, data in events] == list(range(1, len(events) + 1))
    assert len({data["stream_id"] for _, data in events}) == 1
    assert events[0][0] == "sources"
    assert events[-1][0] == "done"


def test_the_graph_brings_the_passage_that_the_question_does_not_name(mesh: Mesh) -> None:
    hits = mesh.search("facts", TWO_HOPS, explain=True, top_k=2)
    assert {hit["document_id"] for hit in hits} == {"lighthouse.md", "keeper.md"}
    keeper = next(hit for hit in hits if hit["document_id"] == "keeper.md")
    assert any(reason["factor"] == "linked_from" for reason in keeper["explanations"])
    assert {"dense", "fused"} <= keeper["scores"].keys()


def test_an_upload_is_cut_at_its_headings_and_its_offsets_hold(mesh: Mesh) -> None:
    text = "# Manual\n\nIntro.\n\n## Setup\n\nPlug it in. " + "Wait a little. " * 300 + "\n\n## Use\n\nPress start.\n"
    with mesh.rest() as rest:
        reply = rest.post(
            "/v1/collections/facts/documents:upload",
            files={"file": ("manual.md", text.encode(), "text/markdown")},
            data={"metadata": json.dumps({"author": "me"})},
        )
        assert reply.status_code == 202, reply.text
        job = reply.json()
        mesh.wait_ready(rest, [job["job_id"]])
        path = f"/v1/collections/facts/documents/{job['document_id']}"
        document = rest.get(path).json()
        chunks = rest.get(path + ":chunks", params={"page_size": 200}).json()["chunks"]
        content = rest.get(path + ":content").json()
        rest.delete(path).raise_for_status()
    assert document["title"] == "Manual"
    assert document["metadata"] == {"author": "me"}
    assert document["chunk_count"] == len(chunks) > 3
    assert content["text"] == text
    assert all(text[chunk["start"] : chunk["end"]] == chunk["text"] for chunk in chunks)
    assert ["Manual", "Use"] in [chunk["heading_path"] for chunk in chunks]


def test_a_new_version_replaces_the_old_one_and_a_deleted_document_is_gone(mesh: Mesh) -> None:
    with mesh.rest() as rest:
        for text in ("The password of the week is heliotrope.", "The password of the week is vermilion."):
            body = {"document_id": "a/secret word", "text": text}
            reply = rest.post("/v1/collections/facts/documents", json=body)
            mesh.wait_ready(rest, [reply.json()["job_id"]])
        texts = [hit["text"] for hit in mesh.search("facts", "password of the week", top_k=5)]
        assert any("vermilion" in text for text in texts)
        assert not any("heliotrope" in text for text in texts)
        document = rest.get("/v1/collections/facts/documents/a/secret%20word").json()
        assert (document["active_version"], document["latest_version"]) == (2, 2)
        rest.delete("/v1/collections/facts/documents/a%2Fsecret%20word").raise_for_status()
        texts = [hit["text"] for hit in mesh.search("facts", "password of the week", top_k=5)]
        assert not any("password" in text for text in texts)
        assert rest.get("/v1/collections/facts/documents/a/secret%20word").status_code == 404


def test_a_request_id_makes_a_submit_safe_to_repeat(mesh: Mesh) -> None:
    with mesh.rest() as rest:
        body = {"document_id": "once.txt", "text": "Only once."}
        headers = {"idempotency-key": "submit-once"}
        first = rest.post("/v1/collections/facts/documents", json=body, headers=headers).json()
        again = rest.post("/v1/collections/facts/documents", json=body, headers=headers).json()
        other = rest.post("/v1/collections/facts/documents", json={**body, "text": "Twice."}, headers=headers)
        mesh.wait_ready(rest, [first["job_id"]])
        assert again["job_id"] == first["job_id"]
        assert again["version"] == first["version"] == 1
        assert (other.status_code, other.json()["reason"]) == (409, "REQUEST_ID_REUSED")
        rest.delete("/v1/collections/facts/documents/once.txt").raise_for_status()


def test_a_document_of_fifty_passages_is_ready_within_two_seconds(mesh: Mesh) -> None:
    paragraphs = [f"Paragraph {n}. " + "The river carries sand and silt to the sea. " * 20 for n in range(45)]
    with mesh.rest() as rest:
        started = time.monotonic()
        body = {"document_id": "long.txt", "text": "\n\n".join(paragraphs)}
        reply = rest.post("/v1/collections/facts/documents", json=body)
        mesh.wait_ready(rest, [reply.json()["job_id"]])
        seconds = time.monotonic() - started
        chunks = rest.get("/v1/collections/facts/documents/long.txt").json()["chunk_count"]
        rest.delete("/v1/collections/facts/documents/long.txt").raise_for_status()
    assert chunks >= 40
    assert seconds < 6, "2 s on a quiet machine; three times that here, since others may use it"


def test_two_tenants_see_nothing_of_each_other_and_change_no_score(mesh: Mesh) -> None:
    made = json.loads(mesh.run("keys", "create", "other", "--tenant", "other", "--json").stdout)
    key = made["secret"]
    before = mesh.search("facts", QUESTION, top_k=10, mode="BM25")
    assert (
        httpx.get(
            f"{mesh.state()['rest']}/v1/collections/facts", headers={"authorization": f"Bearer {key}"}
        ).status_code
        == 404
    )
    mesh.create("facts", key)
    mesh.ingest("facts", {f"d{n}": f"The Fastnet lighthouse, note {n}." for n in range(60)}, key)
    after = mesh.search("facts", QUESTION, top_k=10, mode="BM25")
    assert [(h["chunk_id"], h["scores"]) for h in before] == [(h["chunk_id"], h["scores"]) for h in after]
    theirs = mesh.search("facts", QUESTION, key, top_k=10)
    assert all(hit["document_id"].startswith("d") for hit in theirs)
    with mesh.rest(key) as rest:
        assert rest.get("/v1/collections/facts/documents/tea.md").status_code == 404
        assert rest.get("/v1/keys").status_code == 403
