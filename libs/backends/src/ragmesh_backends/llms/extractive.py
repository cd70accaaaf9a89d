"""The built-in answerer: it quotes the sentences that answer a question, so that the product answers without a key.

It writes nothing of its own but one sentence for "no answer", so it cannot invent; and a sentence is always
followed by the mark of the passage it was taken from.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import replace

from ragmesh_backends.llms.evidence import Candidate, Evidence, candidates, choose, readable_order, weigh
from ragmesh_backends.llms.question import Question
from ragmesh_backends.model.generation import (
    NO_ANSWER_SENTENCE,
    Finished,
    FinishReason,
    ModelEvent,
    ModelRequest,
    ModelUsage,
    Passage,
    TextDelta,
)
from ragmesh_backends.model.token_estimate import TokenEstimate

MODEL = "ragmesh-extractive"
MAX_SENTENCES = 4
MAX_PASSAGE_CHARACTERS = 12_000
"""Read of one passage: ingestion makes far shorter ones, and the time of an answer stays bounded."""

_CLAUSE = re.compile(r"(?:\S+\s*){1,4}")


class ExtractiveAnswerer:
    """A chat model by its port (`stream`), deterministic, with nothing outside the process.

    Usage is an estimate by `TokenEstimate`. LENGTH: the token limit left sentences out; sentences are never cut.
    """

    name = MODEL

    def __init__(self, *, max_sentences: int = MAX_SENTENCES) -> None:
        self._max_sentences = max_sentences
        self._tokens = TokenEstimate()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Pieces of a few words, in order, then Finished. Control returns to the event loop between the pieces."""
        question = Question.read(request.question)
        passages = [p if len(p.text) <= MAX_PASSAGE_CHARACTERS else _shortened(p) for p in request.passages]
        prompt_tokens = self._tokens.count(request.question) + sum(self._tokens.count(p.text) for p in passages)
        found: list[Candidate] = []
        for passage in passages:
            await asyncio.sleep(0)
            found += candidates(passage)
        evidence, idf = weigh(question, found)
        chosen = choose(evidence, idf, most=self._max_sentences)
        await asyncio.sleep(0)
        fitting = self._within(chosen, request.max_tokens)
        written = 0
        if not chosen:
            yield TextDelta(NO_ANSWER_SENTENCE)
            written = self._tokens.count(NO_ANSWER_SENTENCE)
        for index, item in enumerate(readable_order(fitting)):
            text = f"{' ' if index else ''}{item.text} [{item.passage.number}]"
            written += self._tokens.count(text)
            for piece in _pieces(text):
                yield TextDelta(piece)
                await asyncio.sleep(0)
        reason = FinishReason.STOP if len(fitting) == len(chosen) else FinishReason.LENGTH
        usage = ModelUsage(MODEL, prompt_tokens, written, estimated=True)
        yield Finished(reason if chosen else FinishReason.NO_ANSWER, usage)

    async def close(self) -> None:
        """Nothing is held."""

    def _within(self, chosen: list[Evidence], max_tokens: int) -> list[Evidence]:
        """The first choices that fit together; the best one always does, or there would be no answer at all."""
        fitting: list[Evidence] = []
        used = 0
        for item in chosen:
            used += self._tokens.count(item.text) + 3  # the mark
            if fitting and used > max_tokens:
                break
            fitting.append(item)
        return fitting


def _shortened(passage: Passage) -> Passage:
    return replace(passage, text=passage.text[:MAX_PASSAGE_CHARACTERS])


def _pieces(text: str) -> list[str]:
    """Up to four words each, blanks included: joined they are the text."""
    lead = text[: len(text) - len(text.lstrip())]
    return [(lead if i == 0 else "") + m[0] for i, m in enumerate(_CLAUSE.finditer(text.lstrip()))]
