"""A mesh with a model behind a real API: streamed, stopped when nobody listens, stood in for; and one trace of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from e2e.conftest import DOCUMENTS
from support.mesh import Mesh
from support.openai_server import OpenAIServer, Script
from support.otlp_receiver import OtlpReceiver, ReceivedSpan, ancestors, otlp_receiver

QUESTION = "Where did William Douglass die?"


@dataclass
class World:
    mesh: Mesh
    model: OpenAIServer
    traces: OtlpReceiver

    def client(self) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {self.mesh.key}"}
        return httpx.AsyncClient(base_url=self.mesh.state()["rest"], headers=headers, timeout=30, trust_env=False)


@pytest.fixture
async def world(embedding_cache: Path) -> AsyncIterator[World]:
    async with OpenAIServer() as model, otlp_receiver() as traces:
        environment = {
            "RAGMESH_MODEL_URL": model.base_url,
            "RAGMESH_MODEL_NAME": "scripted",
            "RAGMESH_MODEL_KEY": "sk-test",
            "RAGMESH_OTLP_ENDPOINT": traces.endpoint,
        }
        mesh = Mesh.at(embedding_cache, environment)
        try:
            await asyncio.to_thread(mesh.start)
            await asyncio.to_thread(mesh.create, "facts")
            await asyncio.to_thread(mesh.ingest, "facts", DOCUMENTS)
            yield World(mesh, model, traces)
        finally:
            await asyncio.to_thread(mesh.close)


async def test_a_model_streams_stops_with_its_reader_is_stood_in_for_and_is_traced(world: World) -> None:
    """One mesh for all of it: starting one costs more than the rest."""
    await _the_first_token_arrives_before_the_last_is_made(world)
    await _a_reader_that_leaves_stops_the_model_within_500_ms(world)
    await _a_model_that_fails_is_stood_in_for_and_that_is_said(world)
    await _one_trace_holds_every_service_store_and_model_call(world)


async def _the_first_token_arrives_before_the_last_is_made(world: World) -> None:
    world.model.queue(Script(pieces=("In ", "Penzance ", "[1]", "."), stall_after=2))
    seen = len(world.model.requests)
    async with (
        world.client() as client,
        client.stream("POST", "/v1/collections/facts:askStream", json={"question": QUESTION}) as reply,
    ):
        async for line in reply.aiter_lines():
            if line.startswith("event: token"):
                break  # the model has not made its last piece, and never will
        request = await world.model.request(seen)
        assert request.headers["authorization"] == "Bearer sk-test"
        assert not request.disconnected.is_set()
    await asyncio.wait_for(request.disconnected.wait(), 5)


async def _a_reader_that_leaves_stops_the_model_within_500_ms(world: World) -> None:
    delays = []
    for _ in range(3):
        world.model.queue(Script(pieces=("In ", "Penzance ", "[1]", "."), stall_after=1))
        seen = len(world.model.requests)
        async with (
            world.client() as client,
            client.stream("POST", "/v1/collections/facts:askStream", json={"question": QUESTION}) as reply,
        ):
            async for line in reply.aiter_lines():
                if line.startswith("event: token"):
                    break
            request = await world.model.request(seen)
            left_at = time.monotonic()
        await asyncio.wait_for(request.disconnected.wait(), 5)
        assert request.disconnected_at is not None
        delays.append(request.disconnected_at - left_at)
    assert sorted(delays)[1] < 0.5, delays


async def _a_model_that_fails_is_stood_in_for_and_that_is_said(world: World) -> None:
    seen = len(world.model.requests)
    world.model.queue(Script(status=500))
    async with world.client() as client:
        reply = (await client.post("/v1/collections/facts:ask", json={"question": QUESTION})).json()
        assert reply["degraded"] == ["MODEL"]
        assert "Penzance" in reply["answer"]
        assert len(world.model.requests) == seen + 1, "one upstream call a request"
        world.model.queue(Script(status=500))
        strict = await client.post("/v1/collections/facts:ask", json={"question": QUESTION, "strict": True})
        assert (strict.status_code, strict.json()["reason"]) == (503, "MODEL_UNAVAILABLE")


async def _one_trace_holds_every_service_store_and_model_call(world: World) -> None:
    world.model.queue(Script(pieces=("In ", "Penzance ", "[1]", ".")))
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    async with world.client() as client:
        headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
        reply = await client.post("/v1/collections/facts:ask", json={"question": QUESTION + " Say."}, headers=headers)
        assert reply.status_code == 200, reply.text

    def of_trace(spans: list[ReceivedSpan]) -> list[ReceivedSpan]:
        return [span for span in spans if span.trace_id == trace_id]

    def complete(spans: list[ReceivedSpan]) -> bool:
        names = {span.name for span in of_trace(spans)}
        services = {span.service for span in of_trace(spans)}
        wanted = {"vectors.dense", "vectors.bm25", "embeddings.query", "graph.read", "model.chat", "visibility.hidden"}
        return wanted <= names and {"ragmesh-gateway", "ragmesh-retriever", "ragmesh-generator"} <= services

    try:
        spans = of_trace(await world.traces.wait_for(complete, seconds=10))
    except TimeoutError:
        raise AssertionError(sorted((s.service, s.name) for s in of_trace(world.traces.spans))) from None
    (root,) = [span for span in spans if span.service == "ragmesh-gateway" and span.kind == "SERVER"]
    for span in spans:
        assert span is root or root in ancestors(span, spans), f"{span.service} {span.name} hangs outside the tree"
    text = repr([span.attributes for span in spans])
    assert "Penzance" not in text
    assert "lighthouse" not in text
