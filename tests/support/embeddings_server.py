"""A scripted server of an OpenAI-compatible API that embeds as well: a text's vector is a bag of its hashed words, so
that texts that share words are near and the same text has the same vector always.

Each request of /v1/embeddings takes the next `EmbeddingScript` of the queue; when it is empty, the request is answered.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from support.openai_server import OpenAIServer, SeenRequest, reply_json, reset

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EmbeddingScript:
    """What to do with one request. spoil: changes the reply that would be right."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None  # the `error` object of a reply that is not 200
    delay_seconds: float = 0.0
    stall: bool = False
    reset: bool = False
    raw: bytes | None = None  # the body, whatever it is
    spoil: Callable[[Body], Body] | None = None


class EmbeddingsServer(OpenAIServer):
    """dimension: of the vectors. refuses: a text that holds this is a bad request, in words that nobody knows.
    limit_characters: a longer text is more than the model reads. ignores_encoding: always sends lists, as some do."""

    def __init__(
        self, *, dimension: int = 384, refuses: str = "", limit_characters: int = 0, ignores_encoding: bool = False
    ) -> None:
        super().__init__()
        self.dimension = dimension
        self.refuses = refuses
        self.limit_characters = limit_characters
        self.ignores_encoding = ignores_encoding
        self.scripts: deque[EmbeddingScript] = deque()
        self.most_at_once = 0
        self._at_once = 0

    @property
    def batches(self) -> list[list[str]]:
        """The texts of each request so far."""
        return [list(seen.body["input"]) for seen in self.requests if seen.path == "/v1/embeddings"]

    async def _respond(self, writer: asyncio.StreamWriter, seen: SeenRequest) -> bool:
        if seen.path != "/v1/embeddings":
            return await super()._respond(writer, seen)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._embed(writer, seen, self.scripts.popleft() if self.scripts else EmbeddingScript())
        finally:
            self._at_once -= 1

    async def _embed(self, writer: asyncio.StreamWriter, seen: SeenRequest, script: EmbeddingScript) -> bool:
        await asyncio.sleep(script.delay_seconds)
        if script.stall:
            seen.stalled.set()
            await asyncio.Event().wait()
        if script.reset:
            reset(writer)
            return False
        texts = list(seen.body["input"])
        status, error = script.status, script.error
        if status == 200 and self.limit_characters and any(len(text) > self.limit_characters for text in texts):
            status, error = 400, {"message": "This model's maximum context length is 8192 tokens.", "code": None}
        if status == 200 and (not all(texts) or (self.refuses and any(self.refuses in text for text in texts))):
            status, error = 400, {"message": "'$.input' is invalid.", "type": "invalid_request_error", "code": None}
        seen.complete = True
        if status != 200:
            wrong = {"message": "scripted: secret detail", "type": "scripted", "code": None, **(error or {})}
            await reply_json(writer, status, script.headers, {"error": wrong})
        elif script.raw is not None:
            head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(script.raw)}\r\n\r\n"
            writer.write(head.encode() + script.raw)
            await writer.drain()
        else:
            as_text = seen.body.get("encoding_format") == "base64" and not self.ignores_encoding
            body = await asyncio.to_thread(self._reply, str(seen.body["model"]), texts, as_text)
            await reply_json(writer, 200, {}, script.spoil(body) if script.spoil else body)
        return True

    def _reply(self, model: str, texts: Sequence[str], as_text: bool) -> Body:
        data = []
        for index, text in enumerate(texts):
            vector = bag_of_words(text, self.dimension)
            coded = base64.b64encode(vector.astype("<f4").tobytes()).decode() if as_text else vector.tolist()
            data.append({"object": "embedding", "index": index, "embedding": coded})
        usage = {"prompt_tokens": 7 * len(texts), "total_tokens": 7 * len(texts)}
        return {"object": "list", "data": data[::-1], "model": model, "usage": usage}  # any order is right


def bag_of_words(text: str, dimension: int) -> NDArray[np.float32]:
    """(dimension,), not normalised, never zero."""
    vector = np.zeros(dimension, dtype=np.float32)
    vector[0] = 0.1
    for word in re.findall(r"\w+", text.lower()):
        vector[zlib.crc32(word.encode()) % dimension] += 1.0
    return vector


def malformed(count: int) -> bytes:
    """JSON that breaks off after `count` bytes."""
    return json.dumps({"data": [{"index": 0, "embedding": [0.5] * 384}]}).encode()[:count]
