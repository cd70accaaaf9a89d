"""The adapter against a scripted server, through the real SDK and real sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from ragmesh_backends.llms.openai_chat import OpenAIChat
from ragmesh_backends.model.generation import Finished, FinishReason, Message, ModelEvent, ModelRequest, TextDelta
from ragmesh_backends.openai_api.errors import retry_after_seconds
from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import Code, DeadlineExceeded, FailedPrecondition, MeshError, Reason, Unavailable
from support.openai_server import CONTEXT_LENGTH_ERROR, OpenAIServer, Script

SECRET = "sk-very-secret"
REQUEST = ModelRequest("q", (), (Message("system", "rules"), Message("user", "What is it?")), max_tokens=77)


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as running:
        yield running


@pytest.fixture
async def chat(server: OpenAIServer) -> AsyncIterator[OpenAIChat]:
    model = OpenAIChat(
        server.base_url, SECRET, "m", timeout_seconds=5, first_token_timeout_seconds=0.3, stall_timeout_seconds=0.15
    )
    yield model
    await model.close()


async def collect(chat: OpenAIChat) -> list[ModelEvent]:
    return [event async for event in chat.stream(REQUEST)]


async def failure(chat: OpenAIChat) -> MeshError:
    with pytest.raises(MeshError) as caught:
        await collect(chat)
    assert SECRET not in str(caught.value)
    assert "secret detail" not in str(caught.value)
    return caught.value


async def test_the_request_carries_the_prompt_the_limit_and_asks_for_usage(
    server: OpenAIServer, chat: OpenAIChat
) -> None:
    await collect(chat)
    seen = server.requests[0]
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["authorization"] == f"Bearer {SECRET}"
    assert seen.body["messages"] == [
        {"role": "system", "content": "rules"},
        {"role": "user", "content": "What is it?"},
    ]
    assert (seen.body["max_tokens"], seen.body["temperature"], seen.body["stream"]) == (77, 0.0, True)
    assert seen.body["stream_options"] == {"include_usage": True}


async def test_newer_models_get_the_newer_name_of_the_limit_and_no_temperature(server: OpenAIServer) -> None:
    model = OpenAIChat(
        server.base_url, SECRET, "m", max_tokens_parameter="max_completion_tokens", send_temperature=False
    )
    await collect(model)
    await model.close()
    assert server.requests[0].body["max_completion_tokens"] == 77
    assert not {"max_tokens", "temperature"} & server.requests[0].body.keys()


async def test_the_counts_of_the_server_are_passed_on(chat: OpenAIChat) -> None:
    finished = (await collect(chat))[-1]
    assert isinstance(finished, Finished)
    assert (finished.usage.prompt_tokens, finished.usage.completion_tokens) == (11, 5)
    assert not finished.usage.estimated


async def test_counts_that_are_not_sent_are_estimated_and_flagged(server: OpenAIServer, chat: OpenAIChat) -> None:
    server.queue(Script(usage=False))
    finished = (await collect(chat))[-1]
    assert isinstance(finished, Finished)
    assert finished.usage.estimated
    assert finished.usage.prompt_tokens > 0
    assert finished.usage.completion_tokens > 0


@pytest.mark.parametrize(
    ("sent", "meant"),
    [("stop", FinishReason.STOP), ("length", FinishReason.LENGTH), ("content_filter", FinishReason.CONTENT_FILTER)],
)
async def test_finish_reasons_are_told_apart(
    server: OpenAIServer, chat: OpenAIChat, sent: str, meant: FinishReason
) -> None:
    server.queue(Script(finish_reason=sent))
    finished = (await collect(chat))[-1]
    assert isinstance(finished, Finished)
    assert finished.reason is meant


async def test_a_stream_without_the_done_line_is_complete_when_it_has_a_finish_reason(
    server: OpenAIServer, chat: OpenAIChat
) -> None:
    server.queue(Script(done_mark=False))
    assert isinstance((await collect(chat))[-1], Finished)


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        (Script(status=401), "authentication"),
        (Script(status=403), "permission"),
        (Script(status=404), "not_found"),
        (Script(status=400), "bad_request"),
        (Script(status=429), "rate_limit"),
        (Script(status=429, error={"message": "m", "code": "insufficient_quota"}), "quota"),
        (Script(status=500), "status_500"),
        (Script(status=503), "status_503"),
        (Script(status=302, headers={"location": "http://127.0.0.1:1/v1"}), "status_302"),
        (Script(reset_after=0), "connection"),
        (Script(reset_after=2), "connection"),
        (Script(cut_after=2), "cut"),
        (Script(malformed_after=2), "malformed"),
        (Script(wrong_shape_after=2), "malformed"),
        (Script(error_after=2), "provider_error"),
        (Script(first_byte_delay_seconds=30), "first_token"),
        (Script(stall_after=0, comments_while_stalled=True), "first_token"),
        (Script(stall_after=2), "stall"),
        (Script(stall_after=2, comments_while_stalled=True), "stall"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_a_model_that_fails_is_unavailable_after_one_call(
    server: OpenAIServer, chat: OpenAIChat, script: Script, cause: str
) -> None:
    server.queue(script)
    error = await failure(chat)
    assert isinstance(error, Unavailable)
    assert error.reason is Reason.MODEL_UNAVAILABLE
    assert error.metadata == {"dependency": "model", "cause": cause}
    assert len(server.requests) == 1


async def test_what_was_written_before_a_failure_has_been_delivered(server: OpenAIServer, chat: OpenAIChat) -> None:
    server.queue(Script(cut_after=2))
    stream = chat.stream(REQUEST)
    assert [await anext(stream), await anext(stream)] == [TextDelta("The answer"), TextDelta(" is")]
    with pytest.raises(Unavailable):
        await anext(stream)


async def test_a_limit_of_the_provider_passes_its_retry_after_on(server: OpenAIServer, chat: OpenAIChat) -> None:
    server.queue(Script(status=429, headers={"retry-after": "7"}))
    assert (await failure(chat)).retry_after_seconds == 7.0


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_prompt_that_is_too_long_is_a_refusal_not_an_outage(
    server: OpenAIServer, chat: OpenAIChat, status: int
) -> None:
    server.queue(Script(status=status, error=CONTEXT_LENGTH_ERROR))
    error = await failure(chat)
    assert isinstance(error, FailedPrecondition)
    assert error.reason is Reason.MODEL_REFUSED


async def test_nobody_listening_is_unavailable() -> None:
    model = OpenAIChat("http://127.0.0.1:9/v1", SECRET, "m")
    assert (await failure(model)).metadata["cause"] == "connection"
    await model.close()


async def test_the_whole_call_is_bounded_even_while_chunks_arrive(server: OpenAIServer) -> None:
    server.queue(Script(pieces=("x",) * 1000, piece_delay_seconds=0.02))
    model = OpenAIChat(server.base_url, SECRET, "m", timeout_seconds=0.3)
    started = time.monotonic()
    assert (await failure(model)).metadata["cause"] == "timeout"
    assert time.monotonic() - started < 1.0
    await model.close()


async def test_a_deadline_that_passes_is_told_apart_from_a_slow_model(server: OpenAIServer, chat: OpenAIChat) -> None:
    server.queue(Script(first_byte_delay_seconds=30))
    with deadline.scope(0.1):
        error = await failure(chat)
    assert isinstance(error, DeadlineExceeded)
    assert error.code is Code.DEADLINE_EXCEEDED


@pytest.mark.parametrize("script", [Script(first_byte_delay_seconds=30), Script(stall_after=2)], ids=["before", "in"])
async def test_cancelling_stops_the_model_within_half_a_second(server: OpenAIServer, script: Script) -> None:
    server.queue(script)
    model = OpenAIChat(server.base_url, SECRET, "m")
    reading = asyncio.create_task(collect(model))
    seen = await server.request()
    if script.stall_after is not None:
        async with asyncio.timeout(5):
            await seen.stalled.wait()
    cancelled_at = time.monotonic()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    async with asyncio.timeout(0.5):
        await seen.disconnected.wait()
    assert seen.disconnected_at is not None
    assert seen.disconnected_at - cancelled_at < 0.5
    await model.close()


async def test_closing_the_iterator_stops_the_model_and_frees_the_connection(server: OpenAIServer) -> None:
    model = OpenAIChat(server.base_url, SECRET, "m", max_connections=1)
    for index in range(3):  # a leaked connection would block the second round
        server.queue(Script(pieces=("x",) * 1000, piece_delay_seconds=0.01))
        stream = model.stream(REQUEST)
        await anext(stream)
        await stream.aclose()
        async with asyncio.timeout(0.5):
            await server.requests[index].disconnected.wait()
    await model.close()


async def test_a_failed_call_frees_its_connection(server: OpenAIServer) -> None:
    model = OpenAIChat(server.base_url, SECRET, "m", max_connections=1, stall_timeout_seconds=0.05)
    for script in (Script(status=500), Script(cut_after=1), Script(malformed_after=1), Script(stall_after=1)):
        server.queue(script)
        await failure(model)
    assert isinstance((await collect(model))[-1], Finished)
    await model.close()


async def test_more_calls_than_connections_are_refused_rather_than_queued_for_long(server: OpenAIServer) -> None:
    model = OpenAIChat(server.base_url, SECRET, "m", max_connections=1, pool_timeout_seconds=0.1)
    server.queue(Script(stall_after=1))
    first = model.stream(REQUEST)
    await anext(first)
    assert (await failure(model)).metadata["cause"] == "timeout"
    await first.aclose()
    await model.close()


async def test_a_call_is_one_span_with_counts_and_no_text(server: OpenAIServer) -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    model = OpenAIChat(server.base_url, SECRET, "m", tracer=provider.get_tracer("test"))
    await collect(model)
    server.queue(Script(status=500))
    await failure(model)
    stream = model.stream(REQUEST)
    await anext(stream)
    await stream.aclose()
    await model.close()
    good, bad, left = spans.get_finished_spans()
    assert good.attributes is not None
    assert bad.attributes is not None
    assert left.attributes is not None
    assert good.attributes["gen_ai.request.model"] == "m"
    assert good.attributes["gen_ai.usage.output_tokens"] == 5
    assert bad.status.status_code is StatusCode.ERROR
    assert bad.attributes["error.type"] == "status_500"
    assert left.status.status_code is StatusCode.UNSET
    assert left.attributes["ragmesh.cancelled"] is True
    assert "What is it?" not in str([(s.name, s.attributes, s.events) for s in (good, bad, left)])


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("999999", 3600.0),
        ("nan", None),
        ("Wed, 01 Jan 2025 00:00:30 GMT", 30.0),
        ("soon", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, now=datetime(2025, 1, 1, tzinfo=UTC)) == seconds
