"""Asking: find passages, let the generator answer from them, pass its events on as they come."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Generic, TypeVar, cast

from ragmesh_gateway.domain.answer import (
    Answer,
    AnswerEvent,
    Citation,
    Degraded,
    Done,
    Question,
    Source,
    SourcesFound,
    Token,
    Usage,
)
from ragmesh_gateway.domain.ports import Generator, Retriever
from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import Internal, Unavailable

Hit = TypeVar("Hit")


class Ask(Generic[Hit]):
    """One question, one answer. `search_share` of the time that is left goes to the search at most, so that a slow
    store does not leave the model nothing."""

    def __init__(self, retriever: Retriever[Hit], generator: Generator[Hit], search_share: float = 0.5) -> None:
        self._retriever = retriever
        self._generator = generator
        self._search_share = search_share

    async def stream(self, question: Question) -> AsyncGenerator[AnswerEvent[Hit], None]:
        """Sources first, then what is missing if anything is, then the generator's events. Raises MeshError; what is
        raised before the first event means that no answer was begun."""
        left = deadline.remaining()
        with deadline.scope(None if left is None else left * self._search_share):
            found = await self._retriever.search(question)
        if question.strict and found.degraded:
            raise Unavailable("a part of the search is down and the request is strict; try again")
        sources = tuple(Source(number, hit) for number, hit in enumerate(found.hits, 1))
        yield SourcesFound(sources)
        if found.degraded:
            yield Degraded(found.degraded)
        events = cast(AsyncGenerator[AnswerEvent[Hit], None], self._generator.generate(question, sources))
        ended = False
        async with aclosing(events):
            async for event in events:
                ended = isinstance(event, Done)
                yield event
        if not ended:
            raise Internal("the answer ended without saying so")

    async def answer(self, question: Question) -> Answer[Hit]:
        """The whole answer."""
        answer: Answer[Hit] = Answer()
        pieces: list[str] = []
        async with aclosing(self.stream(question)) as events:
            async for event in events:
                match event:
                    case SourcesFound(sources):
                        answer.sources = sources
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
