"""Where the stores are: settings that several services share, so that they are named once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ragmesh_servicekit.settings import SettingsError, setting

RECORDS_LOGIN = "RAGMESH_RECORDS_USER and RAGMESH_RECORDS_PASSWORD"
VECTORS_LOGIN = "RAGMESH_VECTORS_TOKEN"
STATE_LOGIN = "RAGMESH_STATE_URL"
CACHE_LOGIN = "RAGMESH_CACHE_URL"
"""What to look at when a store refuses the login. Blobs name theirs themselves."""


def _http_url(value: str) -> None:
    if not value.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")


_NEO4J_SCHEMES = ("bolt", "bolt+s", "bolt+ssc")
"""Not `neo4j://`, which routes reads to followers that may be behind: see ragmesh_backends.neo4j.client."""


def _records_url(value: str) -> None:
    if value.startswith("sqlite:"):
        return
    url = urlsplit(value)
    if url.username is not None:  # not a ValueError: the value, which may hold a password, would be shown
        raise SettingsError(["RAGMESH_RECORDS_URL: must not hold a user; set RAGMESH_RECORDS_USER and _PASSWORD"])
    if url.scheme not in _NEO4J_SCHEMES or not url.hostname:
        raise ValueError("must be `sqlite:/path/to/file`, or `bolt://host:port` of Neo4j (with TLS `bolt+s://`)")


@dataclass(frozen=True, slots=True)
class RecordsSettings:
    """The record store, which holds the graph as well."""

    url: str = setting(
        "RAGMESH_RECORDS_URL",
        doc="The record and graph store: `sqlite:/path/to/file`, for one host, or Neo4j: "
        "`bolt://host:7687`, with TLS `bolt+s://`.",
        check=_records_url,
    )
    user: str = setting("RAGMESH_RECORDS_USER", "neo4j", doc="Neo4j's user.")
    password: str = setting("RAGMESH_RECORDS_PASSWORD", "", doc="Neo4j's password; none: no sign-in.", secret=True)
    database: str = setting("RAGMESH_RECORDS_DATABASE", "", doc="Neo4j's database; empty: the user's own default.")

    def is_neo4j(self) -> bool:
        """Whether the store is a Neo4j server."""
        return not self.url.startswith("sqlite:")

    def sqlite_path(self) -> Path:
        """The file. Raises SettingsError for another kind of store."""
        return _path(self.url, "sqlite:", "RAGMESH_RECORDS_URL")


@dataclass(frozen=True, slots=True)
class VectorsSettings:
    """Milvus."""

    url: str = setting("RAGMESH_VECTORS_URL", doc="Milvus: `unix:/path`, `host:port` or `http(s)://host:port`.")
    token: str = setting("RAGMESH_VECTORS_TOKEN", "", doc="Milvus' token, `user:password`.", secret=True)
    timeout_seconds: float = setting(
        "RAGMESH_VECTORS_TIMEOUT_SECONDS",
        5.0,
        doc="The longest wait for an answer.",
        minimum=0.1,
        maximum=60,
    )
    max_loaded: int = setting(
        "RAGMESH_VECTORS_MAX_LOADED",
        12,
        doc="Collections kept loaded by each process; about 60 MB each in the embedded Milvus.",
        minimum=1,
        maximum=10_000,
    )


@dataclass(frozen=True, slots=True)
class StateSettings:
    """Redis for state: jobs, queue, hidden versions."""

    url: str = setting("RAGMESH_STATE_URL", doc="Redis for state: `unix:///path` or `redis://host/0`.", secret=True)


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Redis for caches, apart from state: a full cache must not stop the queue."""

    url: str = setting("RAGMESH_CACHE_URL", doc="Redis for caches; another one than for state.", secret=True)


