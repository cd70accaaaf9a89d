"""The public API as the command line calls it: gRPC, with the key and the address of the mesh that runs in the home."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

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
from ragmesh_cli.trust import CA_VARIABLE, SCHEME, Trust, given, of_home
from ragmesh_servicekit.errors import Reason
from ragmesh_servicekit.status import DETAILS_KEY, error_of_call
from ragmesh_servicekit.tls.refusals import refusal, suspicion

MESSAGE_LIMIT = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """Where the mesh answers and with which key. trust: None without TLS."""

    address: str
    key: str
    trust: Trust | None = None


def find_target(home: Home, address: str | None, key: str | None) -> Target:
    """The mesh named by the options or RAGMESH_ADDRESS and RAGMESH_KEY, else the one of the home. Raises Failure.
    `https://` before an address: with TLS."""
    address = address or os.environ.get("RAGMESH_ADDRESS") or ""
    key = key or os.environ.get("RAGMESH_KEY") or ""
    trust = given() if address.startswith(SCHEME) else None
    if not address:
        state = home.running()
        if state is None:
            raise Failure(f"no mesh is running on {home.path}; start one with `ragmesh up --detach`")
        if not state["ready"]:
            raise Failure(f"the mesh on {home.path} is not ready yet; see `ragmesh status`")
        address, trust = str(state["grpc"]), of_home(state)
    key = key or home.admin_key()
    if not (key.isascii() and key.isprintable()):
        raise Failure("the key has characters that no key has; look at RAGMESH_KEY or --key")
    return Target(address.removeprefix(SCHEME), key, trust)


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
    async with _channel(target, options) as channel:
        try:
            yield Client(channel, target.key)
        except grpc.aio.AioRpcError as error:
            raise _failure(error, target) from error


def _channel(target: Target, options: list[tuple[str, Any]]) -> grpc.aio.Channel:
    if target.trust is None:
        return grpc.aio.insecure_channel(target.address, options)
    if target.trust.name:
        options = [*options, ("grpc.ssl_target_name_override", target.trust.name)]
    return grpc.aio.secure_channel(target.address, target.trust.credentials(), options)


CURES = {
    Reason.COLLECTION_NOT_FOUND: "`ragmesh ingest PATH -c NAME` makes one",
    Reason.KEY_MISSING: "give one with RAGMESH_KEY",
    Reason.KEY_INVALID: "look at RAGMESH_KEY or --key, or leave them out and the home's key is used",
    Reason.KEY_NOT_FOUND: "`ragmesh keys list` shows those there are",
    Reason.SCOPE_MISSING: "use a key that has it",
    Reason.DEPENDENCY_UNAVAILABLE: "`ragmesh status` shows what is down",
    Reason.DRAINING: "the mesh is stopping",
    Reason.INTERNAL: "the logs in the home say more",
}
"""What helps, where the server's sentence cannot know how it is being called."""


def _failure(error: grpc.aio.AioRpcError, target: Target) -> Failure:
    trailing = dict(cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ()))
    from_server = DETAILS_KEY in trailing
    if error.code() is grpc.StatusCode.UNAVAILABLE and not from_server:
        if why := refusal(error.details()):
            return Failure(f"the certificate of {target.address} is not accepted: {why}; see {CA_VARIABLE}")
        if suspicion(error.details()):
            return Failure(f"{target.address} breaks connections off; has it TLS? then write {SCHEME}{target.address}")
        return Failure(f"no mesh answers at {target.address}; is it running? see `ragmesh status`")
    known = error_of_call(error)
    cure = CURES.get(known.reason)
    return Failure(f"{known.message}; {cure}" if cure else known.message)
