"""An embedding model behind any OpenAI-compatible API, through the openai SDK.

Documents go in batches, two of them at once, each with a time-out of its own. Queries go alone, beside the batches.
Queries are not repeated here: the caller's channel does that. A batch is, when its owner gives a `Retry`, so that one
that fails does not cost the others once more; after that the worker waits for the API as it does for a store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal, Self

import numpy as np
import openai
import structlog
from numpy.typing import NDArray
from opentelemetry.trace import SpanKind

from ragmesh_backends.openai_api.client import open_client
from ragmesh_backends.openai_api.errors import BAD_REQUEST, ApiErrors
from ragmesh_backends.openai_api.vectors import WrongReply, unit_vectors
from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import DeadlineExceeded, InvalidArgument, Reason, Unavailable
from ragmesh_servicekit.resilience.guard import MAX_CONCURRENT, Guard
from ragmesh_servicekit.resilience.retry import Retry
from ragmesh_servicekit.telemetry.metrics import EMBEDDING_TOKENS
from ragmesh_servicekit.telemetry.tracing import span

log = structlog.get_logger()

Vector = NDArray[np.float32]

BATCH_TEXTS = 100
BATCH_CHARACTERS = 200_000
"""OpenAI takes 300,000 tokens in one request, and a token may be a single character of some scripts. A longer text goes
alone."""

BATCHES_AT_ONCE = 2
CALL_SECONDS = 15.0

_BLANK = "."
"""Stands in for a text of blanks: OpenAI refuses the empty string."""

_ERRORS = ApiErrors(
    "embeddings",
    "the embedding model",
    too_long="the text is longer than the embedding model can read; see RAGMESH_EMBEDDING_MAX_CHARACTERS",
    against_policy="the embedding model's content policy refuses this text",
)


class OpenAIEmbedder:
    """An embedder by its port. Made by `open`, closed by `close`.

    model_id: `openai:` and the model's name there; vectors of different ids are not to be compared.
    Errors: as `openai_api.errors` says, and Unavailable for an answer that is not a unit vector for each text;
    DeadlineExceeded when the request's own deadline ended the wait.
    """

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        model: str,
        dimension: int,
        guard: Guard,
        *,
        max_characters: int,
        encoding: str,
        retry: Retry | None = None,
    ) -> None:
        """See `open`; dimension 0 is for `open` alone."""
        self.model_id = f"openai:{model}"
        self.dimension = dimension
        self._client = client
        self._model = model
        self._guard = guard
        self._retry = retry
        self._max_characters = max_characters
        self._encoding: Literal["float", "base64"] = "float" if encoding == "float" else "base64"
        self._places = asyncio.Semaphore(BATCHES_AT_ONCE)
        self._closed = False

    @classmethod
    async def open(
        cls,
        base_url: str,
        api_key: str,
        model: str,
        guard: Guard,
        *,
        dimension: int = 0,
        max_characters: int = 0,
        encoding: str = "base64",
        retry: Retry | None = None,
    ) -> Self:
        """dimension: of the model's vectors; 0 asks the model once, which must then answer. max_characters: texts are
        cut there; 0 sends them whole, and the model refuses what it cannot read. encoding: base64, a quarter of the
        bytes, or float for servers that refuse it. retry: of batches; None for an owner whose caller repeats."""
        client = open_client(base_url, api_key, timeout_seconds=CALL_SECONDS, max_connections=MAX_CONCURRENT)
        embedder = cls(client, model, dimension, guard, max_characters=max_characters, encoding=encoding, retry=retry)
        if not dimension:
            try:
                embedder.dimension = (await embedder._call([_BLANK])).shape[1]
            except BaseException:
                await client.close()
                raise
        return embedder

    async def embed_query(self, text: str) -> Vector:
        """(dimension,), unit norm."""
        vector: Vector = (await self._judged(self._readable([text])))[0]
        return vector

    async def embed_documents(self, texts: Sequence[str]) -> Vector:
        """(n, dimension) in the order of `texts`, unit norm; (0, dimension) for none. After an error or cancellation
        no further batch is sent."""
        self._require_open()
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        waiting = _batches(self._readable(texts))

        async def work() -> None:
            for start, batch in waiting:
                vectors[start : start + len(batch)] = await self._batch(batch)

        try:
            async with asyncio.TaskGroup() as group:
                for number in range(min(BATCHES_AT_ONCE, len(texts))):
                    group.create_task(work(), name=f"embed-batches-{number}")
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return vectors

    async def warm(self) -> None:
        """Nothing to do: the first call costs a connection, and the API may be down when the process starts."""

    async def ping(self) -> None:
        """Raise Unavailable unless the API answers; it costs a few tokens."""
        await self._call([_BLANK])

    async def close(self) -> None:
        """Refuse everything after; may be called again."""
        self._closed = True
        await self._client.close()

    async def _batch(self, texts: list[str]) -> Vector:
        async with self._place():
            if self._retry is None:
                return await self._judged(texts)
            return await self._retry.run(lambda: self._judged(texts))

    async def _judged(self, texts: list[str]) -> Vector:
        """A call; when the API calls the request bad without a reason that is known, a text that any model reads tells
        whether the texts or the settings are: a document that is refused fails, and wrong settings wait for the
        operator."""
        try:
            return await self._call(texts)
        except Unavailable as error:
            if error.metadata.get("cause") != BAD_REQUEST:
                raise
            await self._call([_BLANK])
            raise _ERRORS.refused(BAD_REQUEST, "the embedding model does not accept the text") from error

    async def _call(self, texts: list[str]) -> Vector:
        """One request."""
        self._require_open()
        with span("embeddings.call", kind=SpanKind.CLIENT, ragmesh_model=self.model_id, ragmesh_texts=len(texts)):
            async with self._guard.call(CALL_SECONDS):
                try:
                    reply = await self._client.embeddings.create(
                        model=self._model, input=texts, encoding_format=self._encoding
                    )
                    vectors = unit_vectors(reply, len(texts), self.dimension or None)
                except openai.OpenAIError as error:
                    raise _ERRORS.translated(error) from error
                except WrongReply as error:
                    log.warning("embeddings.wrong_reply", cause=error.word, texts=len(texts))
                    raise _ERRORS.unavailable(error.word, error.sentence) from error
                except UnicodeEncodeError as error:  # a str can hold lone surrogates, which no JSON text can
                    raise InvalidArgument.field("text", "must be Unicode text without lone surrogates") from error
                except (ValueError, RuntimeError) as error:  # neither JSON nor UTF-8; closed while it waited
                    self._require_open()
                    raise _ERRORS.unavailable("malformed", "gave an answer that could not be read") from error
        _count_tokens(reply)
        return vectors

    def _readable(self, texts: Sequence[str]) -> list[str]:
        cut = [text[: self._max_characters] for text in texts] if self._max_characters else list(texts)
        return [text if text.strip() else _BLANK for text in cut]

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """One of the batches at once. Waiting for it says nothing about the API, so the guard does not see it."""
        try:
            async with asyncio.timeout(deadline.remaining()):
                await self._places.acquire()
        except TimeoutError as error:
            raise DeadlineExceeded("the deadline of the request has passed") from error
        try:
            yield
        finally:
            self._places.release()

    def _require_open(self) -> None:
        if self._closed:
            raise Unavailable("the embedder is closed", reason=Reason.DRAINING, metadata={"dependency": "embeddings"})


def _batches(texts: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Runs of texts within both bounds, each with the place of its first."""
    start, characters = 0, 0
    for index, text in enumerate(texts):
        full = index - start == BATCH_TEXTS or characters + len(text) > BATCH_CHARACTERS
        if full and index > start:
            yield start, list(texts[start:index])
            start, characters = index, 0
        characters += len(text)
    if start < len(texts):
        yield start, list(texts[start:])


def _count_tokens(reply: openai.types.CreateEmbeddingResponse) -> None:
    usage = getattr(reply, "usage", None)  # some servers send none
    tokens = getattr(usage, "total_tokens", None)
    if isinstance(tokens, int) and tokens > 0:
        EMBEDDING_TOKENS.inc(tokens)
