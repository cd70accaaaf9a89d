"""The use case: one question and its passages become a streamed, cited answer.

check -> prompt -> model -> coalesce -> citations -> confidence, usage, done
                    `- nothing came and a stand-in is allowed: Degraded, then the same with the stand-in
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from ragmesh_backends.model.generation import (
    NO_ANSWER_SENTENCE,
    Finished,
    FinishReason,
    ModelRequest,
    ModelUsage,
)
from ragmesh_generator.domain.citations import CitationParser
from ragmesh_generator.domain.coalesce import coalesced
from ragmesh_generator.domain.confidence import confidence
from ragmesh_generator.domain.events import AnswerEvent, AnswerRequest, Citation, Degraded, Done, Token, Usage
from ragmesh_generator.domain.ports import ChatModel, TokenCounter
from ragmesh_generator.domain.prompt import Prompt, PromptBuilder
from ragmesh_servicekit.errors import FailedPrecondition, InvalidArgument, MeshError, Reason, Unavailable


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """default_tokens and max_tokens: of an answer, as the model counts. max_characters: the answer is cut there
    whatever the model counts, so that a server that ignores its limit costs nothing. window_seconds and
    piece_characters: see `coalesce`; 30 ms is below what a reader notices."""

    default_tokens: int = 512
    max_tokens: int = 4096
    max_characters: int = 40_000
    window_seconds: float = 0.03
    piece_characters: int = 400


class Generate:
    """fallback: answers when `model` fails before its first token and the request is not strict; None: never."""

    def __init__(
        self,
        model: ChatModel,
        *,
        prompts: PromptBuilder,
        counter: TokenCounter,
        fallback: ChatModel | None = None,
        limits: AnswerLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._fallback = fallback
        self._prompts = prompts
        self._counter = counter
        self._limits = limits or AnswerLimits()
        self._clock = clock

    async def run(self, request: AnswerRequest) -> AsyncGenerator[AnswerEvent, None]:
        """[Degraded], Token and Citation events, Usage, Done. Without passages no model is called.

        Close it (`contextlib.aclosing`) when its reader leaves early: that stops the model.
        Errors: InvalidArgument; the model's own (see `ChatModel`) when it fails with no stand-in, or after its
        first token.
        """
        max_tokens = self._check(request)
        if not request.passages:
            yield Token(NO_ANSWER_SENTENCE)
            yield Usage(ModelUsage(self._model.name, 0, 0), 0, 0)
            yield Done(FinishReason.NO_ANSWER, 0.0)
            return
        prompt = self._prompts.build(request.question, request.passages)
        ask = ModelRequest(request.question, prompt.passages, prompt.messages, max_tokens)
        spoken = False
        try:
            async with aclosing(self._answer(self._model, ask, prompt)) as events:
                async for event in events:
                    spoken = True
                    yield event
            return
        except (Unavailable, FailedPrecondition) as error:
            if spoken or request.strict or self._fallback is None or not _of_model(error):
                raise
            cause = error.metadata.get("cause", error.reason.value)
        yield Degraded(self._model.name, cause)
        ask = ModelRequest(request.question, request.passages, prompt.messages, max_tokens)
        async with aclosing(self._answer(self._fallback, ask, prompt)) as events:
            async for event in events:
                yield event

    def _check(self, request: AnswerRequest) -> int:
        if not request.question.strip():
            raise InvalidArgument.field("question", "must not be empty")
        for place, passage in enumerate(request.passages):
            if passage.number != place + 1:
                raise InvalidArgument.field(f"sources[{place}].number", f"must be {place + 1}: sources count from 1")
        if not 0 <= request.max_tokens <= self._limits.max_tokens:
            raise InvalidArgument.field("max_tokens", f"must be between 0 and {self._limits.max_tokens}")
        return request.max_tokens or self._limits.default_tokens

    async def _answer(self, model: ChatModel, ask: ModelRequest, prompt: Prompt) -> AsyncGenerator[AnswerEvent, None]:
        """One model's answer. Nothing is yielded before the model's first text."""
        parser = CitationParser({p.number: p.chunk_id for p in ask.passages})
        answer = _Answer(self._limits.max_characters)
        finished: Finished | None = None
        pieces = coalesced(
            model.stream(ask),
            window_seconds=self._limits.window_seconds,
            max_characters=self._limits.piece_characters,
            clock=self._clock,
        )
        async with aclosing(pieces) as deltas:
            async for delta in deltas:
                if isinstance(delta, Finished):
                    finished = delta
                    break
                for event in answer.take(parser.feed(delta.text)):
                    yield event
                if answer.full:
                    break
        if not answer.full:
            for event in answer.take(parser.finish()):
                yield event
        if not answer.text.strip() and (finished is None or finished.reason is FinishReason.STOP):
            raise Unavailable(
                "the model gave an empty answer",
                reason=Reason.MODEL_UNAVAILABLE,
                metadata={"dependency": "model", "cause": "empty"},
            )
        if finished is None or answer.full:
            written = self._counter.count(answer.text)
            usage = finished.usage if finished else ModelUsage(model.name, prompt.tokens, written, estimated=True)
            finished = Finished(FinishReason.LENGTH, usage)
        left_out = prompt.dropped if ask.passages == prompt.passages else 0
        yield Usage(finished.usage, len(ask.passages), left_out, parser.dropped)
        yield Done(*answer.verdict(finished.reason))


class _Answer:
    """What has been said, up to a limit of characters."""

    def __init__(self, max_characters: int) -> None:
        self._room = max_characters
        self._pieces: list[str] = []
        self._length = 0
        self._citations: list[Citation] = []
        self.full = False

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def take(self, events: Iterator[Token | Citation]) -> Iterator[Token | Citation]:
        """The events as far as there is room; a citation whose mark was cut off goes with it."""
        for event in events:
            if isinstance(event, Token):
                text = event.text[: self._room - self._length]
                self.full = self.full or len(text) < len(event.text)
                if not text:
                    continue
                self._pieces.append(text)
                self._length += len(text)
                yield Token(text)
            elif event.end <= self._length:
                self._citations.append(event)
                yield event

    def verdict(self, reason: FinishReason) -> tuple[FinishReason, float]:
        """Why it ended and how sure it is. A model says NO_ANSWER by its agreed sentence."""
        text = self.text
        if reason is FinishReason.NO_ANSWER or (not self._citations and text.strip().startswith(NO_ANSWER_SENTENCE)):
            return FinishReason.NO_ANSWER, 0.0
        return reason, confidence(text, self._citations)


def _of_model(error: MeshError) -> bool:
    return error.reason in {Reason.MODEL_UNAVAILABLE, Reason.MODEL_REFUSED}
