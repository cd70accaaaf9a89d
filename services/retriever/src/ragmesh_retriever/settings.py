"""The retriever's settings; the environment is read here, once."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ragmesh_backends.store_settings import (
    CacheSettings,
    EmbeddingSettings,
    RecordsSettings,
    StateSettings,
    VectorsSettings,
)
from ragmesh_servicekit.process_settings import ProcessSettings
from ragmesh_servicekit.settings import load, setting


@dataclass(frozen=True, slots=True)
class RetrieverSettings:
    """Everything that the retriever reads."""

    process: ProcessSettings
    records: RecordsSettings
    vectors: VectorsSettings
    state: StateSettings
    cache: CacheSettings
    embedding: EmbeddingSettings
    grpc_port: int = setting("RAGMESH_GRPC_PORT", 9091, doc="The gRPC port.", minimum=0, maximum=65535)
    catalogue_seconds: float = setting(
        "RAGMESH_CATALOGUE_SECONDS",
        1.0,
        doc="How long a collection is remembered before the record store is asked again.",
        minimum=0,
        maximum=60,
    )


def from_environment() -> RetrieverSettings:
    """The settings of this process. Raises SettingsError naming every variable that is wrong."""
    return load(RetrieverSettings, os.environ)
