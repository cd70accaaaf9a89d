"""What is counted of answers, the same for each way to ask."""

from __future__ import annotations

import time
from collections.abc import Iterable

from ragmesh.common.v1 import search_pb2
from ragmesh_gateway.domain.answer import AnswerEvent, Degraded, Done, Token, Usage
from ragmesh_servicekit.telemetry import metrics

SEARCH = "/ragmesh.gateway.v1.SearchService/Search"
ASK = "/ragmesh.gateway.v1.AskService/Ask"
ASK_STREAM = "/ragmesh.gateway.v1.AskService/AskStream"

_PARTS: dict[int, str] = {number: name.removeprefix("PART_") for name, number in search_pb2.Part.items()}


def answered(method: str, degraded: Iterable[int], tokens: int = 0) -> None:
    """An answer went out whole, but for the parts that `degraded` names; tokens: of its text."""
    metrics.ANSWERS.labels(method).inc()
    for part in set(degraded):
        metrics.DEGRADED_ANSWERS.labels(method, _PARTS.get(part, "OTHER")).inc()
    if tokens > 0:
        metrics.RELAYED_TOKENS.inc(tokens)


class StreamedAnswer:
    """Watches the events of one streamed answer as they go by."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._spoken = False
        self._degraded: tuple[int, ...] = ()
        self._tokens = 0

    def saw(self, event: AnswerEvent[search_pb2.Hit]) -> None:
        """In the order of the stream, which Done ends."""
        match event:
            case Token() if not self._spoken:
                self._spoken = True
                metrics.ANSWER_FIRST_TOKEN_SECONDS.observe(time.perf_counter() - self._started)
            case Degraded(parts):
                self._degraded += parts
            case Usage():
                self._tokens = event.completion_tokens
            case Done():
                answered(ASK_STREAM, self._degraded, self._tokens)
