"""Streams on both surfaces: the same answer everywhere, in time, and over when the client is gone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from ragmesh.common.v1 import search_pb2
from ragmesh.gateway.v1 import ask_pb2, ask_pb2_grpc, jobs_pb2, jobs_pb2_grpc
from ragmesh_servicekit.errors import Reason, Unavailable
from ragmesh_servicekit.status import error_of_call
from support.gateway_mesh import Mesh
from support.waiting import until

ASK = "/v1/collections/docs:ask"
STREAM = "/v1/collections/docs:askStream"
QUESTION = {"question": "What?"}
REQUEST = ask_pb2.AskStreamRequest(collection_id="docs", question="What?")


def sse(text: str) -> list[tuple[str, dict[str, Any]]]:
    events = []
    for block in text.strip().split("\n\n"):
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in lines)
        events.append((fields["event"], json.loads(fields["data"])))
    return events


def fold(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What Ask should have answered, by the contract's word."""
    folded: dict[str, Any] = {"answer": "", "sources": [], "citations": [], "degraded": []}
    for event in events:
        for name, value in event.items():
            if name == "sources":
                folded["sources"] = value["sources"]
            elif name == "token":
                folded["answer"] += value["text"]
            elif name == "citation":
                folded["citations"].append(value)
            elif name == "usage":
                folded["usage"] = value
            elif name == "degraded":
                folded["degraded"] += value["parts"]
            elif name == "done":
                folded |= value
    return folded


async def test_the_same_question_gives_the_same_answer_on_every_surface(mesh: Mesh) -> None:
    mesh.retriever.missing = [search_pb2.PART_GRAPH]
    whole = (await mesh.http.post(ASK, json=QUESTION)).json()
    assert whole["answer"] == "One two [1]."
    assert whole["degraded"] == ["GRAPH"]
    events = sse((await mesh.http.post(STREAM, json=QUESTION)).text)
    assert [name for name, _ in events] == [
        "sources", "degraded", "token", "token", "token", "citation", "usage", "done",
    ]  # fmt: skip
    assert [data["sequence"] for _, data in events] == list(range(1, 9))
    assert len({data["stream_id"] for _, data in events}) == 1
    assert fold([data for _, data in events]) == whole
    lines = await mesh.http.post(STREAM, json=QUESTION, headers={"accept": "application/x-ndjson"})
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert fold([json.loads(line) for line in lines.text.splitlines()]) == whole
    stub = ask_pb2_grpc.AskServiceStub(mesh.channel)
    answer = await stub.Ask(ask_pb2.AskRequest(collection_id="docs", question="What?"), metadata=mesh.auth)
    streamed = stub.AskStream(REQUEST, metadata=mesh.auth)
    replies = [json_format.MessageToDict(reply, preserving_proto_field_name=True) async for reply in streamed]
    assert answer.answer == fold(replies)["answer"] == whole["answer"]
    assert json_format.MessageToDict(answer, preserving_proto_field_name=True)["sources"] == fold(replies)["sources"]
    assert [s.hit.text for s in answer.sources] == [s["hit"]["text"] for s in whole["sources"]]


async def test_the_first_token_arrives_before_the_last_is_made(mesh: Mesh) -> None:
    mesh.generator.steps = asyncio.Semaphore(1)
    async with mesh.http.stream("POST", STREAM, json=QUESTION) as reply:
        text = ""
        async for piece in reply.aiter_text():
            text += piece
            if "event: token" in text and mesh.generator.produced == 1:
                for _ in range(5):
                    mesh.generator.steps.release()
        assert [name for name, _ in sse(text)][-1] == "done"
    assert mesh.generator.produced == 6


async def test_a_client_that_leaves_an_sse_stream_ends_the_generator_within_half_a_second(mesh: Mesh) -> None:
    mesh.generator.steps = asyncio.Semaphore(1)
    async with mesh.http.stream("POST", STREAM, json=QUESTION) as reply:
        async for piece in reply.aiter_text():
            if "event: token" in piece:
                break
        assert not mesh.generator.over.is_set()
    await asyncio.wait_for(mesh.generator.over.wait(), 0.5)
    assert mesh.generator.produced == 1


async def test_a_client_that_leaves_before_the_first_event_ends_the_search(mesh: Mesh) -> None:
    for path in (STREAM, ASK, "/v1/collections/docs:search"):
        mesh.retriever.hold.clear()
        mesh.retriever.cancelled.clear()
        body = {"query": "What?"} if path.endswith("search") else QUESTION
        waiting = asyncio.create_task(mesh.http.post(path, json=body))
        count = len(mesh.retriever.seen)
        await until(lambda before=count: len(mesh.retriever.seen) > before, 2)  # type: ignore[misc]  # default
        waiting.cancel()
        await asyncio.wait_for(mesh.retriever.cancelled.wait(), 0.5)


async def test_a_client_that_leaves_whole_answers_ends_the_generator(mesh: Mesh) -> None:
    mesh.generator.steps = asyncio.Semaphore(0)
    waiting = asyncio.create_task(mesh.http.post(ASK, json=QUESTION))
    await asyncio.wait_for(mesh.generator.begun.wait(), 2)
    waiting.cancel()
    await asyncio.wait_for(mesh.generator.over.wait(), 0.5)


