"""Asking: find passages, let the generator answer from them, pass its events on as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Generic, TypeVar, cast

from ragmesh_gateway.domain.answer import (
    Answer,
    AnswerEvent,
    Citation,
    Degraded,
    Done,
    Found,
    Question,
    Source,
    SourcesFound,
    Token,
    Usage,
)
from ragmesh_gateway.domain.ports import Generator, Retriever
from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import Internal, Reason, Unavailable

Hit = TypeVar("Hit")

ATTEMPTS = 3
REPEAT_SECONDS = 0.1
"""Generate is no method that the channel may repeat, so it is repeated here, where it is known what has been seen."""


class Ask(Generic[Hit]):
    """One question, one answer. `search_share` of the time that is left goes to the search at most, so that a slow
    store does not leave the model nothing."""

    def __init__(self, retriever: Retriever[Hit], generator: Generator[Hit], search_share: float = 0.5) -> None:
        self._retriever = retriever
        self._generator = generator
        self._search_share = search_share

    async def stream(self, question: Question) -> AsyncGenerator[AnswerEvent[Hit], None]:
        """Sources first, then what is missing if anything is, then the generator's events. Raises MeshError; what is
        raised before the first event means that no answer was begun. A generator that is lost before its first event
        is replaced; one that is lost later ends the answer with the error."""
        found = await self._search(question)
        sources = tuple(Source(number, hit) for number, hit in enumerate(found.hits, 1))
        yield SourcesFound(sources)
        if found.degraded:
            yield Degraded(found.degraded)
        begun = False
        for last in _attempts():
            try:
                async with aclosing(self._generated(question, sources)) as events:
                    async for event in events:
                        begun = True
                        yield event
                return
            except Unavailable as error:
                if begun or last or not _lost_on_the_way(error):
                    raise
            await asyncio.sleep(REPEAT_SECONDS)

    async def answer(self, question: Question) -> Answer[Hit]:
        """The whole answer. A generator that is lost, however late, is replaced: nobody has seen the part that it
        made."""
        found = await self._search(question)
        sources = tuple(Source(number, hit) for number, hit in enumerate(found.hits, 1))
        for last in _attempts():
            try:
                return await self._collected(question, sources, found.degraded)
            except Unavailable as error:
                if last or not _lost_on_the_way(error):
                    raise
            await asyncio.sleep(REPEAT_SECONDS)
        raise AssertionError("the last attempt returns or raises")

    async def _search(self, question: Question) -> Found[Hit]:
        left = deadline.remaining()
        with deadline.scope(None if left is None else left * self._search_share):
            found = await self._retriever.search(question)
        if question.strict and found.degraded:
            raise Unavailable("a part of the search is down and the request is strict; try again")
        return found

    async def _generated(
        self, question: Question, sources: tuple[Source[Hit], ...]
    ) -> AsyncGenerator[AnswerEvent[Hit], None]:
        events = cast(AsyncGenerator[AnswerEvent[Hit], None], self._generator.generate(question, sources))
        ended = False
        async with aclosing(events):
            async for event in events:
                ended = isinstance(event, Done)
                yield event
        if not ended:
            raise Internal("the answer ended without saying so")

    async def _collected(
        self, question: Question, sources: tuple[Source[Hit], ...], degraded: tuple[int, ...]
    ) -> Answer[Hit]:
        answer: Answer[Hit] = Answer(sources=sources, degraded=degraded)
        pieces: list[str] = []
        async with aclosing(self._generated(question, sources)) as events:
            async for event in events:
                match event:
                    case Token(text):
                        pieces.append(text)
                    case Citation():
                        answer.citations.append(event)
                    case Usage():
                        answer.usage = event
                    case Degraded(parts):
                        answer.degraded += parts
                    case Done():
                        answer.done = event
        answer.text = "".join(pieces)
        return answer


def _attempts() -> tuple[bool, ...]:
    """For each attempt whether it is the last one."""
    return (*(False for _ in range(ATTEMPTS - 1)), True)


def _lost_on_the_way(error: Unavailable) -> bool:
    """Whether the generator's process went away, or is about to: another replica can answer. What its model did wrong
    is another matter, and asking that again is for the caller to decide, who pays for it."""
    if error.retry_after_seconds is not None and error.retry_after_seconds < 0:
        return False
    lost = error.reason is Reason.DEPENDENCY_UNAVAILABLE and error.metadata.get("dependency") == "generator"
    return lost or error.reason is Reason.DRAINING
