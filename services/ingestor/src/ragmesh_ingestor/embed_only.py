"""How long the embedder alone takes for the passages of some documents: the floor that `ragmesh eval` compares with.

    python -m ragmesh_ingestor.embed_only --models-dir DIR < documents.jsonl

Each line is a JSON object with `title` and `text`. The documents are cut and embedded by the code and with the settings
that ingestion uses; only the embedding is timed. Prints {"documents": n, "passages": n, "seconds": s}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ragmesh_backends.embeddings import weights
from ragmesh_backends.embeddings.open import open_embedder
from ragmesh_backends.embeddings.timing import embed_only_seconds
from ragmesh_backends.embeddings.tokenizer import WordPieces
from ragmesh_backends.model.document import MediaType
from ragmesh_backends.store_settings import EmbeddingSettings
from ragmesh_ingestor.domain.chunking import ChunkLimits, chunks_of, embedding_text
from ragmesh_ingestor.domain.passage import ParseRequest
from ragmesh_ingestor.domain.passages import passages_of
from ragmesh_ingestor.settings import ChunkingSettings
from ragmesh_servicekit.resilience.guard import Guard
from ragmesh_servicekit.settings import load


def texts_of(lines: Iterator[str], limits: ChunkLimits, pieces: WordPieces) -> Iterator[str]:
    """What would be embedded for each document."""
    for line in lines:
        row = json.loads(line)
        request = ParseRequest(row["text"].encode(), MediaType.TEXT, row["title"])
        parsed = passages_of(request, limits, pieces.spans)
        for chunk in chunks_of(parsed.text, "timing", 1, parsed.title, parsed.passages):
            yield embedding_text(chunk)


async def measure(models_dir: Path) -> dict[str, float]:
    """Cut everything first, then time one call of the embedder."""
    embedding = load(EmbeddingSettings, {**os.environ, "RAGMESH_MODELS_DIR": str(models_dir)})
    chunking = load(ChunkingSettings, os.environ)
    limits = ChunkLimits(chunking.max_tokens, chunking.overlap_tokens, chunking.whole_tokens)
    pieces = WordPieces(weights.installed().tokenizer)
    embedder = await open_embedder(embedding, Guard("embeddings"))
    try:
        lines = [line for line in sys.stdin if line.strip()]
        texts = list(texts_of(iter(lines), limits, pieces))
        await embedder.warm()
        seconds = await embed_only_seconds(embedder, texts)
    finally:
        await embedder.close()
    return {"documents": len(lines), "passages": len(texts), "seconds": round(seconds, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ragmesh_ingestor.embed_only", description=__doc__)
    parser.add_argument("--models-dir", type=Path, required=True)
    sys.stdout.write(json.dumps(asyncio.run(measure(parser.parse_args().models_dir))) + "\n")


if __name__ == "__main__":
    main()
