"""What a model is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

NO_ANSWER_SENTENCE = "The documents do not contain an answer to this question."
"""What is said, word for word, when the passages support no answer; it carries no citation."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A numbered source. The number is what a citation names: `[2]`, counted from 1."""

    number: int
    chunk_id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Message:
    role: str  # "system" | "user" | "assistant"
    content: str


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """messages are what a chat model receives; question and passages are the same facts unrendered, for an
    answerer that does not read prompts."""

    question: str
    passages: tuple[Passage, ...]
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0


class FinishReason(StrEnum):
    STOP = "STOP"
    LENGTH = "LENGTH"
    CONTENT_FILTER = "CONTENT_FILTER"
    NO_ANSWER = "NO_ANSWER"  # the passages do not support an answer


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer, in order; citations are inline marks such as `[1]` or `[1][3]`."""

    text: str


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What one call cost, in the model's tokens. estimated: the model sent no counts, `TokenEstimate` made them."""

    model: str
    prompt_tokens: int
    completion_tokens: int
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a stream that did not fail."""

    reason: FinishReason
    usage: ModelUsage


ModelEvent = TextDelta | Finished
