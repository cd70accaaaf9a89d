"""One operation of the load generator: what was asked, when, and how it ended."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum


class Ask(StrEnum):
    """What an operation asks for."""

    SEARCH = "search"
    ASK = "ask"
    STREAM = "stream"
    COLLECTION = "collection"
    DOCUMENTS = "documents"
    JOB = "job"
    DOCUMENT = "document"


class Surface(StrEnum):
    GRPC = "grpc"
    REST = "rest"


REPEATABLE = frozenset({Ask.SEARCH, Ask.ASK, Ask.COLLECTION, Ask.DOCUMENTS, Ask.JOB})
"""What the contract lets a client send again: searches, answers that are not streamed, reads."""

DEADLINE_SECONDS = {
    Ask.SEARCH: 10.0,
    Ask.ASK: 20.0,
    Ask.STREAM: 30.0,
    Ask.COLLECTION: 10.0,
    Ask.DOCUMENTS: 10.0,
    Ask.JOB: 10.0,
    Ask.DOCUMENT: 10.0,
}


@dataclass(slots=True)
class Operation:
    """tag: unique, part of the question that a model sees. subject and word: the document that the answer must use.

    code: the gRPC name of the status, on REST the problem's. typed: whether the mesh said so itself, with a reason;
    what a client makes up of a broken connection is not. store: whether it says that a store is down. found: whether
    the subject is in the hits or sources. events: of a stream. last: the name of the stream's last event. attempts: of
    the client, REST only.
    """

    number: int
    ask: Ask
    surface: Surface
    intended: float
    tag: str
    subject: str
    word: str
    job: str
    start: float = 0.0
    first: float = 0.0
    end: float = 0.0
    code: str = ""
    reason: str = ""
    store: bool = False
    typed: bool = False
    detail: str = ""
    gateway: str = ""
    attempts: int = 1
    degraded: list[str] = field(default_factory=list)
    found: bool = False
    events: int = 0
    last: str = ""
    accepted_job: str = ""

    @property
    def question(self) -> str:
        manner = "Slowly: " if self.ask is Ask.STREAM else ""
        return f"{manner}Where is the parcel with the seal {self.word} kept? ({self.tag})"

    @property
    def document_text(self) -> str:
        return (
            f"A delivery came today. The seal of this delivery is {seal(self.tag)}. It was left at the side door, "
            "signed for by the night clerk, and carried up before the morning round."
        )

    def line(self) -> str:
        return json.dumps(asdict(self))


def tag_of(label: str, number: int) -> str:
    """Unique, and like no other: tags that share words would make their documents answers to each other's questions."""
    return hashlib.blake2b(f"{label}-{number}".encode(), digest_size=5).hexdigest()


def seal(tag: str) -> str:
    """A word that only the document with this tag holds."""
    return f"seal{tag}"
