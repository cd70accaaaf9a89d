"""The ingestor's settings; the environment is read here, once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from ragmesh_backends.store_settings import (
    BlobsSettings,
    EmbeddingSettings,
    RecordsSettings,
    StateSettings,
    VectorsSettings,
)
from ragmesh_servicekit.process_settings import ProcessSettings
from ragmesh_servicekit.settings import load, setting


@dataclass(frozen=True, slots=True)
class ChunkingSettings:
    """How documents are cut."""

    whole_tokens: int = setting(
        "RAGMESH_CHUNK_WHOLE_TOKENS",
        512,
        doc="A document of at most so many word pieces stays one passage.",
        minimum=32,
        maximum=2048,
    )
    max_tokens: int = setting(
        "RAGMESH_CHUNK_TOKENS", 230, doc="Word pieces of a passage of a longer document.", minimum=32, maximum=512
    )
    overlap_tokens: int = setting(
        "RAGMESH_CHUNK_OVERLAP_TOKENS",
        0,
        doc="Word pieces that a passage repeats of the one before, where a section had to be cut.",
        minimum=0,
        maximum=128,
    )
    parser_seconds: float = setting(
        "RAGMESH_PARSER_SECONDS", 30.0, doc="The longest that parsing one document may take.", minimum=1, maximum=600
    )
    parser_memory_bytes: int = setting(
        "RAGMESH_PARSER_MEMORY_BYTES",
        1024 * 1024 * 1024,
        doc="The address space of a parser process.",
        minimum=256 * 1024 * 1024,
        maximum=64 * 1024 * 1024 * 1024,
    )


@dataclass(frozen=True, slots=True)
class IngestorSettings:
    """Everything that the ingestor reads."""

    process: ProcessSettings
    records: RecordsSettings
    vectors: VectorsSettings
    state: StateSettings
    blobs: BlobsSettings
    embedding: EmbeddingSettings
    chunking: ChunkingSettings
    grpc_port: int = setting("RAGMESH_GRPC_PORT", 9093, doc="The gRPC port.", minimum=0, maximum=65535)


@dataclass(frozen=True, slots=True)
class StoresSettings:
    """What the migration of the stores reads."""

    records: RecordsSettings
    vectors: VectorsSettings
    state: StateSettings
    blobs: BlobsSettings


def from_environment() -> IngestorSettings:
    """The settings of this process. Raises SettingsError naming every variable that is wrong."""
    return load(IngestorSettings, os.environ)


def stores_from(environ: Mapping[str, str]) -> StoresSettings:
    """Where the stores are. Raises SettingsError naming every variable that is wrong."""
    return load(StoresSettings, environ)
