"""What generation needs from outside."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from ragmesh_backends.model.generation import ModelEvent, ModelRequest


class ChatModel(Protocol):
    """Writes an answer.

    `stream` gives TextDelta events in order and then exactly one Finished, or raises a MeshError: Unavailable
    (reason MODEL_UNAVAILABLE) when the model does not answer, FailedPrecondition (MODEL_REFUSED) when it will not
    answer this request, DeadlineExceeded when the request's deadline ended the wait. One call of the model for each
    request, never repeated. Closing the generator stops the model at once.
    """

    @property
    def name(self) -> str: ...

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]: ...


class TokenCounter(Protocol):
    """Counts the tokens of a text, exactly or erring on the high side; additive up to rounding."""

    def count(self, text: str) -> int: ...
