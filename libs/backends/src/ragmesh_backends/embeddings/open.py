"""Which embedder a process uses: the one place that chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ragmesh_backends.store_settings import EmbeddingSettings
from ragmesh_servicekit.resilience.guard import Guard
from ragmesh_servicekit.resilience.retry import Retry


class OpenedEmbedder(Protocol):
    """An embedder with what its owner needs to know of it."""

    @property
    def model_id(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    async def embed_query(self, text: str) -> NDArray[np.float32]: ...
    async def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]: ...
    async def warm(self) -> None: ...
    async def close(self) -> None: ...


async def open_embedder(settings: EmbeddingSettings, guard: Guard, retry: Retry | None = None) -> OpenedEmbedder:
    """The API's embedder when RAGMESH_EMBEDDING_URL is set, else the one in process. guard: of the API. retry: of
    batches of documents.

    Raises Unavailable when the API must be asked for its dimension and does not answer; FailedPrecondition when the
    weights of the one in process are missing."""
    # Each is imported only where it is used: the SDK takes 60 MB and most of a second, the other one onnxruntime.
    if settings.url:
        from ragmesh_backends.embeddings.openai_embedder import OpenAIEmbedder

        return await OpenAIEmbedder.open(
            settings.url,
            settings.key,
            settings.name,
            guard,
            dimension=settings.dimension,
            max_characters=settings.max_characters,
            encoding=settings.encoding,
            retry=retry,
        )
    from ragmesh_backends.embeddings.onnx import OnnxEmbedder

    return await OnnxEmbedder.open(settings.models_dir, settings.threads, settings.max_tokens)
