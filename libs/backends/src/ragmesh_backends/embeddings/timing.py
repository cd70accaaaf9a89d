"""How long the embedder alone needs for some texts: the floor that `ragmesh eval` compares ingestion with.

    python -m ragmesh_backends.embeddings.timing --cache-dir DIR --threads N < texts.jsonl

One JSON object with a `text` on each line; prints {"texts": n, "seconds": s}. Loading the model is not counted.
It is the embedder that ingestion uses, in a process of its own so that nothing else takes its cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ragmesh_backends.embeddings.onnx import OnnxEmbedder
from ragmesh_backends.embeddings.tokenizer import DEFAULT_MAX_TOKENS
from ragmesh_servicekit.errors import InvalidArgument, MeshError


class DocumentEmbedder(Protocol):
    async def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


async def embed_only_seconds(embedder: DocumentEmbedder, texts: Sequence[str]) -> float:
    """Wall-clock seconds for all texts in one call, which no ingestion can beat; warm the embedder before."""
    started = time.perf_counter()
    await embedder.embed_documents(texts)
    return time.perf_counter() - started


def texts_of(lines: Iterable[str]) -> list[str]:
    """The `text` of each JSON object, a line each; InvalidArgument names the line that is none."""
    texts = []
    for number, line in enumerate(lines, start=1):
        try:
            text = json.loads(line)["text"]
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidArgument.field(f"line {number}", "must be a JSON object with a `text`") from error
        if not isinstance(text, str):
            raise InvalidArgument.field(f"line {number}", "`text` must be a string")
        texts.append(text)
    return texts


async def _measure(cache_dir: Path, threads: int, max_tokens: int, texts: Sequence[str]) -> float:
    embedder = await OnnxEmbedder.open(cache_dir, threads, max_tokens)
    try:
        await embedder.warm()
        return await embed_only_seconds(embedder, texts)
    finally:
        await embedder.close()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ragmesh_backends.embeddings.timing", description=__doc__)
    parser.add_argument("--cache-dir", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--max-tokens", type=int, default=DEFAULT_MAX_TOKENS)
    given = parser.parse_args(arguments)
    try:
        texts = texts_of(sys.stdin)
        seconds = asyncio.run(_measure(given.cache_dir, given.threads, given.max_tokens, texts))
    except MeshError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    sys.stdout.write(json.dumps({"texts": len(texts), "seconds": round(seconds, 3)}) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
