"""What is asked of generation, and the steps of an answer."""

from __future__ import annotations

from dataclasses import dataclass

from ragmesh_backends.model.generation import FinishReason, ModelUsage, Passage


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """passages are numbered 1, 2, 3... max_tokens: 0 is the server's default. strict: no stand-in for a model that
    is down."""

    question: str
    passages: tuple[Passage, ...]
    max_tokens: int = 0
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer; the pieces in order are the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Citation:
    """The mark at answer[start:end] (code points) names this passage. It follows the Token that completes it."""

    number: int
    chunk_id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Degraded:
    """The configured model did not answer; what follows was quoted by the stand-in. Always before the first Token.
    model, cause: for logs and metrics, constant words without text of the request."""

    model: str
    cause: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What the answer cost, how many passages the model was given, and how many did not fit into the prompt.
    citations_dropped: numbers that it cited and no passage has."""

    usage: ModelUsage
    passages_read: int
    passages_dropped: int
    citations_dropped: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """The end of an answer that did not fail. confidence: see `confidence.py`."""

    finish_reason: FinishReason
    confidence: float


AnswerEvent = Degraded | Token | Citation | Usage | Done
