"""MiniLM in process: texts to unit vectors on threads of its own, so that the event loop stays free.

Each text is one run of the graph on one core, and `threads` runs go on side by side. Measured on 2 cores in texts a
second (400 MuSiQue passages, mean 104 tokens): 2 runs of one text at once 186, one text on 2 threads 145, padded
batches of 16 and 32 on 2 threads 133 and 109; the first is 254 without a slow fusion (below). Only runs of one text
give a text the same vector in any company (`graph.py` says why). SciFact's nDCG@10 is .644 with the vectors alone;
the float32 model's published figure is .645. Threads that spin are of no use to a run that has only one.

Queries have threads of their own: behind a document each would wait 5 to 20 ms for a core that the system can
share out at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np
import onnxruntime as ort
import structlog
from numpy.typing import NDArray

from ragmesh_backends.embeddings import cache, weights
from ragmesh_backends.embeddings.tokenizer import DEFAULT_MAX_TOKENS, WordPieces
from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import Internal, InvalidArgument, Reason, Unavailable

log = structlog.get_logger()

Vector = NDArray[np.float32]

QUERY_CAP_SECONDS = 5.0
"""A query takes 2 ms; seconds of it are spent waiting for a core."""

DOCUMENTS_CAP_SECONDS = 30.0
DOCUMENT_CAP_SECONDS = 1.0
"""A call of n documents may take 30 + n seconds: 4 to 20 ms each are usual, and other calls may go before."""

_SLOW_FUSIONS = ["SkipLayerNormFusion"]
"""Off: the fused kernel of onnxruntime 1.31 on CPU is scalar, 8 times as slow as Add and LayerNormalization apart;
without it a MuSiQue passage takes 8 ms of CPU instead of 11."""


class OnnxEmbedder:
    """The embedded embedder. Made by `open`, owned by one event loop, closed by `close`.

    model_id: names the model that made the vectors; vectors of different ids are not to be compared.
    pieces: the model's tokenizer; what its `encode` cuts off has no part in the vector.
    """

    dimension = weights.DIMENSION
    model_id = f"{weights.MODEL_NAME}@{weights.WEIGHTS_SHA256[:8]}:int8"

    def __init__(self, session: ort.InferenceSession, pieces: WordPieces, threads: int) -> None:
        self.pieces = pieces
        self._session = session
        self._documents = _Lane("documents", threads)
        self._queries = _Lane("queries", threads)
        self._closed = False

    @classmethod
    async def open(cls, cache_dir: Path, threads: int, max_tokens: int = DEFAULT_MAX_TOKENS) -> Self:
        """Load the model, building its graph into `cache_dir` the first time.

        threads: documents, and besides them queries, that are worked on at once; the cores that may be used.
        max_tokens: 3..512, special tokens included; longer texts are cut.
        FailedPrecondition when the installed weights are missing or not the official ones.
        """
        if threads < 1:
            raise InvalidArgument.field("threads", "must be 1 or more")
        pieces = await asyncio.to_thread(WordPieces, weights.installed().tokenizer, max_tokens)
        graph = await cache.graph(cache_dir)
        session = await asyncio.to_thread(_session, graph)
        return cls(session, pieces, threads)

    @property
    def max_tokens(self) -> int:
        """What the model reads of a text, special tokens included."""
        return self.pieces.max_tokens

    async def embed_query(self, text: str) -> Vector:
        """(384,), unit norm."""
        self._require_open()
        async with deadline.dependency("embeddings", QUERY_CAP_SECONDS):
            return await self._queries.run(self._vector, text)

    async def embed_documents(self, texts: Sequence[str]) -> Vector:
        """(n, 384) in the order of `texts`, unit norm; (0, 384) for none.

        A text's vector is the same, bit for bit, alone and in any company. Calls that run at once share the
        threads text by text. After cancellation no further text is begun.
        """
        self._require_open()
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        # The longest first, so that no thread is left with a long one at the end.
        waiting = iter(sorted(range(len(texts)), key=lambda index: -len(texts[index])))

        async def work() -> None:
            for index in waiting:
                vectors[index] = await self._documents.run(self._vector, texts[index])

        async with deadline.dependency("embeddings", DOCUMENTS_CAP_SECONDS + DOCUMENT_CAP_SECONDS * len(texts)):
            try:
                async with asyncio.TaskGroup() as group:
                    for number in range(min(len(texts), self._documents.depth)):
                        group.create_task(work(), name=f"embed-documents-{number}")
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from errors
        return vectors

    async def warm(self) -> None:
        """One short run: the first is several times as slow as the next. A long one would only take memory (12 MB
        for each thread) that a process that embeds queries never needs."""
        await self.embed_query("warm")

    async def close(self) -> None:
        """Wait for the runs in hand (20 ms), refuse everything after; may be called again."""
        self._closed = True
        for lane in (self._documents, self._queries):
            await lane.close()

    def _require_open(self) -> None:
        if self._closed:
            raise Unavailable("the embedder is closed", reason=Reason.DRAINING, metadata={"dependency": "embeddings"})

    def _vector(self, text: str) -> Vector:
        ids = self.pieces.encode(text)
        try:
            vector: Vector = self._session.run(None, {"input_ids": ids})[0]
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            log.exception("embeddings.run_failed", tokens=len(ids))
            raise Internal("the embedding model failed") from error
        return vector


class _Lane:
    """Threads with a bounded queue: one job waits for each thread so that none idles while the loop is busy;
    other callers wait, in order, in the event loop, where a cancelled one leaves no trace."""

    def __init__(self, name: str, threads: int) -> None:
        self.depth = 2 * threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"embed-{name}")
        self._places = asyncio.Semaphore(self.depth)

    async def run(self, job: Callable[[str], Vector], text: str) -> Vector:
        async with self._places:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._pool, job, text)
            except RuntimeError as error:  # the pool was shut down while this caller waited
                raise Unavailable("the embedder is closed", reason=Reason.DRAINING) from error

    async def close(self) -> None:
        # Queued jobs are few and short, so they are done: cancelled, they would look like a cancelled caller.
        await asyncio.to_thread(self._pool.shutdown, wait=True)


def _session(graph: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    # A run stays on the thread that calls it. Loaded by path: from bytes, the session keeps a copy of them.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Texts have any length, so a plan of memory for each one (15 MB in all) is not used again soon.
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"], disabled_optimizers=_SLOW_FUSIONS
        )
    except Exception as error:  # onnxruntime's exceptions have no common base of their own
        raise weights.unusable("the embedding model's graph cannot be loaded by this onnxruntime") from error
