"""The public API as the command line calls it: gRPC, with the key and the address of the mesh that runs in the home."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from ragmesh.gateway.v1 import (
    ask_pb2_grpc,
    collections_pb2_grpc,
    documents_pb2_grpc,
    jobs_pb2_grpc,
    keys_pb2_grpc,
    search_pb2_grpc,
)
from ragmesh_cli.failure import Failure
from ragmesh_cli.home import Home
from ragmesh_servicekit.status import error_of_call

MESSAGE_LIMIT = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """Where the mesh answers and with which key."""

    address: str
    key: str


def find_target(home: Home, address: str | None, key: str | None) -> Target:
    """The mesh named by the options or RAGMESH_ADDRESS and RAGMESH_KEY, else the one of the home. Raises Failure."""
    address = address or os.environ.get("RAGMESH_ADDRESS") or ""
    key = key or os.environ.get("RAGMESH_KEY") or ""
    state = home.running()
    if not address:
        if state is None:
            raise Failure(f"no mesh is running on {home.path}; start one with `ragmesh up --detach`")
        if not state["ready"]:
            raise Failure(f"the mesh on {home.path} is not ready yet; see `ragmesh status`")
        address = str(state["grpc"])
    if not key:
        key = _read_key(Path(str(state["key_file"])) if state else home.key_file)
    return Target(address, key)


def _read_key(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise Failure(f"no key: {path} cannot be read; give one with --key or RAGMESH_KEY") from error


class Client:
    """The stubs of the public services on one channel; every call carries the key."""

    def __init__(self, channel: grpc.aio.Channel, key: str) -> None:
        def keyed(stub: Any) -> Any:
            return _Keyed(stub(channel), (("authorization", f"Bearer {key}"),))

        self.collections: collections_pb2_grpc.CollectionServiceAsyncStub = keyed(
            collections_pb2_grpc.CollectionServiceStub
        )
        self.documents: documents_pb2_grpc.DocumentServiceAsyncStub = keyed(documents_pb2_grpc.DocumentServiceStub)
        self.jobs: jobs_pb2_grpc.JobServiceAsyncStub = keyed(jobs_pb2_grpc.JobServiceStub)
        self.search: search_pb2_grpc.SearchServiceAsyncStub = keyed(search_pb2_grpc.SearchServiceStub)
        self.ask: ask_pb2_grpc.AskServiceAsyncStub = keyed(ask_pb2_grpc.AskServiceStub)
        self.keys: keys_pb2_grpc.KeyServiceAsyncStub = keyed(keys_pb2_grpc.KeyServiceStub)


class _Keyed:
    """A stub whose calls send the key; gRPC's call credentials want TLS, which a local mesh has not."""

    def __init__(self, stub: Any, metadata: tuple[tuple[str, str], ...]) -> None:
        self._stub, self._metadata = stub, metadata

    def __getattr__(self, name: str) -> Any:
        return functools.partial(getattr(self._stub, name), metadata=self._metadata)


@asynccontextmanager
async def connect(target: Target) -> AsyncIterator[Client]:
    """A client; errors of calls leave as Failure with the sentence that the server gave."""
    options = [
        ("grpc.max_receive_message_length", MESSAGE_LIMIT),
        ("grpc.max_send_message_length", MESSAGE_LIMIT),
        ("grpc.enable_http_proxy", 0),
    ]
    async with grpc.aio.insecure_channel(target.address, options) as channel:
        try:
            yield Client(channel, target.key)
        except grpc.aio.AioRpcError as error:
            raise _failure(error, target) from error


def _failure(error: grpc.aio.AioRpcError, target: Target) -> Failure:
    known = error_of_call(error)
    if error.code() is grpc.StatusCode.UNAVAILABLE and not known.metadata and "connect" in (error.details() or ""):
        return Failure(f"no mesh answers at {target.address}; is it running? see `ragmesh status`")
    return Failure(known.message)
