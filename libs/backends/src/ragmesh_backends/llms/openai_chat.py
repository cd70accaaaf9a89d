"""A chat model behind any OpenAI-compatible API, streamed through the openai SDK.

One request makes one call. Every wait is bounded by four clocks: the first text, the gap between two chunks, the
whole call, and the request's own deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Literal

import openai
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from ragmesh_backends.model.generation import (
    Finished,
    FinishReason,
    ModelEvent,
    ModelRequest,
    ModelUsage,
    TextDelta,
)
from ragmesh_backends.model.token_estimate import TokenEstimate
from ragmesh_backends.openai_api.client import CONNECT_SECONDS, MAX_CONNECTIONS, POOL_SECONDS, open_client
from ragmesh_backends.openai_api.errors import ApiErrors
from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import DeadlineExceeded, MeshError, Reason
from ragmesh_servicekit.resilience.breaker import CallRefused
from ragmesh_servicekit.resilience.guard import Guard

_FINISH = {"length": FinishReason.LENGTH, "content_filter": FinishReason.CONTENT_FILTER}
_CLOSE_SECONDS = 1.0

_ERRORS = ApiErrors(
    "model",
    "the model",
    too_long="the question and its sources are longer than the model can read",
    against_policy="the model's content policy refuses this question",
)


class OpenAIChat:
    """A chat model by its port (`stream`).

    base_url: as the SDK takes it, ending in /v1 for most servers. api_key: may be empty for servers without keys.
    timeout_seconds: the whole call. first_token_timeout_seconds: until the first text. stall_timeout_seconds: between
    two chunks after it. max_connections: calls at once; one more waits pool_timeout_seconds, then is Unavailable.
    max_tokens_parameter: what the server calls the limit; OpenAI's reasoning models take only the newer name.
    send_temperature: off for models that refuse the parameter.
    proxy: the address of an HTTP proxy; nothing is read from the environment, and redirects are not followed
    (the key would go with them).
    guard: of this model at this address; None makes one without a breaker. A model is slow to it when its first text
    takes longer than half of first_token_timeout_seconds, however long its answer is.
    tracer: by default the process's own.

    Errors: see `openai_api.errors`; DeadlineExceeded when the request's own deadline ended the wait.
    Usage: the server's counts; when it sends none, estimates by `TokenEstimate` with `estimated` set.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        model: str,
        *,
        timeout_seconds: float = 30.0,
        first_token_timeout_seconds: float = 15.0,
        stall_timeout_seconds: float = 10.0,
        connect_timeout_seconds: float = CONNECT_SECONDS,
        pool_timeout_seconds: float = POOL_SECONDS,
        max_connections: int = MAX_CONNECTIONS,
        max_tokens_parameter: Literal["max_tokens", "max_completion_tokens"] = "max_tokens",
        send_temperature: bool = True,
        proxy: str | None = None,
        guard: Guard | None = None,
        tracer: trace.Tracer | None = None,
    ) -> None:
        self.name = model
        self._guard = guard or Guard("model")
        self._timeout_seconds = timeout_seconds
        self._first_token_timeout_seconds = first_token_timeout_seconds
        self._stall_timeout_seconds = stall_timeout_seconds
        self._max_tokens_parameter = max_tokens_parameter
        self._send_temperature = send_temperature
        self._estimate = TokenEstimate()
        self._tracer = tracer or trace.get_tracer("ragmesh_backends.llms")
        self._client = open_client(
            base_url,
            api_key,
            timeout_seconds=timeout_seconds,
            connect_timeout_seconds=connect_timeout_seconds,
            pool_timeout_seconds=pool_timeout_seconds,
            max_connections=max_connections,
            proxy=proxy,
        )

    async def close(self) -> None:
        await self._client.close()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """TextDelta events in order, then one Finished. Closing the iterator, or cancelling the task that waits for
        it, closes the connection at once, so that the server stops writing."""
        # The span is never made current: a generator may be closed from another task than the one that started it.
        span = self._tracer.start_span(
            "model.chat", kind=SpanKind.CLIENT, attributes={"gen_ai.request.model": self.name}
        )
        try:
            async with aclosing(self._guarded(request)) as events:
                async for event in events:
                    if isinstance(event, Finished):
                        _describe(span, event)
                    yield event
        except MeshError as error:
            span.set_status(Status(StatusCode.ERROR, error.reason))
            span.set_attribute("error.type", error.metadata.get("cause", error.reason))
            raise
        except (asyncio.CancelledError, GeneratorExit):
            span.set_attribute("ragmesh.cancelled", True)
            raise
        finally:
            span.end()

    async def _guarded(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        # Readers leave at Finished, so it is given out when the call has ended well for the guard, not before.
        finished: Finished | None = None
        try:
            async with (
                self._guard.watched(self._first_token_timeout_seconds / 2) as answering,
                aclosing(self._events(request)) as events,
            ):
                async for event in events:
                    answering.answered()
                    if isinstance(event, Finished):
                        finished = event
                    else:
                        yield event
        except CallRefused as error:
            cause, sentence = "breaker_open", "has failed too often of late and is left alone for a while"
            if error.reason is Reason.OVERLOADED:
                cause, sentence = "overloaded", "has too many calls of this process under way"
            raise _ERRORS.unavailable(cause, sentence, retry_after_seconds=error.retry_after_seconds) from error
        if finished is not None:
            yield finished

    async def _events(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        waits = _Waits(self._timeout_seconds, self._first_token_timeout_seconds, self._stall_timeout_seconds)
        written: list[str] = []
        finish: FinishReason | None = None
        usage: ModelUsage | None = None
        async with waits.next():
            stream = await self._call(request)
        try:
            while True:
                async with waits.next():
                    chunk = await anext(stream, None)
                if chunk is None:
                    break
                text, reason, counts = _read(chunk)
                finish = reason or finish
                usage = ModelUsage(self.name, *counts) if counts else usage
                if text:
                    waits.started = True
                    written.append(text)
                    yield TextDelta(text)
        finally:
            with suppress(TimeoutError):  # a socket that does not even close is dropped with the stream
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await stream.close()
        if finish is None:
            raise _ERRORS.unavailable("cut", "broke off its answer")
        yield Finished(finish, usage or self._estimated(request, "".join(written)))

    async def _call(self, request: ModelRequest) -> openai.AsyncStream[ChatCompletionChunk]:
        limit = request.max_tokens
        newer = self._max_tokens_parameter == "max_completion_tokens"
        return await self._client.chat.completions.create(
            model=self.name,
            messages=[_message(m.role, m.content) for m in request.messages],
            stream=True,
            stream_options={"include_usage": True},
            temperature=request.temperature if self._send_temperature else openai.omit,
            max_tokens=openai.omit if newer else limit,
            max_completion_tokens=limit if newer else openai.omit,
        )

    def _estimated(self, request: ModelRequest, answer: str) -> ModelUsage:
        prompt = sum(self._estimate.count(m.content) for m in request.messages)
        return ModelUsage(self.name, prompt, self._estimate.count(answer), estimated=True)


class _Waits:
    """The clocks of one call. `started` is set by the first text."""

    def __init__(self, total: float, first: float, stall: float) -> None:
        now = asyncio.get_running_loop().time()
        self._end, self._first, self._stall = now + total, now + first, stall
        self.started = False

    @asynccontextmanager
    async def next(self) -> AsyncIterator[None]:
        """Bound one wait by whichever clock ends first; the SDK's errors become the mesh's here."""
        now = asyncio.get_running_loop().time()
        own = min(self._end, now + self._stall if self.started else self._first) - now
        left = deadline.remaining()
        try:
            async with asyncio.timeout(deadline.within(own)):
                yield
        except TimeoutError as error:
            if left is not None and left <= own:
                raise DeadlineExceeded("the deadline of the request has passed") from error
            if now + own >= self._end:
                raise _ERRORS.unavailable("timeout", "took too long to answer") from error
            if self.started:
                raise _ERRORS.unavailable("stall", "stopped in the middle of its answer") from error
            raise _ERRORS.unavailable("first_token", "took too long to begin its answer") from error
        except openai.OpenAIError as error:
            raise _ERRORS.translated(error) from error
        except ValueError as error:  # not JSON, or not UTF-8: the SDK lets both through
            raise _ERRORS.unavailable("malformed", "gave an answer that could not be read") from error


def _message(role: str, content: str) -> ChatCompletionMessageParam:
    if role == "system":
        return {"role": "system", "content": content}
    if role == "assistant":
        return {"role": "assistant", "content": content}
    return {"role": "user", "content": content}


def _read(chunk: Any) -> tuple[str, FinishReason | None, tuple[int, int] | None]:
    """Text, finish reason and token counts of a chunk. The SDK does not validate what it parses, so this does."""
    text, finish, counts = "", None, None
    try:
        if chunk.choices:
            choice = chunk.choices[0]
            text = choice.delta.content or ""
            if choice.finish_reason:
                finish = _FINISH.get(choice.finish_reason, FinishReason.STOP)
        if chunk.usage:
            counts = (int(chunk.usage.prompt_tokens), int(chunk.usage.completion_tokens))
        if not isinstance(text, str):
            raise TypeError
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise _ERRORS.unavailable("malformed", "gave an answer that could not be read") from error
    return text, finish, counts


def _describe(span: Span, finished: Finished) -> None:
    span.set_attributes(
        {
            "gen_ai.usage.input_tokens": finished.usage.prompt_tokens,
            "gen_ai.usage.output_tokens": finished.usage.completion_tokens,
            "gen_ai.response.finish_reasons": (finished.reason.value,),
            "ragmesh.usage.estimated": finished.usage.estimated,
        }
    )
