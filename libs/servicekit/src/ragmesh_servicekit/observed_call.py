"""One call to another service as the process that makes it sees it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc.aio

from ragmesh_servicekit.connections import Connection
from ragmesh_servicekit.errors import MeshError, Unavailable
from ragmesh_servicekit.status import error_of_call
from ragmesh_servicekit.streamed_requests import StreamedRequests
from ragmesh_servicekit.telemetry import metrics, tracing


class ObservedCall:
    """One call made, on a connection that it has begun on: its span, its metrics, and what its errors mean to whoever
    made it."""

    def __init__(self, method: str, role: str, connection: Connection) -> None:
        self.ended = False
        self._connection = connection
        self.span = tracing.begin(method.lstrip("/"), rpc_system="grpc", rpc_method=method.lstrip("/"))
        self._method = method
        self._role = role
        self._started = time.perf_counter()
        metrics.CLIENT_IN_FLIGHT.labels(method).inc()

    def end(self, error: BaseException | None = None) -> None:
        """Say how it ended, the first time."""
        if self.ended:
            return
        self.ended = True
        self._connection.end()
        if error is None:
            self._connection.refusals.accepted()
        metrics.CLIENT_IN_FLIGHT.labels(self._method).dec()
        code = "OK"
        if error is not None:
            code = error.code if isinstance(error, MeshError) else "CANCELLED"
        self.span.set_attribute("rpc.response.status_code", code)
        tracing.finish(self.span, error)
        metrics.CLIENT_CALLS.labels(self._method, code).inc()
        metrics.CLIENT_SECONDS.labels(self._method).observe(time.perf_counter() - self._started)

    @contextmanager
    def step(self, requests: Any) -> Iterator[None]:
        """Around each await of the call: what grpc raises as a MeshError; cancellation of the caller as it is."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            self._connection.refusals.failed(error)
            failure = error_of_call(error, self._role)
            self.end(failure)
            raise failure from error
        except asyncio.CancelledError as error:
            ours = self._why(requests)
            self.end(ours or error)
            if ours is None:
                raise
            raise ours from error
        except BaseException as error:
            self.end(error)
            raise

    def _why(self, requests: Any) -> Exception | None:
        """grpc raises CancelledError for whatever ends a call on this side; but when nobody cancelled this task it must
        not look so: the requests failed, or the channel was closed."""
        task = asyncio.current_task()
        if task is None or task.cancelling():
            return None
        failed = requests.error if isinstance(requests, StreamedRequests) else None
        return failed or Unavailable.dependency(self._role, f"the call to the {self._role} was broken off; try again")
