"""How the ingestor and its parser child speak over two pipes: lengths and JSON, nothing that could run.

A request: `>I` header length, header `{"documents": [{"size", "media_type", "title"}, ...]}`, then the bytes of
the documents.
An answer, one for each document in order: `>II` lengths of a JSON body and of a text, then both. The text is
that of an HTML document; for the other types the parsed text is the source and is not sent back.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ragmesh_backends.model.document import MediaType
from ragmesh_ingestor.domain.passage import ParsedPassages, ParseFailure, ParseRequest, Passage

REQUEST_HEAD = struct.Struct(">I")
ANSWER_HEAD = struct.Struct(">II")
READY = b"\x00RDY"
"""What the child sends once, when it can work."""


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """What the child is told on its command line.

    tokenizer: path of the embedding model's tokenizer.json. max_tokens, overlap_tokens, whole_tokens: see ChunkLimits.
    memory_bytes: RLIMIT_AS. cpu_seconds: processor time for one document.
    """

    tokenizer: str
    max_tokens: int
    overlap_tokens: int
    whole_tokens: int
    memory_bytes: int
    cpu_seconds: int

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, source: str) -> ChildSettings:
        return cls(**json.loads(source))


def encode_request(requests: Sequence[ParseRequest]) -> list[bytes]:
    """The pieces to write, in order."""
    header = json.dumps(
        {"documents": [{"size": len(r.data), "media_type": r.media_type.value, "title": r.title} for r in requests]}
    ).encode()
    return [REQUEST_HEAD.pack(len(header)), header, *(r.data for r in requests)]


def decode_request(header: bytes) -> list[tuple[int, MediaType, str]]:
    """(size, type, title) of the documents that follow."""
    return [(d["size"], MediaType(d["media_type"]), d["title"]) for d in json.loads(header)["documents"]]


def encode_answer(request: ParseRequest, answer: ParsedPassages | ParseFailure) -> bytes:
    text = b""
    body: dict[str, Any]
    if isinstance(answer, ParseFailure):
        body = asdict(answer)
    else:
        if request.media_type is MediaType.HTML:
            text = answer.text.encode("utf-8")
        body = {
            "title": answer.title,
            "passages": [[p.start, p.end, p.heading_path, p.about, p.words] for p in answer.passages],
        }
    encoded = json.dumps(body, ensure_ascii=False).encode("utf-8")
    return ANSWER_HEAD.pack(len(encoded), len(text)) + encoded + text


def decode_answer(request: ParseRequest, body: bytes, text: bytes) -> ParsedPassages | ParseFailure:
    found = json.loads(body)
    if "reason" in found:
        return ParseFailure(**found)
    source = text if request.media_type is MediaType.HTML else request.data
    return ParsedPassages(
        text=source.decode("utf-8-sig" if source is request.data else "utf-8"),
        title=found["title"],
        passages=tuple(
            Passage(start, end, tuple(path), tuple(about), words)
            for start, end, path, about, words in found["passages"]
        ),
    )