@dataclass(frozen=True, slots=True)
class BlobsSettings:
    """Originals and manifests."""

    url: str = setting(
        "RAGMESH_BLOBS_URL",
        doc="Originals and manifests: `file:/path/to/folder` or `s3://bucket/prefix` (`gs://`, `az://`: untested).",
    )
    s3_endpoint: str = setting(
        "RAGMESH_BLOBS_S3_ENDPOINT",
        "",
        doc="The address of an S3 server, such as `https://host:9000`; empty for AWS.",
        check=_http_url,
    )
    s3_region: str = setting("RAGMESH_BLOBS_S3_REGION", "us-east-1", doc="The bucket's region.")
    s3_access_key: str = setting(
        "RAGMESH_BLOBS_S3_ACCESS_KEY",
        "",
        doc="The id of the key; empty uses what AWS gives the process (its `AWS_*` variables, its role).",
        secret=True,
    )
    s3_secret_key: str = setting("RAGMESH_BLOBS_S3_SECRET_KEY", "", doc="The key itself.", secret=True)

    def __post_init__(self) -> None:
        if bool(self.s3_access_key) != bool(self.s3_secret_key):
            raise SettingsError(["RAGMESH_BLOBS_S3_ACCESS_KEY, RAGMESH_BLOBS_S3_SECRET_KEY: set both or neither"])

    def folder(self) -> Path:
        """The folder. Raises SettingsError for another kind of store."""
        return _path(self.url, "file:", "RAGMESH_BLOBS_URL")


@dataclass(frozen=True, slots=True)
class EmbeddingSettings:
    """The embedding model: in process, or behind an API."""

    models_dir: Path = setting("RAGMESH_MODELS_DIR", doc="The folder in which the built model graph is kept.")
    threads: int = setting(
        "RAGMESH_EMBEDDING_THREADS", 2, doc="Texts embedded at the same time, one thread each.", minimum=1, maximum=64
    )
    max_tokens: int = setting(
        "RAGMESH_EMBEDDING_MAX_TOKENS",
        256,
        doc="Word pieces of a passage that the model reads; words count in full. The same for retriever and ingestor.",
        minimum=32,
        maximum=512,
    )
    url: str = setting(
        "RAGMESH_EMBEDDING_URL",
        "",
        doc="The base URL of an OpenAI-compatible API, such as `https://host/v1`; empty embeds in process. "
        "All RAGMESH_EMBEDDING_* must be the same for retriever and ingestor.",
        check=_http_url,
    )
    key: str = setting("RAGMESH_EMBEDDING_KEY", "", doc="Its key.", secret=True)
    name: str = setting("RAGMESH_EMBEDDING_NAME", "", doc="The model's name there; needed with RAGMESH_EMBEDDING_URL.")
    dimension: int = setting(
        "RAGMESH_EMBEDDING_DIMENSION",
        0,
        doc="Numbers of a vector of the API's model; 0 asks it once at start, which then needs the API.",
        minimum=0,
        maximum=32_768,
    )
    max_characters: int = setting(
        "RAGMESH_EMBEDDING_MAX_CHARACTERS",
        0,
        doc="Texts are cut at so many characters before they go to the API; 0 sends them whole, and a document with "
        "a passage that is too long for the model fails, saying so.",
        minimum=0,
        maximum=100_000,
    )
    encoding: str = setting(
        "RAGMESH_EMBEDDING_ENCODING",
        "base64",
        doc="How the API is asked to send vectors; `float`, four times the bytes, for one that refuses `base64`.",
        choices=("base64", "float"),
    )

    def __post_init__(self) -> None:
        if self.url and not self.name:
            raise SettingsError(["RAGMESH_EMBEDDING_NAME: must be set with RAGMESH_EMBEDDING_URL"])


def _path(url: str, scheme: str, variable: str) -> Path:
    path = url.removeprefix(scheme).removeprefix("//")
    if not url.startswith(scheme) or not path.startswith("/"):
        raise SettingsError([f"{variable}: must be `{scheme}/absolute/path` (it is {url!r})"])
    return Path(path)
