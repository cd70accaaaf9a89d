"""The process in which documents are parsed: `python -m ragmesh_ingestor.adapters.parser_child SETTINGS`.

A document is somebody else's data, so it is read where it can do no harm: memory, processor time, files and core
dumps are limited, and the parent kills the process when a document takes too long. It ends with its parent:
by the kernel's signal when the parent dies, and at the end of its input. It imports neither grpc nor a store's
driver, so that it stays small.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import BinaryIO

from ragmesh_backends.embeddings.tokenizer import WordPieces
from ragmesh_ingestor.adapters import frames
from ragmesh_ingestor.domain.chunking import ChunkLimits
from ragmesh_ingestor.domain.passage import ParsedPassages, ParseFailure, ParseRequest
from ragmesh_ingestor.domain.passages import passages_of
from ragmesh_ingestor.domain.wordpieces import Spans
from ragmesh_servicekit.errors import MeshError, Reason

_PR_SET_PDEATHSIG = 1  # prctl(2)
_OPEN_FILES = 32
_FLUSH_SECONDS = 0.05
"""Answers are held back for so long: small documents are answered many at a time."""


def main() -> None:
    settings = frames.ChildSettings.decode(sys.argv[1])
    _die_with_parent(int(sys.argv[2]))
    _limit(settings.memory_bytes)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # a stray print must not end up between the answers
    spans = WordPieces(Path(settings.tokenizer)).spans
    limits = ChunkLimits(settings.max_tokens, settings.overlap_tokens, settings.whole_tokens)
    answers.write(frames.READY)
    answers.flush()
    while documents := _read(requests):
        flushed_at = time.monotonic()
        for document in documents:
            _allow_cpu(settings.cpu_seconds)
            answers.write(frames.encode_answer(document, _parse(document, limits, spans)))
            if time.monotonic() - flushed_at > _FLUSH_SECONDS:
                answers.flush()
                flushed_at = time.monotonic()
        answers.flush()


def _read(requests: BinaryIO) -> list[ParseRequest]:
    """The next batch; empty at the end of the input."""
    head = requests.read(frames.REQUEST_HEAD.size)
    if len(head) < frames.REQUEST_HEAD.size:
        return []
    (length,) = frames.REQUEST_HEAD.unpack(head)
    announced = frames.decode_request(requests.read(length))
    return [ParseRequest(requests.read(size), media_type, title) for size, media_type, title in announced]


def _parse(document: ParseRequest, limits: ChunkLimits, spans: Spans) -> ParsedPassages | ParseFailure:
    try:
        return passages_of(document, limits, spans)
    except MeshError as error:
        return ParseFailure(error.reason.value, error.message)
    except MemoryError:
        return ParseFailure(
            Reason.CONTENT_INVALID.value, "content: needs more memory to be read than a document may take"
        )
    except Exception as error:  # whatever a document provokes fails that document only
        sys.stderr.write(f"parser failed: {type(error).__name__}\n")
        return ParseFailure(Reason.INTERNAL.value, "the document could not be parsed", repeatable=True)


def _die_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        sys.exit(1)


def _limit(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # pipes are not files: answers pass


def _allow_cpu(seconds: int) -> None:
    """Move the limit on processor time, which counts from the process's beginning."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + seconds + 1, hard))


if __name__ == "__main__":
    main()