async def test_a_cancelled_grpc_stream_ends_the_generator(mesh: Mesh) -> None:
    mesh.generator.steps = asyncio.Semaphore(1)
    stub = ask_pb2_grpc.AskServiceStub(mesh.channel)
    call: Any = stub.AskStream(REQUEST, metadata=mesh.auth)
    async for reply in call:
        if reply.HasField("token"):
            break
    call.cancel()
    await asyncio.wait_for(mesh.generator.over.wait(), 0.5)


async def test_a_watch_ends_with_its_client(mesh: Mesh) -> None:
    async with mesh.http.stream("GET", "/v1/jobs:watch?batch_id=b") as reply:
        async for piece in reply.aiter_text():
            assert sse(piece) == [("job", {"job": {**sse(piece)[0][1]["job"], "state": "RUNNING"}})]
            break
    await asyncio.wait_for(mesh.ingestor.watch_over.wait(), 0.5)


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
async def test_a_failure_before_the_first_event_has_its_own_status(mesh: Mesh, accept: str) -> None:
    reply = await mesh.http.post("/v1/collections/none:askStream", json=QUESTION, headers={"accept": accept})
    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["reason"] == "COLLECTION_NOT_FOUND"


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_error_is_the_last_event_and_the_status_of_the_call(mesh: Mesh, at_once: bool) -> None:
    mesh.generator.fails = Unavailable("the model does not answer; try again", reason=Reason.MODEL_UNAVAILABLE)
    mesh.generator.fails_at_once = at_once
    events = sse((await mesh.http.post(STREAM, json=QUESTION)).text)
    assert [name for name, _ in events] == (["sources", "error"] if at_once else ["sources", "token", "error"])
    error = events[-1][1]["error"]
    assert error == {
        "code": 14, "reason": "MODEL_UNAVAILABLE", "message": "the model does not answer; try again",
    }  # fmt: skip
    stub = ask_pb2_grpc.AskServiceStub(mesh.channel)
    call: Any = stub.AskStream(REQUEST, metadata=mesh.auth)
    replies = [await call.read() for _ in events]
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call.read()
    assert replies[-1].error.message == error["message"]
    assert error_of_call(failed.value).reason is Reason.MODEL_UNAVAILABLE
    whole = await mesh.http.post(ASK, json=QUESTION)
    assert (whole.status_code, whole.json()["reason"]) == (503, "MODEL_UNAVAILABLE")


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
async def test_a_watch_that_fails_says_so_last(mesh: Mesh, accept: str) -> None:
    reply = await mesh.http.get("/v1/jobs:watch?batch_id=fails", headers={"accept": accept})
    if accept == "text/event-stream":
        (first, _), (last, problem) = sse(reply.text)
        assert (first, last) == ("job", "error")
    else:
        problem = json.loads(reply.text.splitlines()[-1])["error"]
    assert (problem["status"], problem["reason"]) == (503, "DEPENDENCY_UNAVAILABLE")
    stub = jobs_pb2_grpc.JobServiceStub(mesh.channel)
    call: Any = stub.WatchJobs(jobs_pb2.WatchJobsRequest(batch_id="fails"), metadata=mesh.auth)
    assert (await call.read()).job.job_id == "j"
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call.read()
    assert error_of_call(failed.value).message == problem["detail"]


async def test_silence_is_filled_with_heartbeats(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragmesh_gateway.rest.streams.HEARTBEAT_SECONDS", 0.02)
    mesh.generator.steps = asyncio.Semaphore(0)
    async with mesh.http.stream("POST", STREAM, json=QUESTION) as reply:
        text = ""
        async for piece in reply.aiter_text():
            text += piece
            if text.count(": still here") == 2:
                for _ in range(6):
                    mesh.generator.steps.release()
    assert [name for name, _ in sse(text.replace(": still here\n\n", ""))][-1] == "done"


async def test_strict_refuses_instead_of_leaving_a_part_out(mesh: Mesh) -> None:
    mesh.retriever.missing = [search_pb2.PART_DENSE]
    for path, body in ((ASK, QUESTION), (STREAM, QUESTION), ("/v1/collections/docs:search", {"query": "What?"})):
        reply = await mesh.http.post(path, json={**body, "strict": True})
        assert (reply.status_code, reply.json()["reason"]) == (503, "DEPENDENCY_UNAVAILABLE"), path


async def test_a_generator_that_stops_in_the_middle_is_an_error_and_no_silence(mesh: Mesh) -> None:
    mesh.generator.steps = asyncio.Semaphore(1)
    whole = asyncio.create_task(mesh.http.post(ASK, json=QUESTION))
    async with mesh.http.stream("POST", STREAM, json=QUESTION) as reply:
        text = ""
        async for piece in reply.aiter_text():
            if not text:
                await asyncio.wait_for(mesh.generator.begun.wait(), 2)
                await mesh.servers["generator"].stop(0)
            text += piece
    name, event = sse(text)[-1]
    assert (name, event["error"]["reason"]) == ("error", "DEPENDENCY_UNAVAILABLE")
    assert (await whole).status_code == 503
